"""A headless Chromium that opens pages from the disk and tells what they did: what they logged, what they asked for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
_WITHIN = 20_000  # ms


@dataclass
class Opened:
    """A page; `said` is what went wrong in it or was logged, `asked` each URL that it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        """What an element says."""
        return self.page.locator(selector).inner_text()

    def colours(self, left: int = 0, top: int = 0, width: int = 0, height: int = 0) -> int:
        """How many different colours the chart has, or a rectangle of it (CSS pixels)."""
        found = self.page.evaluate(
            """([left, top, width, height]) => {
                const chart = document.getElementById("chart"), ratio = window.devicePixelRatio;
                const box = [left, top, width || chart.clientWidth, height || chart.clientHeight].map((n) => n * ratio);
                const data = new Uint32Array(chart.getContext("2d").getImageData(...box).data.buffer);
                return new Set(data).size;
            }""",
            [left, top, width, height],
        )
        assert isinstance(found, int)
        return found


@contextmanager
def opened(path: Path, *, dark: bool = False, width: int = 1280, height: int = 1000) -> Iterator[Opened]:
    """Opens the page at `path`."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root a sandbox
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
            )
            page.set_default_timeout(_WITHIN)
            one = Opened(page)
            page.on("console", lambda message: one.said.append(message.text))
            page.on("pageerror", lambda error: one.said.append(str(error)))
            page.on("request", lambda request: one.asked.append(request.url))
            page.goto(path.as_uri())
            yield one
        finally:
            browser.close()
