"""Real object stores for the tests, each started once per test process that needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tools.fetched import Unavailable
from tools.local_stores import LocalAzure, LocalS3


def unavailable(error: Unavailable) -> NoReturn:
    """Skip a test that needs a store; in CI, where there must be one, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"no object store: {error}", pytrace=False)
    pytest.skip(f"no object store: {error}")


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    """An S3 server."""
    try:
        with LocalS3() as store:
            yield store
    except Unavailable as error:
        unavailable(error)


@pytest.fixture
def s3_here(s3: LocalS3, no_credentials: None, monkeypatch: pytest.MonkeyPatch) -> LocalS3:
    """The same server, with the environment variables that point to it."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture(scope="session")
def azure() -> Iterator[LocalAzure]:
    """An Azure server."""
    try:
        with LocalAzure() as store:
            yield store
    except Unavailable as error:
        unavailable(error)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Remove the user's own credentials, both from the environment and the home directory."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    nowhere = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
