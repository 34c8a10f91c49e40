"""A real browser for pages: Debian's Chromium, driven by playwright, checked by axe-core.

The browser is the machine's (``apt-get install chromium-headless-shell``); playwright's own is
never fetched. axe-core comes inside the package axe-playwright-python.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
SCHEMES = ("light", "dark")
WIDE, PHONE = 1280, 375


def find_browser() -> str:
    """Return the browser's path; without one the test is skipped, in CI it fails."""
    pytest.importorskip("playwright", reason="pip install playwright axe-playwright-python")
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        reason = f"none of these browsers is installed: {', '.join(NAMES)}"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; .ci/run must install one")
        pytest.skip(reason)
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """Yield a running browser."""
    program = find_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


class Visit:
    """One page, opened; what it did wrong is collected.

    Attributes:
        requests: every address it asked for.
        complaints: errors of scripts and of the console.
    """

    def __init__(
        self, running: Any, file: Path, *, width: int = WIDE, scheme: str = "light"
    ) -> None:
        # The policy of the page would also stop axe.
        self.context = running.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        )
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.goto(file.resolve().as_uri())

    def violations(self) -> list[str]:
        """Return what axe-core objects to: rule, element and reason."""
        source = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
        self.page.evaluate(source)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{rule['id']}: {node['html'][:200]}: {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    def close(self) -> None:
        self.context.close()
