"""What is done, kept while it is being done.

A directory, ``_sentstream`` below the outputs, holds a journal of each run that was cut short, the parts of
large outputs that are not whole yet, and, once all is done, the manifest alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sentstream.dataset.jobs import name_below
from sentstream.dataset.manifest.entries import Entries
from sentstream.dataset.manifest.journal import Journal, open_journal
from sentstream.dataset.manifest.records import (
    Entry,
    Header,
    Input,
    end_line,
    entry_line,
    header_line,
    read_lines,
)
from sentstream.dataset.manifest.shards import WHOLE, Shard
from sentstream.errors import (
    ManifestError,
    OutputBusyError,
    OutputWriteError,
    ResumeError,
    SentstreamError,
)
from sentstream.storage.api import Storage, StoredFile
from sentstream.storage.connect import hurry
from sentstream.storage.names import is_uri

#: The directory of a manifest, below the outputs' own.
DIRECTORY: Final = "_sentstream"
_MANIFEST: Final = "manifest.jsonl"
_PARTS: Final = "parts"
_JOURNAL = re.compile(r"journal-(?P<shard>all|\d+-of-\d+)\.(?P<number>\d+)(\.\d+)?\.jsonl")
_LOCK = re.compile(r"lock-(?P<shard>all|\d+-of-\d+|end)")
_TAIL: Final = 64 << 10  # bytes of an input that its fingerprint looks at
_BUFFER: Final = 1 << 20


@dataclass
class Done:
    """What some files of a manifest say.

    Attributes:
        header: What the runs were; None where there was none.
        files: Whole outputs and skipped inputs, by the output's name.
        parts: Parts of outputs that are not whole, by the output's name and the first row group.
        finished: Whether it is all in a compacted manifest.
        seen: The files that were read, with their sizes.
    """

    header: Header | None = None
    files: Entries = field(default_factory=Entries)
    parts: dict[str, dict[int, Entry]] = field(default_factory=dict)
    finished: bool = False
    seen: dict[str, int] = field(default_factory=dict)

    def add(self, entry: Entry, line: bytes) -> None:
        """Count an entry, with its line; ``settle`` afterwards."""
        if entry.state == "part":
            self.add_part(entry)
        else:
            self.files.add(entry, line)

    def add_part(self, entry: Entry) -> None:
        """Count a part of an output that is not whole."""
        self.parts.setdefault(entry.output, {})[entry.first] = entry

    def settle(self) -> None:
        """Forget the parts of what is whole."""
        for name in [*self.parts]:
            known = self.files.get(name)
            if known is not None and known.state == "done":
                del self.parts[name]


class Ledger:
    """The manifest of one data set; each method may be called by any thread.

    Args:
        storage: Where the outputs lie.
        directory: The manifest's own directory.
        root: The directory of the outputs.
        outputs: What messages call them; by default as their directory.
        header: What this run is.
        shard: Which part of the data set it does.
        anew: Whether what is there is to be forgotten, and need not be sound.

    Attributes:
        forgotten: Outputs in folders that columns are in, of what is to be forgotten.

    Raises:
        ManifestError: What is there is damaged, or newer than this sentstream.
    """

    def __init__(
        self,
        storage: Storage,
        directory: str,
        root: str,
        header: Header,
        *,
        outputs: str = "",
        shard: Shard = WHOLE,
        anew: bool = False,
    ) -> None:
        self.storage, self.directory, self.root, self.outputs = storage, directory, root, outputs or root
        self._header, self._shard = header, shard
        self._lock = threading.Lock()
        self._journal: Journal | None = None
        self._written = False
        #: What this run has written of whole files and skipped ones.
        self._new = Entries()
        self.done = Done(seen=self._files()) if anew else load(storage, directory)
        self.forgotten = self._partitioned() if anew else frozenset()

    def check(self) -> None:
        """Find out whether this run may go on with what is there.

        Raises:
            ResumeError: It is another model's, or was made with other options.
        """
        if self.done.header is not None and (differences := _differences(self.done.header, self._header)):
            raise ResumeError(
                f"{self.outputs} was started with {'; '.join(differences)}",
                hint="use the same settings, choose another --output, or start over with --overwrite",
            )

    @contextlib.contextmanager
    def writing(self, *, anew: bool, replaced: Sequence[str] = ()) -> Iterator[None]:
        """Keep other runs away, as long as the block lasts.

        Args:
            anew: Forget what is there.
            replaced: Outputs that go, before that.

        Raises:
            OutputBusyError: Another run is at work, or was until now.
            OutputWriteError: Nothing can be written there.
        """
        with self.storage.lock(self._name(f"lock-{self._shard}"), self.outputs):
            seen = self._files()
            self._check_others(seen)
            self.storage.clean([f"{self.directory}/", f"{self._name(_PARTS)}/"])
            if self._of_concern(seen) != self._of_concern(self.done.seen):
                raise OutputBusyError(
                    f"{self.outputs} was being written by another run until now",
                    hint="start again with --resume",
                )
            for name in replaced:
                self.storage.remove(name)
            if anew:
                self._forget(seen)
            self._journal = open_journal(
                self.storage,
                self._name(f"journal-{self._shard}.{self._next(seen)}"),
                header_line(self._header),
            )
            self._written = False
            try:
                # First of all: outputs that no entry tells of yet belong to a run that has a header.
                self._journal.append(b"")
                yield
            except BaseException as error:
                if not isinstance(error, Exception):  # Ctrl-C
                    hurry()
                with contextlib.suppress(SentstreamError):  # the first error is the one to tell
                    self._end_journal()
                raise
            self._end_journal()
        if not is_uri(self.directory):
            with contextlib.suppress(OSError):  # nothing was done, or nothing is kept
                Path(self.directory).rmdir()

    def _end_journal(self) -> None:
        journal, self._journal = self._journal, None
        self._new = Entries()
        assert journal is not None
        if self._written:
            journal.close()
        else:
            journal.discard()

    def append(self, entries: Sequence[Entry]) -> None:
        """Write down, durably, what has been done.

        Raises:
            OutputWriteError: It cannot be written.
        """
        if not entries:
            return
        with self._lock:
            assert self._journal is not None
            self._written = True
            lines = [entry_line(entry) for entry in entries]
            self._journal.append(b"".join(lines))
            for entry, line in zip(entries, lines, strict=True):
                known = self.done.files.get(entry.output)
                if entry.state == "done":
                    self.done.parts.pop(entry.output, None)
                    self._new.add(entry, line)
                elif known is None or known.state != "done":
                    if entry.state == "part":
                        self.done.add_part(entry)
                    else:
                        self._new.add(entry, line)
            self.done.finished = False

    @property
    def journal(self) -> str:
        """A file that is there while this run writes or can be gone on with; its end removes it."""
        assert self._journal is not None
        return self._journal.name

    def keep(self) -> None:
        """Stay, whatever happens: outputs get their names before an entry tells of them."""
        self._written = True

    def below(self, output: str) -> str:
        """The name of an output below the directory of the outputs, divided by ``/``."""
        return printable(name_below(self.storage, self.root, output))

    @property
    def parts(self) -> str:
        """The directory of the parts of large outputs."""
        return self._name(_PARTS)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other shards from ending the manifest, as long as the block lasts.

        Raises:
            OutputBusyError: One is at it.
        """
        with self.storage.lock(self._name("lock-end"), self.outputs):
            yield

    def reload(self) -> None:
        """Read what other shards have written since."""
        with self._lock:
            self.done = load(self.storage, self.directory)
            self._new = Entries()

    def finish(self) -> None:
        """Put all journals into one manifest, if there are any, and remove them and what is left of parts.

        Raises:
            OutputWriteError: It cannot be written.
        """
        with self._lock:
            if self.done.finished:
                return
            names = sorted({*self.done.files, *self._new})
            with self.storage.create(self._name(_MANIFEST), overwrite=True) as file:
                file.write(header_line(self.done.header or self._header))
                for name in names:
                    line = self._new.line(name)
                    file.write(entry_line(self.done.files[name]) if line is None else line)
                file.write(end_line(len(names)))
            for name in self._files():
                if _JOURNAL.fullmatch(name) or name.startswith(f"{_PARTS}/"):
                    self.storage.remove(self._name(name))
            self._remove_directory(_PARTS)

    def forget(self) -> None:
        """Remove all of it: nothing is to be gone on with."""
        with self._lock:
            self._forget(self._files())

    def _forget(self, seen: Sequence[str] | dict[str, int]) -> None:
        for name in sorted(seen, key=lambda name: name != _MANIFEST):
            if not _LOCK.fullmatch(name):
                self.storage.remove(self._name(name))
        self._remove_directory(_PARTS)
        self.done = Done()
        self._new = Entries()

    def _partitioned(self) -> frozenset[str]:
        """Outputs in folders that columns are in; none where the manifest is not sound."""
        with contextlib.suppress(ManifestError, ResumeError):
            entries = load(self.storage, self.directory).files.values()
            return frozenset(one.name for entry in entries for one in entry.files or ())
        return frozenset()

    def _remove_directory(self, name: str) -> None:
        if not is_uri(self.directory):
            with contextlib.suppress(OSError):
                Path(self._name(name)).rmdir()

    def _check_others(self, seen: dict[str, int]) -> None:
        """Whether those who work here are shards of the same split."""
        for name in seen:
            match = _LOCK.fullmatch(name)
            if match and self._shard.conflicts(match["shard"]):
                with self.storage.lock(self._name(name), self.outputs):
                    pass  # its holder is dead

    def _of_concern(self, seen: dict[str, int]) -> dict[str, int]:
        """What only this run may change: the manifest, and all journals but those of other shards."""
        found = {name: _JOURNAL.fullmatch(name) for name in seen}
        return {
            name: seen[name]
            for name, match in found.items()
            if name == _MANIFEST
            or (match and (match["shard"] == str(self._shard) or self._shard.conflicts(match["shard"])))
        }

    def _next(self, seen: dict[str, int]) -> int:
        numbers = [int(match["number"]) for name in seen if (match := _JOURNAL.fullmatch(name))]
        return max(numbers, default=0) + 1

    def _files(self) -> dict[str, int]:
        return _files(self.storage, self.directory)

    def _name(self, below: str) -> str:
        return self.storage.join(self.directory, below)


