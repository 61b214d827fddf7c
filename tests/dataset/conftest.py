"""What the tests of data sets share."""

from __future__ import annotations

from object_stores import azure, no_credentials, s3, s3_here

__all__ = ["azure", "no_credentials", "s3", "s3_here"]
