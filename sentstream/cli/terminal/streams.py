"""The three standard streams: set up once by ``main``, and written only through this module.

Data goes to standard output, and a failed write is an error. Messages go to standard error; losing one never
ends a run or damages its output.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from json import JSONEncoder, dumps
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias

from sentstream.errors import OutputWriteError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console

Level: TypeAlias = Literal["info", "warning", "error"]

#: Replacements for characters that the stream's encoding lacks; others become escapes.
_PLAIN = {"→": "->", "…": "...", "–": "-", "—": "-", "×": "x", "−": "-"}
#: Escaped in JSON for the terminal's sake: control and direction characters, lone surrogates.
_HIDDEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_READABLE = "sentstream.readable"
_STAYS = "finished files are kept"


def set_up() -> None:
    """Prepare the standard streams of this process. Call it before anything opens a file.

    * A closed descriptor (``2>&-``) is occupied, so that no file gets its number and with it the messages.
      Standard output then rejects every byte, and standard error discards them.
    * A character that the encoding lacks is replaced or escaped.
    * An error of standard output raises ``OutputWriteError`` once; one of standard error is ignored.
    """
    codecs.register_error(_READABLE, _readable)
    if sys.stdin is None:
        _null_device(0, os.O_WRONLY)
    sys.stdout = _guarded(sys.stdout or _text(_null_device(1, os.O_RDONLY)), _refuse)
    sys.stderr = _guarded(sys.stderr or _text(_null_device(2, os.O_WRONLY)), _ignore)


def print_data(text: str, *, end: str = "\n", flush: bool = False) -> None:
    """Write data to standard output.

    Raises:
        OutputWriteError: The stream is closed, or its disk is full.
        BrokenPipeError: Whoever read it has gone.
    """
    if sys.stdout is None:  # only where main() was called in a process without it
        raise OutputWriteError("standard output is closed")
    print(text, end=end, flush=flush)


def print_json(value: Any, *, flush: bool = False) -> None:
    """Write a value to standard output as one line of JSON.

    JSON is UTF-8 (RFC 8259) whatever the stream's encoding: if that is not Unicode, non-ASCII characters are
    escaped. Characters that would disturb a terminal, and bytes of names that are not UTF-8, always are.

    Args:
        value: The value; an iterator in an object becomes a list that is never in memory as a whole.
        flush: Flush the stream afterward.

    Raises:
        OutputWriteError: As ``print_data``.
        BrokenPipeError: As ``print_data``.
    """
    before = ""
    # ``json.dumps`` would create an encoder for each item.
    for part in _json(value, JSONEncoder(ensure_ascii=not _is_unicode(sys.stdout)).encode):
        if before:
            print_data(_harmless(before), end="")
        before = part
    print_data(_harmless(before), flush=flush)


def _json(value: Any, encode: Callable[[Any], str]) -> Iterator[str]:
    """Yield JSON in parts."""
    if isinstance(value, Iterator):
        yield "["
        for number, item in enumerate(value):
            yield (", " if number else "") + encode(item)
        yield "]"
    elif isinstance(value, dict) and any(isinstance(one, Iterator) for one in value.values()):
        yield "{"
        for number, (name, one) in enumerate(value.items()):
            yield (", " if number else "") + encode(name) + ": "
            yield from _json(one, encode)
        yield "}"
    else:
        yield encode(value)


def _harmless(json: str) -> str:
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", json)


def flush_data() -> None:
    """Flush standard output, so that write errors appear now and not when the interpreter exits.

    Raises:
        OutputWriteError: The stream cannot be written.
        BrokenPipeError: Whoever read it has gone.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def print_message(text: str = "", *, level: Level = "info", **fields: Any) -> None:
    """Write a line to standard error; if nobody can read it, do nothing.

    Args:
        text: For people; after ``log_as_json``, the ``message`` of an object.
        level: Its severity.
        fields: Further fields of such an object.
    """
    if sys.stderr is None:  # print() would take standard output instead
        return
    with suppress(OSError, ValueError):
        if _log.as_json:
            text = json_line(
                level, text.removeprefix("sentstream: ").removeprefix("error: "), fields, stream=sys.stderr
            )
        try:
            print(text, file=sys.stderr, flush=True)
        except RuntimeError:  # a signal handler interrupted another write, which cannot be re-entered
            os.write(sys.stderr.fileno(), f"{text}\n".encode(errors="replace"))