def load(storage: Storage, directory: str) -> Done:
    """What the manifest and the journals in a directory say.

    Raises:
        ManifestError: One is damaged, or was written by a newer sentstream.
        ResumeError: They are of different runs.
    """
    done = Done()
    names = _files(storage, directory)
    journals = sorted(name for name in names if _JOURNAL.fullmatch(name))
    for name in [_MANIFEST] * (_MANIFEST in names) + journals:
        full = storage.join(directory, name)
        done.seen[name] = names[name]
        with _opened(storage, full) as file:
            if not file.peek(1) and name != _MANIFEST:
                continue  # killed before its first line
            header, entries = read_lines(file, full, whole=name == _MANIFEST)
            if done.header is not None and (differences := _differences(done.header, header)):
                raise ResumeError(
                    f"{full} belongs to a different run than the files beside it: {'; '.join(differences)}",
                    hint="start over with --overwrite",
                )
            done.header = header
            for entry, line in entries:
                done.add(entry, line)
    done.settle()
    done.finished = _MANIFEST in names and not journals
    return done


def header_of(storage: Storage, directory: str) -> Header | None:
    """What the runs were that the manifest or a journal in a directory is of; None if there is none.

    Raises:
        ManifestError: It is damaged, or was written by a newer sentstream.
    """
    names = _files(storage, directory)
    for name in sorted(names, key=lambda name: name != _MANIFEST):
        if name == _MANIFEST or _JOURNAL.fullmatch(name):
            full = storage.join(directory, name)
            with _opened(storage, full) as file:
                if first := file.readline():
                    return read_lines([first.removesuffix(b"\n") + b"\n"], full, whole=False)[0]
    return None


