"""Where the files that travel with tpactl lie: the starter base, templates, the example."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def starter_base() -> Path:
    """Return the model directory of the base named ``starter``."""
    return _PACKAGE / "starter"


def templates() -> Path:
    """Return the folder that ``tpactl init`` copies from."""
    return _shipped("templates", "templates")


def example_department() -> Path:
    """Return the audio folder of the made-up warehouse department."""
    return _shipped("warehouse", "examples/warehouse")


def _shipped(in_wheel: str, in_checkout: str) -> Path:
    # A wheel holds them inside the package; a checkout keeps them at its top, where people look.
    inside = _PACKAGE / "_shipped" / in_wheel
    return inside if inside.is_dir() else _PACKAGE.parent / in_checkout
