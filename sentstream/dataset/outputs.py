"""Open the output of a job, and hash what is written."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator
from typing import BinaryIO, cast

from sentstream.dataset.jobs import Job
from sentstream.errors import OutputWriteError


class Hashed:
    """A file that is written sequentially, with the size and the SHA-256 of what was written.

    Args:
        file: The file.

    Attributes:
        size: Number of bytes written so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Write some bytes."""
        self._digest.update(data)
        self._file.write(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written so far, in hexadecimal."""
        return self._digest.hexdigest()

    @property
    def binary(self) -> BinaryIO:
        """This object, typed as a binary file."""
        return cast("BinaryIO", self)


@contextlib.contextmanager
def opened(job: Job, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a job's output: a file that gets its name when complete, or a stream that is written directly.

    Raises:
        OutputError: It cannot be written.
        BrokenPipeError: The reader of the pipe has closed it.
    """
    if job.output is not None and not job.is_stream:
        with job.storage.create(job.output, overwrite=overwrite) as file:
            yield file
        return
    try:
        if job.target is None:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        else:
            with job.target.open("wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputWriteError(f"{job.shown_target} cannot be written: {error.strerror or error}") from error
