"""Translate what pyarrow raises on invalid files into errors that say where and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa

from sentstream.errors import (
    InputError,
    InputFormatError,
    InputNotFoundError,
    OutOfMemoryError,
    SentstreamError,
    first_line,
    is_out_of_memory,
)

CORRUPT: Final = "the file is corrupt or truncated; fetch or write it again"


@contextlib.contextmanager
def translating_errors(
    location: str, title: str, unsound: Callable[[str, Exception], InputFormatError] | None = None
) -> Iterator[None]:
    """Translate whatever pyarrow raises on an invalid binary file into an error that says where.

    Args:
        location: The file, and the position in it.
        title: The name of its format in messages.
        unsound: Makes the error for an invalid file; by default with the text of pyarrow's error.

    Raises:
        InputFormatError: The file is invalid.
        InputNotFoundError: It does not exist.
        InputError: It cannot be read.
        OutOfMemoryError: There is not enough memory.
    """
    try:
        yield
    except SentstreamError:
        raise
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{location} does not exist", hint="check the path") from error
    except (
        pa.ArrowException,
        OSError,
        MemoryError,
        ValueError,
        TypeError,
        LookupError,
        OverflowError,
    ) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(f"{location} cannot be read: not enough memory: {error}") from error
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{location} cannot be read: {error.strerror or error}") from error
        if unsound is not None:
            raise unsound(location, error) from error
        text = first_line(error)
        raise InputFormatError(f"{location} cannot be read as {title}: {text}", hint=CORRUPT) from error
