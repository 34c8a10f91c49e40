"""Takes pictures of a report's page for the documentation, light and dark.

    python docs/render_report.py REPORT NAME [SECTION ...]

REPORT is what ``tpactl eval --out`` wrote. Writes ``docs/images/NAME-{light,dark}.png``, the top of
the page, and for each SECTION (``rates``, ``stress``, ``worst``) ``NAME-SECTION-{light,dark}.png``.
The page is made anew, without recordings. Needs the ``dev`` extra and Chromium of Debian.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tpactl.eval.page.page import write_page

FOLDER = Path(__file__).with_name("images")
WIDTH = 1080
TOP = 1000
"""Pixels of the page that the picture of the top shows."""


def main() -> None:
    """Take the pictures that the arguments ask for."""
    report, name, *sections = sys.argv[1:]
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if program is None:
        sys.exit("no browser: apt-get install chromium-headless-shell")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        page_file = write_page(Path(report), audio=False, out=Path(scratch) / "report.html").path
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": WIDTH, "height": TOP}, color_scheme=scheme)
            page.goto(page_file.as_uri())
            page.screenshot(path=FOLDER / f"{name}-{scheme}.png")
            for section in sections:
                picture = FOLDER / f"{name}-{section}-{scheme}.png"
                page.locator(f"#{section}").screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main()