class _Log:
    """The format of messages, for the whole process."""

    as_json = False


_log = _Log()


def log_as_json(wanted: bool) -> None:
    """Set whether messages are JSON objects from now on, one per line, as from ``json_line``."""
    _log.as_json = wanted


def json_line(
    level: Level,
    message: str,
    fields: Mapping[str, Any],
    *,
    stream: TextIO | None = None,
    wall: Callable[[], float] = time.time,
) -> str:
    """Return a message as a JSON object: ``time`` in UTC, ``level``, ``message``, then further fields.

    Args:
        level: Its severity.
        message: For people.
        fields: Anything that JSON can hold.
        stream: Where it will be written; unless that is Unicode, non-ASCII characters are escaped.
        wall: The time in s since 1970 (UTC).
    """
    moment = datetime.fromtimestamp(wall(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": moment, "level": level, "message": message, **fields}
    return _harmless(dumps(line, ensure_ascii=not _is_unicode(stream)))


def open_console(*, stderr: bool = False, **settings: Any) -> Console:
    """Return a rich console on standard output or standard error.

    Args:
        stderr: Use standard error, for messages instead of data.
        settings: Arguments of ``rich.console.Console``.
    """
    from rich.console import Console

    return Console(stderr=stderr, **settings)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; False for a closed one."""
    return stream is not None and stream.isatty()


class _Guarded(io.RawIOBase):
    """The bytes of a standard stream; after its first error it accepts and discards all writes.

    Args:
        stream: The stream whose lowest layer it becomes.
        fail: Called with the error.
    """

    def __init__(self, stream: io.TextIOWrapper, fail: Callable[[OSError], None]) -> None:
        self._stream = stream  # a reference, because its destructor would close the bytes
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)
        self._fail, self._lost = fail, False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it: without a buffer above it, as with ``python -u``, pyarrow relies on that."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and not self._lost:
            try:
                written = self._raw.write(rest)
                if written is None:  # somebody made the pipe non-blocking, and it is full
                    select.select([], [self._raw], [])
                else:
                    rest = rest[written:]
            except OSError as error:
                self._lost = True
                self._fail(error)
        return size

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return bool(self._raw.isatty())


def _refuse(error: OSError) -> None:
    """Raise an error for data that cannot be written."""
    if isinstance(error, BrokenPipeError):  # as with `head`, which is no error
        raise error
    if error.errno == errno.EBADF:
        raise OutputWriteError("standard output is closed", hint=_STAYS) from error
    raise OutputWriteError(
        f"standard output cannot be written: {error.strerror or error}", hint=_STAYS
    ) from error


def _ignore(error: OSError) -> None:
    """Ignore a message that nobody can read."""


def _guarded(stream: TextIO, fail: Callable[[OSError], None]) -> TextIO:
    """Return the stream with its errors handled; a stream that is not a ``TextIOWrapper`` stays as it is."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    raw: Any = _Guarded(stream, fail)
    return io.TextIOWrapper(
        io.BufferedWriter(raw) if hasattr(stream.buffer, "raw") else raw,
        encoding=stream.encoding,
        errors=_READABLE,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _null_device(descriptor: int, flags: int) -> int:
    """Open the null device at a free descriptor; opened in the wrong mode, it rejects all use.

    Returns:
        Its descriptor; another one if something has taken the number.
    """
    opened = os.open(os.devnull, flags)
    if opened != descriptor:
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(opened, descriptor)
            os.close(opened)
        else:
            return opened
    os.set_inheritable(descriptor, True)
    return descriptor


def _text(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", closefd=False)


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks, and bytes of file names (PEP 383)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return _PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode()


def _is_unicode(stream: TextIO | None) -> bool:
    return stream is not None and codecs.lookup(stream.encoding or "ascii").name.startswith("utf")
