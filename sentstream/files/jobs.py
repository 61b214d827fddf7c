"""What was given on the command line -> which file is read and which one is written."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sentstream.errors import InputError, OutputExistsError, OutputWriteError, UsageError
from sentstream.files.commit import check_writable
from sentstream.files.inputs import SUFFIXES, Found, check_local, find_inputs

#: Standard input as INPUT, standard output as --output.
STANDARD = "-"


@dataclass(frozen=True)
class Job:
    """One file to score.

    Attributes:
        source: The Parquet file.
        target: The file to write, with links resolved; None is standard output.
        name: What messages call the source.
    """

    source: Path
    target: Path | None
    name: str

    @property
    def shown_target(self) -> str:
        """What messages call the target."""
        return "standard output" if self.target is None else str(self.target)

    @property
    def is_stream(self) -> bool:
        """Whether the target gets its bytes at once: standard output, a pipe, a device."""
        return self.target is None or is_special(self.target)


@contextlib.contextmanager
def find_jobs(
    inputs: Sequence[str],
    output: str | None,
    *,
    overwrite: bool,
    warn: Callable[[str], None] = lambda line: None,
) -> Iterator[list[Job]]:
    """Pair every input file with its output; nothing is written.

    Standard input is spooled to a temporary file for as long as the context lasts: the footer, with
    which reading begins, is at the end.

    Args:
        inputs: Parquet files, globs, directories; or ``-`` alone.
        output: A file, a directory, ``-``, or None for the places beside the inputs.
        overwrite: Whether outputs may be there already.
        warn: Is given lines about what lies in directories and is not read.

    Raises:
        InputNotFoundError: A path that is not there, a glob or directory without Parquet files.
        UsageError: Several inputs for one output, or output to a terminal.
        OutputError: Two inputs with one output, an output that is an input or already exists, or a
            place that is not writable.
    """
    if output is not None:
        check_local(output)
    if is_standard_input(inputs):
        with _explaining(output):
            target = _one_target(output or STANDARD, Path("stdin.parquet"))
            _check([Job(Path(), target, "standard input")], overwrite)
        with spooled() as path:
            yield [Job(path, target, "standard input")]
        return
    with _explaining(output):
        below = None if output is None else Path(output).resolve()
    found = find_inputs(inputs, below)
    sources = _sources(found.files)
    with _explaining(output):
        targets = _targets(found.files, output)
        jobs = [
            Job(item.path, target, str(item.path)) for item, target in zip(found.files, targets, strict=True)
        ]
        _check(jobs, overwrite, sources)
    for line in found.left_out:
        warn(line)
    yield jobs


def is_standard_input(inputs: Sequence[str]) -> bool:
    """Whether ``-`` was given.

    Raises:
        UsageError: And something else.
    """
    if STANDARD in inputs and len(inputs) > 1:
        raise UsageError("standard input and other inputs", hint="- stands alone")
    return STANDARD in inputs


@contextlib.contextmanager
def _explaining(output: str | None) -> Iterator[None]:
    """A path that the system does not even look up, as an error that names it."""
    try:
        yield
    except OSError as error:
        where = "the output" if output is None else output
        raise OutputWriteError(f"{where} cannot be written: {error.strerror or error}") from error


def is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a directory, such as a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _targets(found: list[Found], output: str | None) -> list[Path | None]:
    if output is None:
        if any(item.default is None for item in found):
            raise UsageError("no default output for the root directory", hint="give --output")
        return [item.default and _resolve(item.default) for item in found]
    if len(found) == 1 and len(found[0].relative.parts) == 1:
        return [_one_target(output, found[0].relative)]
    if output == STANDARD or (Path(output).suffix.lower() in SUFFIXES and not Path(output).is_dir()):
        raise UsageError(
            f"{len(found)} inputs for one output, {output}", hint="give a directory: --output scored/"
        )
    return [_resolve(Path(output) / relative) for relative in _relatives(found)]


def _relatives(found: list[Found]) -> list[Path]:
    """Where the outputs go in a directory: below what was given, or if that is not unique, what all share."""
    relatives = [item.relative for item in found]
    if len(set(relatives)) == len(relatives):
        return relatives
    paths = [Path(os.path.abspath(item.path)) for item in found]
    shared = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(shared) for path in paths]


def _one_target(output: str, name: Path) -> Path | None:
    if output == STANDARD:
        return None
    path = Path(output)
    inside = path.is_dir() or output.endswith(("/", os.sep))
    return _resolve(path / name if inside else path)


def _resolve(path: Path) -> Path:
    """A link is written through, not replaced; what stands for a pipe or device has no other path."""
    return path.absolute() if is_special(path) else path.resolve()


def _sources(found: list[Found]) -> set[tuple[int, int]]:
    """What stands for each input, whatever its name.

    Raises:
        UsageError: One is there twice.
        InputError: One cannot be looked at.
    """
    sources: set[tuple[int, int]] = set()
    paths: set[str] = set()
    for item in found:
        path = os.path.abspath(item.path)
        if path in paths:
            raise UsageError(f"{item.path} is given twice", hint="name it once")
        paths.add(path)
        try:
            sources.add(_identity(item.path))
        except OSError as error:
            raise InputError(f"{item.path} cannot be read: {error.strerror or error}") from error
    return sources


def _check(jobs: list[Job], overwrite: bool, sources: Collection[tuple[int, int]] = ()) -> None:
    """What can be known of the outputs before anything is written."""
    taken: dict[Path, str] = {}
    for job in jobs:
        if job.target is None:
            _check_standard_output()
            continue
        if job.target in taken:
            raise OutputExistsError(
                f"{taken[job.target]} and {job.name} have the same output, {job.target}",
                hint="give --output DIRECTORY/, another one if that was given",
            )
        taken[job.target] = job.name
        if is_special(job.target):
            continue
        if job.target.exists() and _identity(job.target) in sources:
            raise OutputExistsError(f"the output {job.target} is an input", hint="choose another --output")
        check_writable(job.target, overwrite=overwrite)


def _check_standard_output() -> None:
    """Whether Parquet can go there, as far as can be known without writing any."""
    if sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("Parquet does not go to a terminal", hint="give --output FILE, or pipe it on")
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        with contextlib.suppress(io.UnsupportedOperation):  # something that is no file stands in its place
            os.write(sys.stdout.fileno(), b"")
    except OSError as error:
        what = "is closed" if error.errno == errno.EBADF else f"cannot be written: {error.strerror or error}"
        raise OutputWriteError(f"standard output {what}", hint="give --output FILE") from error


def _identity(path: Path) -> tuple[int, int]:
    """What two names of one file share."""
    about = path.stat()
    return about.st_dev, about.st_ino


@contextlib.contextmanager
def spooled() -> Iterator[Path]:
    """Standard input as a file.

    Raises:
        UsageError: It is a terminal or closed.
        InputError: It cannot be read.
        OutputWriteError: There is no room for a copy.
    """
    if sys.stdin is None or sys.stdin.isatty():
        what = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"standard input is {what}", hint="pipe a Parquet file in")
    source: BinaryIO = sys.stdin.buffer
    with tempfile.TemporaryDirectory(prefix=".sentstream-") as folder:
        path = Path(folder, "stdin.parquet")
        try:
            with path.open("wb") as file:
                while block := _read(source, 1 << 20):
                    file.write(block)
        except OSError as error:
            raise OutputWriteError(
                f"standard input cannot be copied to {folder}: {error.strerror or error}",
                hint="set TMPDIR to a place with room",
            ) from error
        yield path


def _read(source: BinaryIO, size: int) -> bytes:
    """Some bytes of standard input."""
    try:
        return source.read(size)
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror or error}") from error
