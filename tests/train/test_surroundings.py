"""Noise, rooms and telephone lines reach the training as its settings say."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from msgspec.structs import replace

from tests.train.conftest import quick
from tests.train.places import all_of, noises, rooms
from tpactl.audio.decode import decode
from tpactl.bases.load import load_base
from tpactl.errors import InputError, UsageError
from tpactl.formats.augment import AugmentSettings
from tpactl.formats.dataset import DataSet
from tpactl.formats.run import Run
from tpactl.train.examples import FeatureStore, list_split
from tpactl.train.hearing import Hearing
from tpactl.train.settings import read
from tpactl.train.surroundings import look_around
from tpactl.train.train import train

WAREHOUSE = Path(__file__).parents[2] / "examples" / "warehouse"
COUNT = 400


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory) -> AugmentSettings:
    folder = tmp_path_factory.mktemp("places")
    return read(None, {}, all_of(folder)).augment


@pytest.fixture(scope="module")
def speech() -> list[np.ndarray]:
    files = sorted(WAREHOUSE.glob("train/*.opus"))[:4]
    assert len(files) == 4
    return [decode(path).samples for path in files]


def drawn(settings: AugmentSettings, seed: int = 0, epoch: int = 0):
    places = look_around(settings)
    return [places.draw(settings, seed=seed, epoch=epoch, index=index) for index in range(COUNT)]


def test_each_share_is_that_of_its_probability_and_none_leans_on_another(everywhere):
    met = [d for d in drawn(everywhere) if d is not None]
    assert len(met) == pytest.approx(COUNT * (1 - 0.6**3), abs=40)
    for kind in ("room", "noise", "codec"):
        count = sum(getattr(d, kind) is not None for d in met)
        assert count == pytest.approx(0.4 * COUNT, abs=40)
    without = drawn(replace(everywhere, noise=None, telephone=False))
    rooms_of = [
        [d.room.path.name if d and d.room else None for d in some]
        for some in (drawn(everywhere), without)
    ]
    assert rooms_of[0] == rooms_of[1]
    assert len({d.noise.path for d in met if d.noise}) == 3
    assert {d.codec for d in met if d.codec} == {"mulaw", "alaw", "gsm"}


def test_the_same_place_is_met_again_and_another_in_another_epoch_or_seed(everywhere, speech):
    samples = speech[0]

    def sounds(**place: int) -> list[bytes]:
        return [d(samples).tobytes() if d else b"" for d in drawn(everywhere, **place)[:12]]

    assert sounds() == sounds()
    assert sounds() != sounds(epoch=1)
    assert sounds() != sounds(seed=1)


def test_nothing_is_drawn_where_nothing_was_asked_for():
    assert drawn(AugmentSettings()) == [None] * COUNT
    asked = AugmentSettings(telephone=True, telephone_probability=0.0)
    assert drawn(asked) == [None] * COUNT


@pytest.mark.parametrize("levels", [(0.0, 0.0), (5.0, 20.0)])
def test_the_ratio_of_speech_to_noise_is_the_one_that_was_drawn(levels, tmp_path, speech):
    settings = AugmentSettings(
        noise=str(noises(tmp_path / "noise")), noise_snr_db=levels, noise_probability=1.0
    )
    found = []
    for number, disturbance in enumerate(drawn(settings)[:24]):
        # Quiet enough that nothing is turned down, so that the noise is the difference.
        samples = 0.1 * speech[number % len(speech)]
        noise = disturbance(samples) - samples
        found.append(10 * np.log10(np.mean(samples**2) / np.mean(noise**2)))
        assert found[-1] == pytest.approx(disturbance.snr_db, abs=0.05)
    assert levels[0] - 0.05 <= min(found) <= max(found) <= levels[1] + 0.05
    assert (max(found) - min(found) > 8) == (levels[0] < levels[1])


def test_length_and_range_stay_whatever_is_met(everywhere, speech):
    for number, disturbance in enumerate(filter(None, drawn(everywhere)[:40])):
        samples = speech[number % len(speech)]
        heard = disturbance(samples / np.abs(samples).max())
        assert heard.shape == samples.shape
        assert heard.dtype == np.float32
        assert np.abs(heard).max() <= 1.0
        assert heard.any()


def test_a_telephone_has_nothing_above_4_khz_even_after_noise(everywhere, speech):
    settings = replace(everywhere, telephone_probability=1.0, noise_probability=1.0)
    for disturbance in drawn(settings)[:12]:
        heard = disturbance(speech[1])
        power = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
        above = np.fft.rfftfreq(len(heard), 1 / 16_000) > 4_000
        assert power[above].sum() < 1e-5 * power.sum()


def test_silence_stays_finite(everywhere):
    for disturbance in filter(None, drawn(everywhere)[:20]):
        assert np.isfinite(disturbance(np.zeros(4_000, np.float32))).all()


def test_epochs_hear_features_of_disturbed_audio_and_keep_those_of_the_rest(
    everywhere, taught, accent
):
    base = load_base(str(taught))
    config = replace(quick(taught), augment=everywhere)
    plain = list_split(base, DataSet(accent), "train", limit_bytes=10**8)
    split = plain.augmented(Hearing(config, look_around(everywhere)))
    batch = list(range(len(split)))
    heard = split.heard(batch, 0)
    same = [torch.equal(a, b) for a, b in zip(heard, plain.features(batch), strict=True)]
    meets = [split._hearing.disturbance(index, 0) is None for index in batch]
    assert same == meets
    assert len(set(same)) == 2
    assert [len(row) for row in heard] == [len(row) for row in plain.features(batch)]
    again = split.heard(batch[::-1], 0)[::-1]
    assert all(torch.equal(a, b) for a, b in zip(heard, again, strict=True))


def test_several_readers_read_what_one_does(everywhere, taught, accent):
    base = load_base(str(taught))
    paths = [data.audio_path(row) for data in [DataSet(accent)] for row in data.utterances("train")]
    places = look_around(everywhere)
    wanted = [
        (i, 1.0, places.draw(everywhere, seed=0, epoch=0, index=i)) for i in range(len(paths))
    ]
    alone, together = (
        FeatureStore(base, paths, 10**8, readers).get_all(wanted) for readers in (1, 4)
    )
    assert len(alone) == len(together) == 24
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


# Folders


def faults_of(**folders: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        look_around(AugmentSettings(**{name: str(path) for name, path in folders.items()}))
    return [caught.value.problem, *caught.value.details]


def test_all_faults_of_both_folders_are_told_at_once(tmp_path):
    noise, rir = noises(tmp_path / "noise"), rooms(tmp_path / "rooms")
    (noise / "text.wav").write_text("hello")
    (noise / "nothing.flac").touch()
    whole = (noise / "street" / "cars.flac").read_bytes()
    (noise / "street" / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (noise / "phone.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    wave = np.ones(11 * 16_000)
    soundfile.write(rir / "hall.wav", wave, 16_000)
    soundfile.write(rir / "silent.wav", 0 * wave[:500], 16_000)
    soundfile.write(rir / "broken.wav", np.nan * wave[:500], 16_000, subtype="FLOAT")
    said = faults_of(noise=noise, rir=rir)
    assert len(said) == 7
    for name, reason in (
        ("text.wav", "libsndfile does not read it"),
        ("nothing.flac", "the file is empty"),
        ("cut.flac", "truncated"),
        ("phone.m4a", "libsndfile does not read it"),
        ("hall.wav", "lasts 11.0 s; at most 10 s"),
        ("silent.wav", "silence"),
        ("broken.wav", "no finite numbers"),
    ):
        [line] = [line for line in said if name in line]
        assert reason in line
        assert line.startswith("augment.noise: " if str(noise) in line else "augment.rir: ")


def test_folders_without_audio_that_are_none_or_are_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no audio")
    assert faults_of(noise=tmp_path / "empty") == [
        f"augment.noise: {tmp_path / 'empty'} holds no audio file"
    ]
    assert "holds no audio file" in faults_of(rir=tmp_path / "notes")[0]
    assert "is no folder" in faults_of(rir=tmp_path / "notes" / "readme.txt")[0]
    assert "does not exist" in faults_of(noise=tmp_path / "gone")[0]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("augment.noise_snr_db=[20, 5]", "the lower ratio comes first"),
        ("augment.noise_snr_db=[.nan, 5]", "the lower ratio comes first"),
        ("augment.rir_probability=0.5", "augment.rir is not set"),
        ("augment.telephone_codecs=[gsm]", "augment.telephone is not set"),
    ],
)
def test_settings_that_cannot_be_or_that_nothing_would_read(override, said):
    with pytest.raises(UsageError) as caught:
        read(None, {}, [override])
    assert said in "\n".join([caught.value.problem, *caught.value.details])


def test_the_command_leaves_by_3_and_nothing_stays(tpactl, taught, accent, tmp_path):
    flags = ["--set", f"augment.noise={tmp_path / 'gone'}"]
    done = tpactl("train", "--data", accent, "--base", taught, "--out", tmp_path / "run", *flags)
    assert done.exit_code == 3
    assert f"error: augment.noise: {tmp_path / 'gone'} does not exist" in done.err
    assert list(tmp_path.iterdir()) == []


# The run


def test_a_run_names_its_folders_by_content_and_can_be_made_again(taught, accent, tmp_path):
    settings = (*all_of(tmp_path), "training.max_steps=4")
    record = train(accent, quick(taught, *settings), tmp_path / "run")
    assert set(record.augment_digests) == {"noise", "rir"}
    assert record.augment_digests == Run(tmp_path / "run").record.augment_digests
    again = train(accent, read(tmp_path / "run" / "run.yaml"), tmp_path / "again")
    files = [next((tmp_path / name / "adapter").glob("*.safetensors")) for name in ("run", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert again.augment_digests == record.augment_digests
    shutil.copytree(tmp_path / "noise", tmp_path / "moved")
    digests = [
        look_around(AugmentSettings(noise=str(tmp_path / name))).digests["noise"]
        for name in ("noise", "moved")
    ]
    assert digests == [record.augment_digests["noise"]] * 2
    fan = tmp_path / "moved" / "fan.ogg"
    fan.rename(fan.with_name("fan2.ogg"))
    (tmp_path / "noise" / "hum.wav").unlink()
    changed = [
        look_around(AugmentSettings(noise=str(tmp_path / name))).digests["noise"]
        for name in ("noise", "moved")
    ]
    assert len({*digests, *changed}) == 3


def test_what_is_added_changes_what_is_learnt(taught, accent, tmp_path):
    places = all_of(tmp_path)
    runs = {
        "none": (),
        "noise": (places[0],),
        "rooms": (places[1],),
        "line": ("augment.telephone=true",),
    }
    for name, settings in runs.items():
        train(accent, quick(taught, *settings, "training.max_steps=3"), tmp_path / "runs" / name)
    learnt = [file.read_bytes() for file in tmp_path.glob("runs/*/adapter/*.safetensors")]
    assert len(learnt) == 4
    assert all(one != other for one, other in itertools.combinations(learnt, 2))


def test_a_recording_that_vanishes_ends_the_training_with_its_name(taught, accent, tmp_path):
    places = all_of(tmp_path)
    config = quick(taught, places[0], "augment.noise_probability=1")

    def vanish(event, plan):
        if event.kind == "step" and event.step == 3:
            shutil.rmtree(tmp_path / "noise")

    with pytest.raises(InputError, match=r"(cars.flac|hum.wav|fan.ogg): ") as caught:
        train(accent, config, tmp_path / "run", on_event=vanish)
    assert not (tmp_path / "run").exists()
    assert caught.value.exit_code == 3


def test_resuming_with_other_noise_is_refused(taught, accent, tmp_path):
    places = all_of(tmp_path)
    short = ("training.max_epochs=10", "training.evaluations=5")
    config = quick(taught, *places, *short)

    def stop(event, plan):
        if event.kind == "step" and event.step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(accent, config, tmp_path / "run", on_event=stop)
    moved = tmp_path / "elsewhere"
    (tmp_path / "noise").rename(moved)
    fan = moved / "fan.ogg"
    kept = fan.read_bytes()
    samples, rate = soundfile.read(fan)
    soundfile.write(fan, samples[::-1], rate)
    other = quick(taught, f"augment.noise={moved}", *places[1:], *short)
    with pytest.raises(UsageError, match=r"augment.noise: sha256:\w+ when it began, sha256:\w+"):
        train(accent, other, tmp_path / "run", resume=True)
    fan.write_bytes(kept)
    assert train(accent, other, tmp_path / "run", resume=True).stopped_by == "epochs"
