"""Shared fixtures of the data set tests."""

from __future__ import annotations

from object_stores import azure, no_credentials, s3, s3_here

__all__ = ["azure", "no_credentials", "s3", "s3_here"]
