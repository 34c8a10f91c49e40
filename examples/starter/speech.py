"""Step 2 of the starter recipe: synthetic speech from five free engines, written in shards.

Reads the sentences of ``texts.py``; writes ``*.npz`` shards with the keys ``samples`` (all clips of
the shard end to end, int16, 16 kHz), ``lengths``, ``texts`` (what was said, in the model's
characters) and ``voices``. Shards appear under their final name only when complete, so training can
read them while this is still running.

    python speech.py --texts texts.json --out shards --hours 200 --workers 14
    python speech.py --texts texts.json --out heldout --held-out --clips 400 --workers 1

Engines (Debian package, licence of engine and voices):
    espeak-ng (libespeak-ng1, GPL-3+; the speech carries no licence), flite (libflite1, BSD-like),
    RHVoice (librhvoice5 and rhvoice-english, LGPL-2.1+; of its voices only those without a
    non-commercial clause), SVOX Pico (libttspico-utils, Apache-2.0, its voices without
    sources), Festival (festival, festvox-kdlpc16k, festvox-us-slt-hts, BSD-like).
Pico and Festival look for their data in /usr/share whatever ``--root`` says: link it there if they
are only unpacked. The libraries are called through ctypes where they have a C interface; that is
many times faster than processes.

Voices never used here for training, so that there is something unheard to test on:
``HELD_OUT_VOICES`` (this recipe's test) and ``RESERVED_VOICES`` (the example department).
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000  # Hz
CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
PEAK = 9_000  # of 32767
MAX_DURATION_S = 14.5
MAX_CHARACTERS_PER_S = 21.0

ESPEAK_ACCENTS = ("en-us", "en-us", "en", "en-gb-scotland", "en-us-nyc", "en-gb-x-gbclan")
ESPEAK_VARIANTS = [
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "klatt2",
    "klatt3",
    "Annie",
    "Andy",
    "Alex",
    "Alicia",
    "Andrea",
    "Denis",
    "Diogo",
    "Gene",
    "Henrique",
    "Hugo",
    "Jacky",
    "Lee",
    "Marco",
    "Mario",
    "Michael",
    "Mike",
    "anika",
    "antonio",
    "belinda",
    "benjamin",
    "caleb",
    "ed",
    "edward",
    "edward2",
    "gustave",
    "iven",
    "linda",
    "max",
    "miguel",
    "norbert",
    "pablo",
    "paul",
    "pedro",
    "quincy",
    "rob",
    "robert",
    "sandro",
    "shelby",
    "steph",
    "steph2",
    "travis",
    "victor",
    "zac",
    "adam",
]
HELD_OUT_VOICES = (
    "flite kal",
    "flite kal16",
    *(f"espeak en-gb-x-rp+{name}" for name in ("david", "aunty", "boris")),
)
RESERVED_VOICES = (
    "rhvoice alan",
    "rhvoice clb",
    "flite awb",
    "espeak en-029+*",
    "espeak en-gb-x-gbcwmd+*",
)

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = [
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


# ---------------------------------------------------------------- engines


class Espeak:
    """espeak-ng: formant synthesis, hundreds of times faster than real time, many voices."""

    RATE, PITCH, RANGE, WORD_GAP = 1, 3, 4, 7
    CALLBACK = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )

    def __init__(self, library_folder: Path) -> None:
        library = ctypes.CDLL(str(library_folder / "libespeak-ng.so.1"), mode=ctypes.RTLD_GLOBAL)
        synchronous = 2
        self._source_rate = library.espeak_Initialize(
            synchronous, 0, str(library_folder).encode(), 0
        )
        self._blocks: list[NDArray[np.int16]] = []

        def keep(samples: ctypes.pointer, count: int, _events: object) -> int:
            if samples and count > 0:
                self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        self._callback = self.CALLBACK(keep)
        library.espeak_SetSynthCallback(self._callback)
        library.espeak_Synth.argtypes = (
            [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int]
            + [ctypes.c_uint] * 2
            + [ctypes.c_void_p] * 2
        )
        self._library = library

    def speak(
        self, text: str, voice: str, rate: int, pitch: int, pitch_range: int, word_gap: int = 0
    ) -> Samples:
        """Return ``text`` at 16 kHz.

        Rate is in words a minute, pitch and range go from 0 to 99, the gap is in 10 ms.
        """
        library = self._library
        self._blocks.clear()
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        for parameter, value in (
            (self.RATE, rate),
            (self.PITCH, pitch),
            (self.RANGE, pitch_range),
            (self.WORD_GAP, word_gap),
        ):
            library.espeak_SetParameter(parameter, value, 0)
        data = text.encode() + b"\0"
        utf8 = 1
        library.espeak_Synth(data, len(data), 0, 1, 0, utf8, None, None)
        return resample_poly(
            np.concatenate(self._blocks).astype(np.float32), 320, 441
        )  # from 22,050 Hz


class _FliteWave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _FliteVoice(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class Flite:
    """flite: CMU's statistical voices ``rms`` and ``slt``, diphones ``kal`` and ``kal16``."""

    MEAN_PITCH_HZ: ClassVar = {"rms": 100.0, "slt": 170.0, "kal": 105.0, "kal16": 105.0}

    def __init__(self, library_folder: Path) -> None:
        def load(name: str) -> ctypes.CDLL:
            return ctypes.CDLL(str(library_folder / f"lib{name}.so.1"), mode=ctypes.RTLD_GLOBAL)

        library = load("flite")
        library.flite_init()
        load("flite_usenglish")
        load("flite_cmulex")
        library.flite_text_to_wave.restype = ctypes.POINTER(_FliteWave)
        library.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        library.delete_wave.argtypes = [ctypes.POINTER(_FliteWave)]
        library.feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
        self._library = library
        self._load = load
        self._voices: dict[str, int] = {}

    def _voice(self, name: str) -> int:
        """Return the handle of a voice, loading its library when it is first asked for."""
        if name not in self._voices:
            register = getattr(self._load(f"flite_cmu_us_{name}"), f"register_cmu_us_{name}")
            register.restype = ctypes.c_void_p
            register.argtypes = [ctypes.c_char_p]
            self._voices[name] = register(None)
        return self._voices[name]

    def speak(self, text: str, voice: str, stretch: float, pitch_ratio: float) -> Samples:
        """Return ``text`` at 16 kHz, durations times ``stretch``, pitch times ``pitch_ratio``."""
        handle = self._voice(voice)
        features = ctypes.cast(handle, ctypes.POINTER(_FliteVoice)).contents.features
        self._library.feat_set_float(features, b"duration_stretch", stretch)
        self._library.feat_set_float(
            features, b"int_f0_target_mean", self.MEAN_PITCH_HZ[voice] * pitch_ratio
        )
        wave = self._library.flite_text_to_wave(text.encode(), handle)
        content = wave.contents
        samples = np.ctypeslib.as_array(content.samples, (content.num_samples,)).astype(np.float32)
        sample_rate = content.sample_rate
        self._library.delete_wave(wave)
        return (
            samples
            if sample_rate == SAMPLE_RATE
            else resample_poly(samples, SAMPLE_RATE, sample_rate)
        )


