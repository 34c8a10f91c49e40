"""Which file names are taken for audio where a folder holds other files too."""

from __future__ import annotations

AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".mp3", ".ogg", ".oga", ".opus"}
    | {".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc", ".gsm", ".vox"}
    | {".m4a", ".m4b", ".mp4", ".aac", ".3gp", ".webm", ".mka", ".wma", ".amr", ".awb", ".wv"}
)
"""Lower case."""
