"""Shared fixtures of the storage tests."""

from __future__ import annotations

from object_stores import azure, no_credentials, s3

__all__ = ["azure", "no_credentials", "s3"]
