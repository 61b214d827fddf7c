"""A real browser on this machine that opens and checks report pages, for the tests.

As a script it fetches what is missing: Chromium from Debian's packages if possible (as root), and axe-core,
Deque's accessibility checker, with npm into ``build/``:

    python tools/local_browser.py --fetch

Given a page, it takes screenshots at the widths of a desktop and of a phone, light and dark:

    python tools/local_browser.py report.html FOLDER
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tools.fetched import Unavailable, npm_file, run  # noqa: E402

AXE = "axe-core@4.14.1"
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
#: The fonts cover the characters of all pages, except emoji: without any font, text has no width.
_PACKAGES = ("chromium", "fonts-dejavu-core")
Scheme = Literal["light", "dark"]
#: Width and height of the screens, in pixels.
SCREENS: Final = {"desktop": (1200, 900), "phone": (390, 844)}
#: axe cannot determine the contrast of text on gradients, as behind scrollable parts and bars in cells.
_PLAIN = ".scroll, td.bar { background: none !important }"


@dataclass
class Seen:
    """What a browser finds on a page.

    Attributes:
        messages: Console messages and script errors.
        requests: What the page requested besides itself.
        violations: axe-core's findings, one per line.
        overflow: By how many pixels the page is wider than its window.
        charts: Number of visible charts, and how many of them have something drawn.
    """

    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    overflow: int = 0
    charts: tuple[int, int] = (0, 0)


class Browser:
    """An open Chromium.

    Args:
        chromium: Playwright's browser.
    """

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextmanager
    def page(
        self, path: Path, screen: str = "desktop", scheme: Scheme = "light", *, seen: Seen | None = None
    ) -> Iterator[Any]:
        """An open page, as a Playwright object.

        Args:
            path: The file.
            screen: One of ``SCREENS``.
            scheme: The reader's preferred color scheme.
            seen: Where to record what happens.
        """
        width, height = SCREENS[screen]
        # axe is a script, which the page's content security policy forbids.
        context = self._chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
        )
        try:
            page = context.new_page()
            if seen is not None:
                page.on("console", lambda message: seen.messages.append(message.text))
                page.on("pageerror", lambda error: seen.messages.append(str(error)))
                page.on("request", lambda request: seen.requests.append(request.url))
            page.goto(path.resolve().as_uri())
            yield page
        finally:
            context.close()

    def look(self, path: Path, screen: str = "desktop", scheme: Scheme = "light") -> Seen:
        """Open a page, expand all of it, and check it."""
        seen = Seen()
        with self.page(path, screen, scheme, seen=seen) as page:
            seen.requests.remove(path.resolve().as_uri())
            page.evaluate("[...document.querySelectorAll('details')].forEach(one => { one.open = true })")
            seen.overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            seen.charts = tuple(page.evaluate(_CHARTS))
            page.add_style_tag(content=_PLAIN)
            page.evaluate(axe().read_text("utf-8"))
            result = page.evaluate("axe.run()")
        seen.violations = [_line(one) for one in result["violations"]]
        return seen


#: A chart counts as drawn if one of its shapes has a size.
_CHARTS = """(() => {
    const all = [...document.querySelectorAll('figure svg')];
    const shown = all.filter(one => one.getBoundingClientRect().width);
    const drawn = shown.filter(one => [...one.querySelectorAll('rect, circle, polyline, polygon')]
        .some(shape => { const box = shape.getBBox(); return box.width + box.height > 0 }));
    return [shown.length, drawn.length];
})()"""


def _line(result: dict[str, Any]) -> str:
    node = result["nodes"][0]
    return f"{result['id']} ({len(result['nodes'])}): {node['html'][:160]}: {node['failureSummary'][:300]}"


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium, closed at the end of the block.

    Raises:
        Unavailable: There is none, or Playwright is not installed.
    """
    program = chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise Unavailable("Playwright is missing: pip install playwright") from error
    # Its sandbox needs rights that root in a container lacks; our pages load nothing.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=flags)
        try:
            yield Browser(browser)
        finally:
            browser.close()


def chromium() -> Path:
    """Return the path of the browser."""
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return Path(found)
    raise Unavailable("no Chromium found: on Debian, apt install chromium")


def axe() -> Path:
    """Return the path of axe-core's script."""
    return npm_file("axe", AXE, "axe-core/axe.min.js", "fetch axe-core with")


def fetch() -> None:
    """Fetch what is missing, and print what is not available here; its tests report it, too."""
    try:
        try:
            chromium()
        except Unavailable:
            _install()
            chromium()
        axe()
    except Unavailable as error:
        print(f"no browser: {error}", file=sys.stderr)


def _install() -> None:
    """Install Chromium with apt, if we are root and apt exists."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise Unavailable("no Chromium found, and only root can install it: on Debian, apt install chromium")
    run([apt, "update", "-q"])
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run([apt, "install", "-q", "-y", "--no-install-recommends", *_PACKAGES], quiet)


def take_pictures(page: Path, folder: Path) -> None:
    """Write screenshots of whole pages: ``desktop-light.png`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    schemes: tuple[Scheme, ...] = ("light", "dark")
    with open_browser() as browser:
        for screen in SCREENS:
            for scheme in schemes:
                with browser.page(page, screen, scheme) as opened:
                    opened.screenshot(path=str(folder / f"{screen}-{scheme}.png"), full_page=True)


def main() -> None:
    """Fetch, or take screenshots."""
    parser = argparse.ArgumentParser(description="Take screenshots of a report page, or fetch the browser.")
    parser.add_argument("page", type=Path, nargs="?", help="the page")
    parser.add_argument("folder", type=Path, nargs="?", help="the folder for the screenshots")
    parser.add_argument("--fetch", action="store_true", help="only fetch what is missing")
    options = parser.parse_args()
    if options.fetch:
        fetch()
    elif options.page is None or options.folder is None:
        parser.error("name a page and a folder")
    else:
        take_pictures(options.page, options.folder)


if __name__ == "__main__":
    main()
