"""Tests that need a GPU: skipped without one, but an error if they were requested."""

from __future__ import annotations

import os

import pytest
from cuda_tools import Pretended

from sentstream.cuda.driver import driver
from sentstream.cuda.placement import CUDA
from sentstream.session import import_runtime


def skip_reason() -> str | None:
    """Why nothing can run on a GPU here."""
    if CUDA not in import_runtime().get_available_providers():
        return "this ONNX Runtime is built without CUDA: make test-cuda"
    return driver().problem


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and (reason := skip_reason()):
        if os.environ.get("SENTSTREAM_TEST_CUDA") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(name="pretended")
def _pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """Two CUDA devices that are the CPU."""
    return Pretended(monkeypatch)
