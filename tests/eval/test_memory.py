"""However many utterances there are, the audio of two batches at most is in memory."""

import weakref

import numpy as np
import pytest

from tests.eval.builders import write_data
from tpactl.audio import decode as decode_file
from tpactl.eval import hear as hear_file
from tpactl.eval.compare import compare
from tpactl.eval.hear import ahead


def test_the_audio_of_two_batches_at_most_is_held(room, tmp_path, monkeypatch):
    data = write_data(tmp_path / "data", ["a b"] * 60)
    alive: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
    most, read = 0, 0
    decode = decode_file.decode

    def counting(path, **more):
        nonlocal most, read
        decoded = decode(path, **more)
        alive[read] = decoded.samples
        read += 1
        most = max(most, len(alive))
        return decoded

    plain = hear_file._plan

    def by_four(turns, condition):
        return [b[n : n + 4] for b in plain(turns, condition) for n in range(0, len(b), 4)]

    monkeypatch.setattr(decode_file, "decode", counting)
    monkeypatch.setattr(hear_file, "_plan", by_four)
    compare(data, "test", str(room.base))
    assert read == 60
    # One batch is recognised, one is being read; one may just have been let go of.
    assert most <= 12


def test_what_is_made_ahead_comes_in_order_and_its_errors_too():
    def items():
        yield 1
        yield 2
        raise OSError("no more")

    made = ahead(items())
    assert [next(made), next(made)] == [1, 2]
    with pytest.raises(OSError, match="no more"):
        next(made)
    assert list(ahead(iter([]))) == []
