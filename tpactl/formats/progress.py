"""How a room tells what it is doing; ``cli`` draws it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""(stage, done, total)."""
