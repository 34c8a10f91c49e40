"""The keys under ``augment.`` of a run file: what training adds to the sound of utterances."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from tpactl.formats.files import Record

Codec = Literal["mulaw", "alaw", "gsm"]
"""Of a telephone line."""

Probability = Annotated[float, Meta(ge=0, le=1)]


class AugmentSettings(Record, kw_only=True):
    """Rooms, noise and telephone lines, in this order, drawn anew for each utterance and epoch.

    A probability that is ``None`` is chosen from the hours of data (``train.defaults``).
    """

    noise: str | None = None
    """A folder of noise, in any format and rate that libsndfile reads."""
    noise_snr_db: tuple[float, float] = (5.0, 20.0)
    """Lowest and highest ratio of speech to noise, each between them as likely: mean power of the
    whole utterance over that of the noise added to it."""
    noise_probability: Probability | None = None
    """Share of the utterances that get noise."""
    rir: str | None = None
    """A folder of impulse responses of rooms, each at most ten seconds long."""
    rir_probability: Probability | None = None
    """Share of the utterances that are put into a room."""
    telephone: bool = False
    """Whether utterances are also heard over a telephone line."""
    telephone_codecs: Annotated[tuple[Codec, ...], Meta(min_length=1)] = ("mulaw", "alaw", "gsm")
    """Each as likely as the others."""
    telephone_probability: Probability | None = None
    """Share of the utterances that are."""
