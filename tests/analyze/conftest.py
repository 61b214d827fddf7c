"""Shared fixtures of the analysis tests."""

from __future__ import annotations

from object_stores import no_credentials, s3, s3_here

__all__ = ["no_credentials", "s3", "s3_here"]