_RHVOICE_SET_RATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
_RHVOICE_PLAY = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_uint, ctypes.c_void_p
)


class _RHVoiceInit(ctypes.Structure):
    _fields_ = (
        ("data_path", ctypes.c_char_p),
        ("config_path", ctypes.c_char_p),
        ("resource_paths", ctypes.c_void_p),
        ("set_sample_rate", _RHVOICE_SET_RATE),
        ("play_speech", _RHVOICE_PLAY),
        ("other_callbacks", ctypes.c_void_p * 7),
        ("options", ctypes.c_uint),
    )


class _RHVoiceParameters(ctypes.Structure):
    _fields_ = (
        ("voice_profile", ctypes.c_char_p),
        ("absolute", ctypes.c_double * 3),
        ("relative_rate", ctypes.c_double),
        ("relative_pitch", ctypes.c_double),
        ("relative_volume", ctypes.c_double),
        ("punctuation_mode", ctypes.c_int),
        ("punctuation_list", ctypes.c_char_p),
        ("capitals_mode", ctypes.c_int),
        ("flags", ctypes.c_int),
    )


class RHVoice:
    """RHVoice: HMM voices made from the CMU ARCTIC recordings (``bdl`` and ``slt`` are used)."""

    def __init__(self, library_folder: Path, data_folder: Path, config_folder: Path) -> None:
        library = ctypes.CDLL(str(library_folder / "libRHVoice.so.5"), mode=ctypes.RTLD_GLOBAL)
        library.RHVoice_new_tts_engine.restype = ctypes.c_void_p
        library.RHVoice_new_tts_engine.argtypes = [ctypes.POINTER(_RHVoiceInit)]
        library.RHVoice_new_message.restype = ctypes.c_void_p
        library.RHVoice_new_message.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.POINTER(_RHVoiceParameters),
            ctypes.c_void_p,
        ]
        library.RHVoice_speak.argtypes = [ctypes.c_void_p]
        library.RHVoice_delete_message.argtypes = [ctypes.c_void_p]
        self._blocks: list[NDArray[np.int16]] = []
        self._source_rate = 24_000

        def set_rate(sample_rate: int, _user: object) -> int:
            self._source_rate = sample_rate
            return 1

        def play(samples: ctypes.pointer, count: int, _user: object) -> int:
            if count:
                self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 1

        self._callbacks = (_RHVOICE_SET_RATE(set_rate), _RHVOICE_PLAY(play))
        start = _RHVoiceInit(
            data_path=str(data_folder).encode(),
            config_path=str(config_folder).encode(),
            set_sample_rate=self._callbacks[0],
            play_speech=self._callbacks[1],
        )
        self._library = library
        self._engine = library.RHVoice_new_tts_engine(ctypes.byref(start))
        if not self._engine:
            raise OSError(f"RHVoice found no voices in {data_folder}")

    def speak(self, text: str, voice: str, rate: float, pitch: float) -> Samples:
        """Return ``text`` at 16 kHz; rate and pitch relative to the voice's own."""
        parameters = _RHVoiceParameters(
            voice_profile=voice.encode(),
            relative_rate=rate,
            relative_pitch=pitch,
            relative_volume=1.0,
        )
        self._blocks.clear()
        data = text.encode()
        plain_text = 0
        message = self._library.RHVoice_new_message(
            self._engine, data, len(data), plain_text, ctypes.byref(parameters), None
        )
        if not message:
            raise ValueError(f"RHVoice refused {text!r}")
        self._library.RHVoice_speak(message)
        self._library.RHVoice_delete_message(message)
        return resample_poly(
            np.concatenate(self._blocks).astype(np.float32), SAMPLE_RATE, self._source_rate
        )


