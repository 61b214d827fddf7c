"""A real browser for the tests, started once per test process that needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tools.fetched import Unavailable
from tools.local_browser import Browser, axe, open_browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium, and axe-core; without them, the test is skipped, or fails in CI."""
    try:
        axe()
        with open_browser() as opened:
            yield opened
    except Unavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no browser: {error}", pytrace=False)
        pytest.skip(f"no browser: {error}")
