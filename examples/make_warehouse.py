"""Make the example department: a made-up warehouse's radio traffic, spoken by machines.

    python examples/make_warehouse.py [--out examples/warehouse] [--seed 8]

It writes an audio folder: ``metadata.csv`` and one Ogg Opus file an utterance. The sentences come
from a small grammar, the voices from espeak-ng and flite (Debian: ``apt-get install espeak-ng
flite``), the handheld radio, the hall and its noise from numpy. The same seed and the same versions
of the programs give the same bytes.

No sentence of the test set occurs in train or dev, and no voice is in two of the three.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import shutil
import string
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

SAMPLE_RATE = 16_000
"""Hz, of the files."""
RADIO_RATE = 8_000
"""Hz, of the radio's and the telephone's codec."""
OPUS_COMPRESSION = 0.93
"""libsndfile's scale: 0 is 256 kbit/s, 1 is 6 kbit/s; this is about 24 kbit/s."""
SPLITS = {"train": 6, "dev": 4, "test": 4}
"""Utterances a voice."""

# --- what is said -----------------------------------------------------------------------------

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = ["eleven", "twelve", "fourteen", "fifteen", "sixteen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "eighty"]
# Without "a" and "i", which are words of their own.
LETTERS = list("bcdfghjklmnpqrstvwxz")
CALL_WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "tango", "victor", "zulu"]

ZONES = ["bay", "aisle", "rack", "dock", "staging lane", "pick face"]

SLOTS: dict[str, list[str]] = {
    "product": [
        "gravlock tensioner",
        "sprocket cage",
        "torvex coupler",
        "flange wicket",
        "hexen shackle",
        "thrum roller",
        "pintle bracket",
        "mullion clamp",
        "varnel hinge",
        "quill bearing",
        "bindle strap",
        "dorsal grommet",
    ],
    "unit": ["pallet", "carton", "tote", "gaylord", "crate", "skid"],
    "units": ["pallets", "cartons", "totes", "gaylords", "crates", "skids"],
    "truck": ["reach truck", "pallet jack", "forklift", "order picker", "tugger", "clamp truck"],
    "place": [
        "the mezzanine",
        "the cold room",
        "the cross dock",
        "the hazmat cage",
        "the dock leveler",
        "the returns bench",
        "the shrink wrap station",
    ],
    "fault": [
        "short picked",
        "over stacked",
        "mislabeled",
        "back ordered",
        "double stacked",
        "missing its dunnage",
        "without a manifest",
    ],
    "carrier": ["ostrander freight", "kellwick haulage", "brindle and sons", "norvane lines"],
}

TEMPLATES = [
    "put away {count} {units} of {product} to {location}",
    "pick {count} {product} from {location}",
    "{callsign} bring the {truck} to {location}",
    "{callsign} replenish {location} with {product} over",
    "s k u {code} is {fault}",
    "s k u {code} goes to {location}",
    "{unit} {code} is {fault} at {location}",
    "cycle count {location} shows {count} {units} of {product}",
    "cross dock the {product} {unit} for {carrier}",
    "scan {unit} {code} then drop it at {place}",
    "{carrier} trailer is on dock {number} bill of lading {code}",
    "stage {count} {units} for {carrier} in {location}",
    "hold the {product} wave {place} is blocked",
    "the {truck} is down at {location} send a tugger",
    "{callsign} confirm check digits {digits}",
    "check digits {digits} at {location}",
    "{callsign} there's a spill by {place} keep the {truck} clear",
    "shrink wrap the {product} {unit} and tag it {code}",
    "we're {count} {units} short on {product} for {carrier}",
    "lot {code} of {product} needs a tare weight",
    "move the {fault} {unit} from {place} to {location}",
    "copy that {callsign} {count} {units} at {place}",
    "that's the wrong {product} take it back to {location}",
    "charge the {truck} and park it by {place}",
    "expedite {product} {code} to {place}",
    "{callsign} close out pick list {digits} over",
]