def _read_wave(path: Path) -> Samples:
    """Return the samples of a 16 kHz mono WAV file with a 44-byte header, and delete the file."""
    data = path.read_bytes()[44:]
    path.unlink()
    return np.frombuffer(data[: len(data) // 2 * 2], np.int16).astype(np.float32)


class Pico:
    """SVOX Pico through its command ``pico2wave``: one British and one American voice."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._program = root / "usr/bin/pico2wave"
        self._wave = folder / "pico.wav"

    def speak(self, text: str, voice: str, pitch: int, speed: int) -> Samples:
        """Return ``text`` at 16 kHz; pitch and speed in percent."""
        markup = f"<pitch level='{pitch}'><speed level='{speed}'>{text}</speed></pitch>"
        subprocess.run(
            [self._program, "-l", voice, "-w", self._wave, markup],
            check=True,
            timeout=20,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return _read_wave(self._wave)


class Festival:
    """Festival, kept running and driven through its standard input: a diphone and an HMM voice."""

    VOICES = ("ked_diphone", "cmu_us_slt_arctic_hts")

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._wave = folder / "festival.wav"
        # Its standard output is buffered: a file tells when it is ready.
        self._done = folder / "festival.done"
        self._process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._root / "usr/bin/festival", "--pipe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def speak(self, text: str, voice: str, stretch: float) -> Samples:
        """Return ``text`` at 16 kHz; durations times ``stretch``."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        process = self._process
        assert process.stdin
        process.stdin.write(
            f"(voice_{voice})(Parameter.set 'Duration_Stretch {stretch:.2f})"
            f'(set! u (utt.synth (Utterance Text "{text}")))(utt.wave.resample u {SAMPLE_RATE})'
            f'(utt.save.wave u "{self._wave}")(fclose (fopen "{self._done}" "w"))\n'
        )
        process.stdin.flush()
        give_up = time.monotonic() + 20
        while not self._done.exists():
            if process.poll() is not None or time.monotonic() > give_up:
                process.kill()
                self._process = None
                raise OSError("festival did not answer")
            time.sleep(0.002)
        self._done.unlink()
        return _read_wave(self._wave)


# ---------------------------------------------------------------- what is said


def number_words(number: int) -> str:
    """Return 0 to 9999 in words.

    >>> number_words(1205)
    'one thousand two hundred and five'
    """
    if number < 10:
        return DIGITS[number]
    if number < 20:
        return TEENS[number - 10]
    if number < 100:
        return " ".join([TENS[number // 10 - 2], *([DIGITS[number % 10]] if number % 10 else [])])
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            head = f"{number_words(number // size)} {name}"
            return (
                head
                if not rest
                else f"{head} and {number_words(rest)}"
                if rest < 100
                else f"{head} {number_words(rest)}"
            )
    raise AssertionError


@dataclass(frozen=True)
class Prompt:
    """What an engine is told to read, and what it then says in the model's characters."""

    spoken: str
    text: str


def plain(text: str) -> str:
    """Return ``text`` in the model's characters."""
    return " ".join("".join(c for c in text.lower() if c in CHARACTERS).split())


class Prompts:
    """Draws prompts: mostly pieces of sentences, some word lists, letters, digits, numbers."""

    def __init__(self, sentences: list[str], words: list[str], rng: random.Random) -> None:
        self._sentences, self._words, self._rng = sentences, words, rng

    def draw(self) -> Prompt:
        """Return the next prompt."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.05:
            words = self._words if rng.random() < 0.6 else self._words[:400]
            chosen = " ".join(rng.choice(words) for _ in range(rng.randint(1, 5)))
            return Prompt(chosen, chosen)
        if kind < 0.09:
            if rng.random() < 0.5:
                letters = (
                    list(rng.choice(self._words))
                    if rng.random() < 0.6
                    else rng.choices(CHARACTERS[2:], k=rng.randint(2, 9))
                )
            else:
                letters = list(rng.choice(self._words) + rng.choice(self._words))
            letters = [letter for letter in letters if letter != "'"][:14]
            separator = rng.choice((" ", ", ", ". "))
            return Prompt(separator.join(letters).upper(), " ".join(letters))
        if kind < 0.12:
            digits = rng.choices(DIGITS, k=rng.randint(2, 10))
            return Prompt(rng.choice((" ", " ", ", ")).join(digits), " ".join(digits))
        if kind < 0.135:
            number = number_words(
                rng.choice((rng.randrange(100), rng.randrange(1000), rng.randrange(10000)))
            )
            return Prompt(number, number)
        return self._piece_of_sentence()

    def _piece_of_sentence(self) -> Prompt:
        rng = self._rng
        words = rng.choice(self._sentences).split()
        size = rng.random()
        if size < 0.25:
            limit = rng.randint(1, 5)
        elif size < 0.80:
            limit = rng.randint(5, 13)
        else:
            limit = rng.randint(13, 24)
        start = 0 if rng.random() < 0.6 else rng.randrange(max(1, len(words) - limit + 1))
        words = words[start : start + limit]
        text = plain(" ".join(words))
        if rng.random() < 0.12:  # a hesitant reader
            words = [word + "," if rng.random() < 0.3 else word for word in words]
        return Prompt(" ".join(words).strip(" ,"), text)


FOREIGN_SPELLINGS = (
    (r"\bth(?=[eaio])", "d"),
    (r"th", "s"),
    (r"th\b", "t"),
    (r"v", "w"),
    (r"(?<=[aeiou])([dtkgbp])\b", r"\1uh"),
    (r"(?<=[aeiou])ll?\b", "o"),
    (r"(?<=[aeiou])[td]\b", ""),
    (r"\br", "l"),
    (r"z|(?<=[aeiou])s(?=[aeiou])", "s"),
    (r"i(?=[tnpdk]\b)", "ee"),
    (r"sh", "s"),
)


def foreign_accent(spoken: str, rng: random.Random) -> str:
    """Return ``spoken`` respelled as a learner might say it: a few rules, not always kept."""
    rules = rng.sample(FOREIGN_SPELLINGS, 3)
    words = []
    for word in spoken.split():
        for pattern, replacement in rules:
            changed = re.sub(pattern, replacement, word)
            if rng.random() < 0.7 and len(changed) > 1:
                word = changed
        words.append(word)
    return " ".join(words)


# ---------------------------------------------------------------- clips


class Studio:
    """All engines of one process."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        libraries = root / "usr/lib/x86_64-linux-gnu"
        scratch = Path(tempfile.mkdtemp(prefix="speech-", dir="/dev/shm"))
        self._rng = rng
        self._espeak = Espeak(libraries)
        self._flite = Flite(libraries)
        self._rhvoice = RHVoice(libraries, root / "usr/share/RHVoice", root / "etc/RHVoice")
        self._pico = Pico(root, scratch)
        self._festival = Festival(root, scratch)

    def training_clip(self, spoken: str) -> tuple[str, Samples]:
        """Return (voice, samples) from a random voice, speed and pitch.

        Children's pitch and slow reading are among them.
        """
        rng = self._rng
        engine = rng.choices(
            (
                self._say_espeak,
                self._say_flite,
                self._say_rhvoice,
                self._say_pico,
                self._say_festival,
            ),
            (0.29, 0.25, 0.19, 0.18, 0.09),
        )[0]
        return engine(foreign_accent(spoken, rng) if rng.random() < 0.10 else spoken)

    def held_out_clip(self, spoken: str) -> tuple[str, Samples]:
        """Return (voice, samples) from one of ``HELD_OUT_VOICES``."""
        rng = self._rng
        engine, name = rng.choice(HELD_OUT_VOICES).split()
        if engine == "flite":
            return f"flite {name}", self._flite.speak(
                spoken, name, rng.uniform(0.9, 1.2), rng.uniform(0.85, 1.2)
            )
        samples = self._espeak.speak(
            spoken, name, rng.randint(135, 180), rng.randint(40, 60), rng.randint(40, 70)
        )
        return f"espeak {name}", samples

    def _say_espeak(self, spoken: str) -> tuple[str, Samples]:
        rng = self._rng
        voice = f"{rng.choice(ESPEAK_ACCENTS)}+{rng.choice(ESPEAK_VARIANTS)}"
        gap = rng.randint(1, 12) if rng.random() < 0.2 else 0
        pitch = rng.randint(20, 80) if rng.random() < 0.7 else rng.randint(70, 99)
        return f"espeak {voice}", self._espeak.speak(
            spoken, voice, rng.randint(95, 200), pitch, rng.randint(20, 90), gap
        )

    def _say_flite(self, spoken: str) -> tuple[str, Samples]:
        rng = self._rng
        voice = rng.choice(("rms", "slt"))
        return f"flite {voice}", self._flite.speak(
            spoken, voice, self._stretch(), rng.choice((1.0, 1.0, 1.3)) * rng.uniform(0.75, 1.35)
        )

    def _say_rhvoice(self, spoken: str) -> tuple[str, Samples]:
        rng = self._rng
        voice = rng.choice(("bdl", "slt"))
        return f"rhvoice {voice}", self._rhvoice.speak(
            spoken,
            voice,
            1 / self._stretch(),
            rng.choice((1.0, 1.0, 1.3)) * rng.uniform(0.75, 1.35),
        )

    def _say_pico(self, spoken: str) -> tuple[str, Samples]:
        rng = self._rng
        voice = rng.choice(("en-GB", "en-US"))
        return f"pico {voice}", self._pico.speak(
            spoken, voice, rng.randint(65, 170), round(100 / self._stretch())
        )

    def _say_festival(self, spoken: str) -> tuple[str, Samples]:
        voice = self._rng.choice(Festival.VOICES)
        return f"festival {voice}", self._festival.speak(spoken, voice, self._stretch())

    def _stretch(self) -> float:
        return (
            self._rng.uniform(0.8, 1.25)
            if self._rng.random() < 0.65
            else self._rng.uniform(1.2, 1.75)
        )


def finish(samples: Samples, text: str, rng: random.Random) -> NDArray[np.int16] | None:
    """Return the clip with some silence around it and one peak level.

    None if it is too short, too long or too fast for its text.
    """
    envelope = np.abs(samples)
    loud = np.nonzero(envelope > envelope.max() * 0.01)[0] if len(samples) else samples
    if len(loud) < 800:
        return None
    start = max(0, loud[0] - rng.randint(400, 4000))
    clip = samples[start : loud[-1] + rng.randint(400, 4000)]
    duration_s = len(clip) / SAMPLE_RATE
    if duration_s > MAX_DURATION_S or len(text) / duration_s > MAX_CHARACTERS_PER_S:
        return None
    return np.clip(clip * (PEAK / envelope.max()), -32768, 32767).astype(np.int16)


def write_shard(path: Path, clips: list[tuple[NDArray[np.int16], str, str]]) -> None:
    """Write (samples, text, voice) clips to ``path``, complete or not at all."""
    unfinished = path.with_suffix(".partial")
    with unfinished.open("wb") as file:
        np.savez(
            file,
            samples=np.concatenate([samples for samples, _, _ in clips]),
            lengths=np.array([len(samples) for samples, _, _ in clips]),
            texts=np.array([text for _, text, _ in clips]),
            voices=np.array([voice for _, _, voice in clips]),
        )
    unfinished.rename(path)


def make_shard(
    prompts: Prompts, speak: Callable[[str], tuple[str, Samples]], count: int, rng: random.Random
) -> list[tuple[NDArray[np.int16], str, str]]:
    """Return up to ``count`` clips; a prompt that an engine fails on is skipped and printed."""
    clips = []
    for _ in range(count):
        prompt = prompts.draw()
        if not prompt.text:
            continue
        try:
            voice, samples = speak(prompt.spoken)
        except (OSError, ValueError, subprocess.SubprocessError) as failure:
            print(f"skipped {prompt.spoken[:60]!r}: {failure!r}"[:300], flush=True)
            continue
        clip = finish(samples, prompt.text, rng)
        if clip is not None:
            clips.append((clip, prompt.text, voice))
    return clips


def work(worker: int, arguments: argparse.Namespace) -> None:
    """Write shards until this worker's share of the hours, or the time, is up."""
    rng = random.Random(f"{arguments.seed}-{worker}")
    texts = json.loads(arguments.texts.read_text())
    studio = Studio(arguments.root, rng)
    prompts = Prompts(texts["held_out" if arguments.held_out else "train"], texts["words"], rng)
    started, done_s, shard = time.monotonic(), 0.0, 0
    if arguments.held_out:
        write_shard(
            arguments.out / "heldout.npz",
            make_shard(prompts, studio.held_out_clip, arguments.clips, rng),
        )
        return
    count = 40  # the first shards come soon, the later ones are fewer
    while (
        done_s < arguments.hours * 3600 / arguments.workers
        and time.monotonic() - started < arguments.seconds
    ):
        clips = make_shard(prompts, studio.training_clip, count, rng)
        if clips:
            write_shard(arguments.out / f"train-{shard:04d}-{worker:02d}.npz", clips)
        done_s += sum(len(samples) for samples, _, _ in clips) / SAMPLE_RATE
        shard, count = shard + 1, min(200, count * 2)
    print(
        f"worker {worker}: {done_s / 3600:.2f} h in {time.monotonic() - started:.0f} s", flush=True
    )


def main() -> None:
    """Run the workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="where the engines are installed or unpacked"
    )
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument(
        "--seconds", type=float, default=86_400.0, help="stop after this time, whatever is done"
    )
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument(
        "--held-out", action="store_true", help="the test set: unheard voices, unread sentences"
    )
    parser.add_argument("--clips", type=int, default=400, help="size of the test set")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.held_out:
        arguments.workers = 1
    processes = [
        multiprocessing.Process(target=work, args=(w, arguments)) for w in range(arguments.workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
