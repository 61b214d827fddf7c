"""What the tests of engines share."""

from __future__ import annotations

from object_stores import no_credentials, s3

__all__ = ["no_credentials", "s3"]
