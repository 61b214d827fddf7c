"""Shared fixtures of the engine tests."""

from __future__ import annotations

import pytest
from bundles import make_bundle
from object_stores import no_credentials, s3

import sentstream

__all__ = ["no_credentials", "s3"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> sentstream.Model:
    """A small model that scores in two threads."""
    return sentstream.load(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"), threads=2)
