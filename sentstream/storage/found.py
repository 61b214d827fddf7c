"""Detect files that changed since they were found: reading one would yield a mix of versions."""

from __future__ import annotations

from sentstream.errors import InputError
from sentstream.storage.api import StoredFile


def gone(name: str) -> InputError:
    """Return the error for a file that has disappeared."""
    return InputError(f"{name} disappeared while it was read", hint="restore it, and start again")


def compare(file: StoredFile, size: int, tag: str) -> None:
    """Compare a file as it was found with its current size and tag; without a tag, by size alone.

    Raises:
        InputError: The file has changed.
    """
    if size != file.size:
        change = "grew" if size > file.size else "shrank"
        what = f"{change} from {file.size:,} to {size:,} bytes"
    elif file.tag and tag != file.tag:
        what = "changed"
    else:
        return
    raise InputError(
        f"{file.name} {what} while it was read", hint="wait until nothing writes to it, and start again"
    )
