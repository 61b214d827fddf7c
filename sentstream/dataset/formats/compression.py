"""Files compressed as a whole: gzip, zstd and bzip2, detected by their first bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import pyarrow as pa

from sentstream.dataset.formats.api import Codec
from sentstream.errors import InputFormatError, first_line
from sentstream.storage.api import StoredFile

MAGIC: Final[dict[bytes, Codec]] = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}


def codec_of(head: bytes) -> Codec | None:
    """Return the codec of compressed bytes by their beginning; None if they are not compressed."""
    return next((codec for magic, codec in MAGIC.items() if head.startswith(magic)), None)


@contextlib.contextmanager
def unpacked(file: StoredFile, codec: Codec | None) -> Iterator[BinaryIO]:
    """Open a file for decompressed reading; concatenated compressed streams are read as one.

    Raises:
        InputFormatError: On reading: the file is truncated, or has other data after the compressed data.
        InputError: It cannot be read.
    """
    with file.open() as raw:
        if codec is None:
            yield raw
            return
        with pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec) as stream:
            yield _Unpacked(stream, file.name, codec)  # type: ignore[misc]


class _Unpacked:
    """Reads compressed data, with errors that name the file."""

    closed = False

    def __init__(self, stream: pa.NativeFile, name: str, codec: Codec) -> None:
        self._stream, self._name, self._codec = stream, name, codec

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        try:
            data: bytes = self._stream.read(size)
        except OSError as error:
            raise unreadable(self._name, self._codec, error) from error
        return data

    def close(self) -> None:
        """Do nothing: the opener closes the stream."""


def unreadable(name: str, codec: Codec, error: OSError) -> Exception:
    """Translate pyarrow's error about compressed data into one that names the file and has a hint."""
    if error.errno is not None:
        return InputFormatError(f"{name} cannot be read: {error.strerror or error}")
    text = first_line(error)
    if text.startswith("Truncated"):
        return InputFormatError(
            f"{name} is truncated: its {codec} data has no end",
            hint="wait until it is fully written, or fetch or write it again",
        )
    return InputFormatError(
        f"{name} is corrupt, or not all of it is {codec}: {text}",
        hint="fetch or write it again",
    )


class Packed:
    """A file that compresses what is written to it.

    Args:
        file: The file to write to, which the caller closes.
        codec: The codec; None for no compression.
    """

    closed = False

    def __init__(self, file: BinaryIO, codec: Codec | None) -> None:
        self._sink = _Sink(file)
        self._stream = (
            None if codec is None else pa.CompressedOutputStream(pa.PythonFile(self._sink, "w"), codec)
        )

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        if self._stream is None:
            self._sink.write(data)
        else:
            self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: compressed data is flushed at the end."""

    def close(self) -> None:
        """Do nothing: ``end`` completes the file."""

    def end(self, whole: bool) -> None:
        """Complete the compressed data.

        Args:
            whole: False after an error, to write nothing more.
        """
        self._sink.shut = not whole
        if self._stream is not None:
            self._stream.close()


class _Sink:
    """A file that can discard writes: compressors write a trailer even after an error."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.shut = False

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        return len(data) if self.shut else self._file.write(data)

    def flush(self) -> None:
        """Do nothing: the opener flushes the file."""

    def close(self) -> None:
        """Do nothing: the opener closes the file."""
