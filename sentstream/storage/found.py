"""What was found against what is there now: whoever reads a file that changed would read a mixture."""

from __future__ import annotations

from sentstream.errors import InputError
from sentstream.storage.api import StoredFile


def gone(name: str) -> InputError:
    """The error about a file that was there."""
    return InputError(f"{name} disappeared while it was read", hint="restore it, and start again")


def compare(file: StoredFile, size: int, tag: str) -> None:
    """Compare a file as it was found with what is there now; a file without a tag, by its size alone.

    Raises:
        InputError: The file is not the one that was found.
    """
    if size != file.size:
        how = "grew" if size > file.size else "shrank"
        what = f"{how} from {file.size:,} to {size:,} bytes"
    elif file.tag and tag != file.tag:
        what = "changed"
    else:
        return
    raise InputError(
        f"{file.name} {what} while it was read", hint="wait until nothing writes to it, and start again"
    )
