"""Pages of every kind in a real browser: no requests, no errors, accessible."""

from __future__ import annotations

from pathlib import Path

import pytest
from effort import LONG
from report_pages import PAGES, explanation

from sentstream.report.explanation import explanation_page
from tools.local_browser import SCREENS, Browser, Scheme

pytestmark = pytest.mark.slow


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages as files."""
    folder = tmp_path_factory.mktemp("pages")
    for name, page in PAGES.items():
        (folder / f"{name}.html").write_text(page, "utf-8")
    return folder


LOOKS = [(screen, scheme) for screen in SCREENS for scheme in ("light", "dark")]
#: Widths and colors have nothing to do with one another: a page is looked at twice, not four times, and
#: those whose names are hostile, which are built as the others are, once.
FEWER = {False: [("desktop", "light"), ("phone", "dark")], True: [("phone", "light")]}


@pytest.mark.parametrize(
    ("name", "screen", "scheme"),
    [(name, *look) for name in PAGES for look in (LOOKS if LONG else FEWER["hostile" in name])],
)
def test_every_page_has_no_scripts_and_is_accessible(
    name: str,
    screen: str,
    scheme: Scheme,
    folder: Path,
    browser: Browser,
) -> None:
    seen = browser.look(folder / f"{name}.html", screen, scheme)
    assert seen.messages == []
    assert seen.requests == []
    assert seen.violations == []
    assert seen.overflow <= 0  # nothing sticks out of a narrow screen
    shown, drawn = seen.charts
    assert shown == drawn > 0


class TestReport:
    def test_values_show_on_hover(self, folder: Path, browser: Browser) -> None:
        with browser.page(folder / "sentiment.html") as page:
            columns = page.locator("figure.full .wide").first.locator(".told")
            label = columns.nth(3).locator("text")
            assert not label.is_visible()
            columns.nth(3).hover()
            assert label.is_visible()
            assert "rows: " in label.text_content()
            assert columns.locator("text:visible").count() == 1

    def test_one_of_two_charts_is_visible(self, folder: Path, browser: Browser) -> None:
        for screen, seen, hidden in (("desktop", "wide", "narrow"), ("phone", "narrow", "wide")):
            with browser.page(folder / "sentiment.html", screen) as page:
                assert page.locator(f".{seen}").first.is_visible()
                assert not page.locator(f".{hidden}").first.is_visible()

    def test_figures_unfold_by_keyboard(self, folder: Path, browser: Browser) -> None:
        with browser.page(folder / "sentiment.html") as page:
            table = page.locator("details table").first
            assert not table.is_visible()
            page.locator("summary").first.focus()
            page.keyboard.press("Enter")
            assert table.is_visible()

    def test_nothing_is_cut_in_print(self, folder: Path, browser: Browser) -> None:
        with browser.page(folder / "sentiment.html") as page:
            page.emulate_media(media="print")
            assert not page.locator("nav").is_visible()
            assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
            assert page.pdf().startswith(b"%PDF")


class TestPhone:
    def test_words_are_not_broken(self, tmp_path: Path, browser: Browser) -> None:
        """Also where three labels leave little room, as in 360 columns."""
        data = explanation(["negative", "neutral", "positive"])
        words = ["battery", "mornings", "🙂", "disappointed"]
        data["tweets"][0]["steps"] = [
            {"token": word, "known": True, "probabilities": [0.2] * 3, "without": [0.1] * 3, "effect": 0.1}
            for word in words
        ]
        path = tmp_path / "page.html"
        path.write_text(explanation_page(data), "utf-8")
        with browser.page(path, "phone") as page:
            found = page.evaluate(
                "(document.body.style.width = '360px',"
                " [...document.querySelectorAll('.words td:first-child')].map(cell => {"
                " const r = document.createRange(); r.selectNodeContents(cell);"
                " return [cell.textContent, new Set([...r.getClientRects()].map(one => one.top)).size]; }))"
            )
        assert found == [[word, 1] for word in words]

    def test_wide_content_scrolls_in_its_box(self, folder: Path, browser: Browser) -> None:
        with browser.page(folder / "three labels.html", "phone") as page:
            wide = page.evaluate(
                "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth)"
                ".map(one => (one.focus(), document.activeElement === one))"
            )
        assert wide
        assert all(wide)
