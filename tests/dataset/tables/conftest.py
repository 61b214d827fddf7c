"""Shared fixtures of the table tests."""

from __future__ import annotations

import pytest
from bundles import make_bundle
from object_stores import no_credentials, s3, s3_here

__all__ = ["no_credentials", "s3", "s3_here"]


@pytest.fixture(name="bundle", scope="session")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))