class Decks:
    """Draws words as from shuffled decks of cards, so that a few minutes hold each of them.

    Args:
        rng: decides every draw.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._left: dict[str, list[str]] = {}

    def draw(self, name: str, words: list[str]) -> str:
        """Return the next word of the deck ``name``; an empty deck is shuffled anew."""
        if not self._left.get(name):
            self._left[name] = self.rng.sample(words, len(words))
        return self._left[name].pop()

    def number(self) -> str:
        """Return a number from two to eighty-nine in words."""
        kind = self.rng.random()
        if kind < 0.4:
            return self.draw("count", DIGITS[2:])
        if kind < 0.75:
            return self.draw("teens", TEENS)
        tens = self.draw("tens", TENS)
        return tens if self.rng.random() < 0.4 else f"{tens} {self.draw('ones', DIGITS[1:])}"

    def digits(self, count: int) -> str:
        """Return digits in words."""
        return " ".join(self.draw("digits", DIGITS) for _ in range(count))

    def fill(self, template: str) -> str:
        """Return the template with each slot filled."""
        slots = {
            "number": self.number,
            "count": self.number,
            "digits": lambda: self.digits(3),
            "code": lambda: (
                f"{self.draw('letter', LETTERS)} {self.draw('letter', LETTERS)} {self.digits(2)}"
            ),
            "location": lambda: (
                f"{self.draw('zone', ZONES)} {self.number()} {self.draw('call', CALL_WORDS)}"
            ),
            "callsign": lambda: f"{self.draw('call', CALL_WORDS)} {self.digits(1)}",
        }
        words = {}
        for _, name, _, _ in string.Formatter().parse(template):
            if name is not None:
                words[name] = slots[name]() if name in slots else self.draw(name, SLOTS[name])
        return template.format(**words)


def sentences(count: int, decks: Decks, taken: set[str]) -> list[str]:
    """Return ``count`` sentences that are not in ``taken``, and add them to it."""
    found: list[str] = []
    while len(found) < count:
        text = decks.fill(decks.draw("template", TEMPLATES))
        if text not in taken:
            taken.add(text)
            found.append(text)
    return found


# --- who says it ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker: an engine, its voice, and how it is set."""

    speaker: str
    split: str
    engine: str
    name: str
    pitch: int
    """espeak-ng: 0 to 99; flite: mean in Hz."""
    pace: int
    """Words a minute for espeak-ng; percent of the usual length for flite."""


CARIBBEAN, MIDLANDS = "en-029", "en-gb-x-gbcwmd"
VOICES = [
    Voice("ada", "train", "espeak-ng", f"{CARIBBEAN}+f2", 48, 150),
    Voice("bram", "train", "espeak-ng", f"{MIDLANDS}+m3", 42, 158),
    Voice("cleo", "train", "espeak-ng", f"{MIDLANDS}+f4", 52, 146),
    Voice("dov", "train", "espeak-ng", f"{CARIBBEAN}+m1", 50, 164),
    Voice("edda", "train", "espeak-ng", f"{CARIBBEAN}+Annie", 40, 152),
    Voice("finn", "train", "espeak-ng", f"{MIDLANDS}+Lee", 38, 142),
    Voice("gwen", "train", "espeak-ng", f"{MIDLANDS}+shelby", 35, 156),
    Voice("hari", "train", "espeak-ng", f"{CARIBBEAN}+klatt2", 55, 148),
    Voice("ilse", "train", "espeak-ng", f"{CARIBBEAN}+linda", 45, 160),
    Voice("jory", "train", "espeak-ng", f"{MIDLANDS}+Andy", 58, 150),
    Voice("kit", "train", "espeak-ng", f"{CARIBBEAN}+edward2", 62, 166),
    Voice("lars", "train", "espeak-ng", f"{MIDLANDS}+victor", 36, 144),
    Voice("mona", "train", "espeak-ng", f"{MIDLANDS}+Alicia", 32, 154),
    Voice("nils", "train", "espeak-ng", f"{CARIBBEAN}+boris", 44, 140),
    Voice("olga", "dev", "espeak-ng", f"{CARIBBEAN}+f5", 42, 150),
    Voice("pim", "dev", "espeak-ng", f"{MIDLANDS}+m5", 52, 154),
    Voice("quin", "dev", "espeak-ng", f"{CARIBBEAN}+Gene2", 46, 146),
    Voice("rhea", "dev", "espeak-ng", f"{MIDLANDS}+aunty", 50, 158),
    Voice("sven", "dev", "espeak-ng", f"{MIDLANDS}+norbert", 60, 148),
    Voice("tess", "test", "espeak-ng", f"{CARIBBEAN}+f3", 46, 152),
    Voice("ulf", "test", "espeak-ng", f"{MIDLANDS}+m2", 44, 148),
    Voice("vera", "test", "espeak-ng", f"{MIDLANDS}+belinda", 42, 156),
    Voice("wim", "test", "espeak-ng", f"{CARIBBEAN}+m4", 54, 144),
    Voice("xena", "test", "espeak-ng", f"{MIDLANDS}+f1", 50, 150),
    Voice("yuri", "test", "espeak-ng", f"{CARIBBEAN}+klatt3", 48, 160),
    Voice("zora", "test", "espeak-ng", f"{CARIBBEAN}+grandma", 36, 146),
    Voice("abel", "test", "espeak-ng", f"{MIDLANDS}+caleb", 40, 162),
    Voice("beck", "test", "espeak-ng", f"{CARIBBEAN}+robert", 56, 150),
    Voice("cato", "test", "espeak-ng", f"{MIDLANDS}+max", 46, 142),
    Voice("demi", "test", "flite", "awb", 126, 104),
]


