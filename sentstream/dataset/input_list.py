"""Inputs from a list: ``--files-from``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sentstream.errors import InputError, InputNotFoundError


def read_list(path: str) -> list[str]:
    """Return the inputs in a list: one per line; empty lines and lines that begin with # are ignored.

    Args:
        path: The file, or ``-`` for standard input.

    Raises:
        InputNotFoundError: There is no such file, or it lists nothing.
        InputError: It cannot be read, or is not text.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read() if sys.stdin is not None else b""
        else:
            data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputNotFoundError(f"--files-from {path} does not exist", hint="check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--files-from {path} cannot be read: {reason}") from error
    if b"\0" in data:
        raise InputError(
            f"--files-from {path} is not a list of paths: it has null bytes",
            hint="write one path or URI per line",
        )
    data = data.removeprefix(b"\xef\xbb\xbf")  # Windows programs write a BOM
    lines = [os.fsdecode(line.removesuffix(b"\r")) for line in data.split(b"\n")]
    entries = [line for line in lines if line.strip() and not line.startswith("#")]
    if not entries:
        raise InputNotFoundError(f"--files-from {path} lists no input", hint="write one path or URI per line")
    return entries