def fingerprint(file: StoredFile) -> Input:
    """What tells a file from another one of its name.

    Raises:
        InputError: It cannot be read, or has changed since it was found.
    """
    with file.open() as data:
        data.seek(max(0, file.size - _TAIL))
        digest = hashlib.sha256()
        while block := data.read(_TAIL):
            digest.update(block)
    return Input(printable(file.name), file.size, file.tag, digest.hexdigest())


def part_name(parts: str, output: str, first: int) -> str:
    """The name of a part of an output.

    Args:
        parts: The directory of all parts.
        output: The output's name in the manifest.
        first: The row group that the part begins with.
    """
    stem = hashlib.sha256(os.fsencode(output)).hexdigest()[:32]
    return f"{parts}/{stem}.{first}"


def known(file: StoredFile) -> Input:
    """What is known of a file that may not be readable."""
    return Input(printable(file.name), file.size, file.tag, "")


def printable(name: str) -> str:
    """A name that is text: bytes of a path that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files(storage: Storage, directory: str) -> dict[str, int]:
    """The files in a manifest's directory, by their names below it, with their sizes."""
    if not storage.is_directory(directory):
        return {}
    return {name: file.size for name, file in storage.walk(directory, hidden=True)}


@contextlib.contextmanager
def _opened(storage: Storage, name: str) -> Iterator[io.BufferedReader]:
    """A file of the manifest, to read from its first byte on; one that is gone has none."""
    try:
        with contextlib.ExitStack() as stack:
            if is_uri(name):
                file = storage.find(name)
                data: Any = io.BytesIO() if file is None else stack.enter_context(file.open())
                yield stack.enter_context(io.BufferedReader(data, _BUFFER))
            else:  # another shard may add to it meanwhile
                yield stack.enter_context(Path(name).open("rb"))
    except OSError as error:
        raise OutputWriteError(f"{name} cannot be read: {error.strerror or error}") from error


def _differences(then: Header, now: Header) -> list[str]:
    """In what two runs differ, as one would say it."""
    found = []
    if then.model != now.model:
        found.append(f"the model {_model(then)}, not {_model(now)}")
    for name in dict.fromkeys((*then.options, *now.options)):
        before, after = then.options.get(name), now.options.get(name)
        if before != after:
            found.append(f"{name} {_shown(before)}, not {_shown(after)}")
    if then.sentstream != now.sentstream:
        found.append(f"sentstream {then.sentstream}, not {now.sentstream}")
    return found


def _model(header: Header) -> str:
    model = header.model
    return f"{model.get('name')} {model.get('version')} ({model.get('digest', '')[:19]}…)"


def _shown(value: object) -> str:
    if isinstance(value, dict):  # by ids that nobody knows
        return ", ".join(map(str, value.values()))
    return "unset" if value is None else repr(value)