def speak(voice: Voice, text: str) -> np.ndarray:
    """Return the voice saying the text: float, 16 kHz, peak at 0.5."""
    if voice.engine == "espeak-ng":
        settings = ["-v", voice.name, "-p", str(voice.pitch), "-s", str(voice.pace)]
        command = ["espeak-ng", *settings, "--stdout", text]
        sound = subprocess.run(command, check=True, capture_output=True).stdout
    else:
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            command = ["flite", "-voice", voice.name, "-t", text, "-o", file.name]
            command += ["--setf", f"int_f0_target_mean={voice.pitch}"]
            command += ["--setf", f"duration_stretch={voice.pace / 100}"]
            subprocess.run(command, check=True, capture_output=True)
            sound = Path(file.name).read_bytes()
    samples, rate = sf.read(io.BytesIO(sound))
    samples = soxr.resample(samples, rate, SAMPLE_RATE)
    heard = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    samples = samples[heard[0] : heard[-1] + 1]
    return 0.5 * samples / np.abs(samples).max()


# --- how it sounds ----------------------------------------------------------------------------


def band(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the samples with only low to high Hz left; with edges a sixth wide."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    rise = np.clip((hertz - low * 5 / 6) / (low / 6), 0, 1)
    fall = np.clip((high * 7 / 6 - hertz) / (high / 6), 0, 1)
    return np.fft.irfft(spectrum * rise * fall, len(samples))


def in_hall(
    samples: np.ndarray, reverberation_s: float, wet: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the samples with the hall's echo: exponentially falling noise as impulse response."""
    length = int(reverberation_s * SAMPLE_RATE)
    fall = np.exp(-6.9 * np.arange(length) / length)
    response = band(rng.standard_normal(length) * fall, 200, 5000)
    response *= wet / np.sqrt(np.sum(response**2))
    response[0] += 1.0
    size = len(samples) + length - 1
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)


def hall_noise(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return fans and mains hum, and now and then a reversing beeper or a clatter; power 1."""
    time = np.arange(num_samples) / SAMPLE_RATE
    fans = band(rng.standard_normal(num_samples), 80, 900)
    fans *= 1 + 0.3 * np.sin(2 * np.pi * 0.7 * time)
    fans /= fans.std()
    hum = sum(np.sin(2 * np.pi * 50 * k * time + rng.uniform(0, 6)) / k for k in (1, 2, 3, 4, 6))
    noise = fans + rng.uniform(0.2, 0.6) * hum + 0.25 * rng.standard_normal(num_samples)
    if rng.random() < 0.35:
        on = ((time + rng.uniform(0, 1)) % 1.0) < 0.45
        noise += rng.uniform(0.3, 0.8) * on * np.sin(2 * np.pi * rng.uniform(1100, 1500) * time)
    for _ in range(rng.poisson(0.8)):
        start = rng.integers(0, num_samples)
        length = min(num_samples - start, int(0.25 * SAMPLE_RATE))
        clatter = rng.standard_normal(length) * np.exp(-30 * np.arange(length) / SAMPLE_RATE)
        noise[start : start + length] += rng.uniform(1, 4) * clatter
    return noise / noise.std()


def mu_law(samples: np.ndarray) -> np.ndarray:
    """Return the samples after an 8 kHz, 8-bit mu-law codec (ITU-T G.711's curve)."""
    narrow = np.clip(soxr.resample(samples, SAMPLE_RATE, RADIO_RATE), -1, 1)
    curved = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
    curved = np.round(curved * 127) / 127
    narrow = np.sign(curved) * (np.power(256, np.abs(curved)) - 1) / 255
    return soxr.resample(narrow, RADIO_RATE, SAMPLE_RATE)


def transmit(samples: np.ndarray, channel: str, rng: np.random.Generator) -> np.ndarray:
    """Return what the other end hears over ``radio``, ``headset`` or ``telephone``."""
    reverberation_s, wet, snr_db = {
        "radio": (0.30, rng.uniform(0.10, 0.25), rng.uniform(14, 24)),
        "headset": (0.40, rng.uniform(0.10, 0.20), rng.uniform(10, 20)),
        "telephone": (0.40, rng.uniform(0.15, 0.30), rng.uniform(14, 24)),
    }[channel]
    before, after = (int(rng.uniform(0.15, 0.35) * SAMPLE_RATE) for _ in range(2))
    speech = np.pad(in_hall(samples, reverberation_s, wet, rng), (before, after))
    noise = hall_noise(len(speech), rng)
    # Loudness of speech is that of the spoken part; the noise is measured in the channel's band.
    limits = (150, 6500) if channel == "headset" else (300, 3400)
    speech, noise = band(speech, *limits), band(noise, *limits)
    power = np.mean(speech[before : before + len(samples)] ** 2)
    mixed = speech + noise * np.sqrt(power / np.mean(noise**2) / 10 ** (snr_db / 10))
    mixed *= rng.uniform(0.3, 0.6) / np.abs(mixed).max()
    if channel == "headset":
        return mixed
    if channel == "radio":
        # The transmitter's limiter flattens peaks; the receiver hisses a little.
        mixed = 0.5 * np.tanh(mixed / 0.45)
        mixed += 0.004 * rng.standard_normal(len(mixed))
    return mu_law(band(mixed, 300, 3400))


CHANNELS = {"radio": 0.6, "headset": 0.2, "telephone": 0.2}

# --- how it is written ------------------------------------------------------------------------


def write_opus(path: Path, samples: np.ndarray, stream: int) -> None:
    """Write Ogg Opus whose bytes depend on the arguments only.

    libsndfile numbers each Ogg stream at random; every page gets ``stream`` and its new checksum.
    """
    buffer = io.BytesIO()
    sf.write(
        buffer,
        samples,
        SAMPLE_RATE,
        format="OGG",
        subtype="OPUS",
        compression_level=OPUS_COMPRESSION,
    )
    content = bytearray(buffer.getvalue())
    start = 0
    while start < len(content):
        segments = content[start + 26]
        end = start + 27 + segments + sum(content[start + 27 : start + 27 + segments])
        content[start + 14 : start + 18] = struct.pack("<I", stream)
        content[start + 22 : start + 26] = bytes(4)
        content[start + 22 : start + 26] = struct.pack("<I", ogg_checksum(content[start:end]))
        start = end
    path.write_bytes(content)


def ogg_checksum(page: bytes | bytearray) -> int:
    """Return the page's CRC-32 as RFC 3533 has it: polynomial 0x04c11db7, nothing reflected."""
    value = 0
    for byte in page:
        value = (value << 8) & 0xFFFFFFFF ^ OGG_TABLE[(value >> 24) ^ byte]
    return value


def ogg_table() -> list[int]:
    """Return the checksum of each single byte."""
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


OGG_TABLE = ogg_table()


def make(out: Path, seed: int) -> None:
    """Write the whole audio folder; the files of an earlier one are replaced."""
    spoken = [(voice, index) for voice in VOICES for index in range(SPLITS[voice.split])]
    taken: set[str] = set()
    texts: list[str] = []
    for place, split in enumerate(SPLITS):
        voices = sum(voice.split == split for voice in VOICES)
        decks = Decks(random.Random(seed * 1000 + place))
        texts += sentences(voices * SPLITS[split], decks, taken)
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        shutil.rmtree(out / split, ignore_errors=True)
        (out / split).mkdir()
    rows = []
    seconds = dict.fromkeys(SPLITS, 0.0)
    for order, ((voice, index), text) in enumerate(zip(spoken, texts, strict=True), 1):
        # A generator of its own for each utterance: changing one leaves the others as they are.
        rng = np.random.default_rng([seed, order])
        channel = str(rng.choice(list(CHANNELS), p=list(CHANNELS.values())))
        samples = transmit(speak(voice, text), channel, rng)
        name = f"{voice.split}/{voice.speaker}-{index + 1:02d}.opus"
        write_opus(out / name, samples, order)
        seconds[voice.split] += len(samples) / SAMPLE_RATE
        rows.append([name, text, voice.speaker, voice.split, voice.engine, voice.name, channel])
    with (out / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["file_name", "transcription", "speaker", "split", "engine", "voice", "channel"]
        )
        writer.writerows(rows)
    for split, total in seconds.items():
        voices = len({voice.speaker for voice in VOICES if voice.split == split})
        print(f"{split}: {voices * SPLITS[split]} utterances, {voices} voices, {total:.0f} s")


def main() -> None:
    """Read the command line and make the folder."""
    parser = argparse.ArgumentParser(description="Make the example department's audio folder.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "warehouse")
    parser.add_argument("--seed", type=int, default=8)
    options = parser.parse_args()
    for program in ("espeak-ng", "flite"):
        if shutil.which(program) is None:
            sys.exit(f"error: {program} is not installed\nfix:   apt-get install {program}")
    make(options.out, options.seed)


if __name__ == "__main__":
    main()
