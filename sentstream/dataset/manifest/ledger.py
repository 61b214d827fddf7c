"""The record of finished work, written during the run.

The directory ``_sentstream`` in the output directory holds a journal of each interrupted run and the parts of
incomplete large outputs; once all is done, only the manifest.
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
from sentstream.storage.connect import give_up_soon
from sentstream.storage.names import is_uri

#: The manifest's directory, inside the output directory.
DIRECTORY: Final = "_sentstream"
_MANIFEST: Final = "manifest.jsonl"
_PARTS: Final = "parts"
_JOURNAL = re.compile(r"journal-(?P<shard>all|\d+-of-\d+)\.(?P<number>\d+)(\.\d+)?\.jsonl")
_LOCK = re.compile(r"lock-(?P<shard>all|\d+-of-\d+|end)")
_TAIL: Final = 64 << 10  # bytes of an input that its fingerprint covers
_BUFFER: Final = 1 << 20


@dataclass
class Done:
    """The combined content of a manifest and its journals.

    Attributes:
        header: The header of the runs; None if there were none.
        files: Complete outputs and skipped inputs, by the output's name.
        parts: Parts of incomplete outputs, by the output's name and the first row group.
        finished: Whether everything is in the compacted manifest.
        seen: The files that were read, with their sizes in bytes.
    """

    header: Header | None = None
    files: Entries = field(default_factory=Entries)
    parts: dict[str, dict[int, Entry]] = field(default_factory=dict)
    finished: bool = False
    seen: dict[str, int] = field(default_factory=dict)

    def add(self, entry: Entry, line: bytes) -> None:
        """Add an entry, with its line; call ``settle`` afterwards."""
        if entry.state == "part":
            self.add_part(entry)
        else:
            self.files.add(entry, line)

    def add_part(self, entry: Entry) -> None:
        """Add a part of an incomplete output."""
        self.parts.setdefault(entry.output, {})[entry.first] = entry

    def settle(self) -> None:
        """Drop the parts of complete outputs."""
        for name in [*self.parts]:
            previous = self.files.get(name)
            if previous is not None and previous.state == "done":
                del self.parts[name]


class Ledger:
    """The manifest of one data set; methods may be called from any thread.

    Args:
        storage: The storage of the outputs.
        directory: The manifest's own directory.
        root: The output directory.
        outputs: The outputs' name in messages; by default that of their directory.
        header: The header of this run.
        shard: The part of the data set that this run does.
        anew: Whether to discard an existing manifest, which may be damaged.

    Attributes:
        forgotten: Outputs in partition folders, from the discarded manifest.

    Raises:
        ManifestError: The existing manifest is damaged, or from a newer sentstream.
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
        fresh: bool = False,
    ) -> None:
        self.storage, self.directory, self.root, self.outputs = storage, directory, root, outputs or root
        self._header, self._shard = header, shard
        self._lock = threading.Lock()
        self._journal: Journal | None = None
        self._written = False
        #: The entries of complete and skipped files that this run has written.
        self._new = Entries()
        self.done = Done(seen=self._files()) if fresh else load(storage, directory)
        self.forgotten = self._partitioned() if fresh else frozenset()

    def check(self) -> None:
        """Check that this run may continue the existing work.

        Raises:
            ResumeError: It was done with another model, other options or another version.
        """
        if self.done.header is not None and (differences := _differences(self.done.header, self._header)):
            raise ResumeError(
                f"{self.outputs} was started with {'; '.join(differences)}",
                hint="use the same settings, choose another --output, or start over with --overwrite",
            )

    @contextlib.contextmanager
    def writing(self, *, fresh: bool, replaced: Sequence[str] = ()) -> Iterator[None]:
        """Lock out other runs and keep a journal for as long as the block runs.

        Args:
            fresh: Discard the existing manifest.
            replaced: Outputs to remove before that.

        Raises:
            OutputBusyError: Another run is writing, or was until now.
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
            if fresh:
                self._forget(seen)
            self._journal = open_journal(
                self.storage,
                self._name(f"journal-{self._shard}.{self._next(seen)}"),
                header_line(self._header),
            )
            self._written = False
            try:
                # The header comes first, so that outputs without an entry belong to a known run.
                self._journal.append(b"")
                yield
            except BaseException as error:
                if not isinstance(error, Exception):  # Ctrl-C
                    give_up_soon()
                with contextlib.suppress(SentstreamError):  # report the first error
                    self._end_journal()
                raise
            self._end_journal()
        if not is_uri(self.directory):
            with contextlib.suppress(OSError):  # only succeeds if nothing is kept
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
        """Durably record finished work.

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
                previous = self.done.files.get(entry.output)
                if entry.state == "done":
                    self.done.parts.pop(entry.output, None)
                    self._new.add(entry, line)
                elif previous is None or previous.state != "done":
                    if entry.state == "part":
                        self.done.add_part(entry)
                    else:
                        self._new.add(entry, line)
            self.done.finished = False

    @property
    def journal(self) -> str:
        """A file that exists while this run writes or can be resumed; finishing the run removes it."""
        assert self._journal is not None
        return self._journal.name

    def keep(self) -> None:
        """Keep the journal in any case, as outputs are about to get their names before their entry."""
        self._written = True

    def below(self, output: str) -> str:
        """Return an output's path relative to the output directory, separated by ``/``."""
        return printable(name_below(self.storage, self.root, output))

    @property
    def parts(self) -> str:
        """The directory of the parts of large outputs."""
        return self._name(_PARTS)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other shards from finishing the manifest for as long as the block runs.

        Raises:
            OutputBusyError: Another shard is finishing it.
        """
        with self.storage.lock(self._name("lock-end"), self.outputs):
            yield

    def reload(self) -> None:
        """Read what other shards have written in the meantime."""
        with self._lock:
            self.done = load(self.storage, self.directory)
            self._new = Entries()

    def finish(self) -> None:
        """Compact all journals into one manifest, and remove them and any remaining parts.

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
        """Remove the manifest and its journals: there is nothing to resume."""
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
        """Return the outputs in partition folders; none if the manifest is damaged."""
        with contextlib.suppress(ManifestError, ResumeError):
            entries = load(self.storage, self.directory).files.values()
            return frozenset(one.name for entry in entries for one in entry.files or ())
        return frozenset()

    def _remove_directory(self, name: str) -> None:
        if not is_uri(self.directory):
            with contextlib.suppress(OSError):
                Path(self._name(name)).rmdir()

    def _check_others(self, seen: dict[str, int]) -> None:
        """Check that other running processes are shards of the same split."""
        for name in seen:
            match = _LOCK.fullmatch(name)
            if match and self._shard.conflicts(match["shard"]):
                with self.storage.lock(self._name(name), self.outputs):
                    pass  # its holder is dead

    def _of_concern(self, seen: dict[str, int]) -> dict[str, int]:
        """Return what only this run may change: the manifest, and journals except other shards'."""
        matches = {name: _JOURNAL.fullmatch(name) for name in seen}
        return {
            name: seen[name]
            for name, match in matches.items()
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
    """Read the manifest and the journals in a directory.

    Raises:
        ManifestError: One is damaged, or was written by a newer sentstream.
        ResumeError: They are from runs with different settings.
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
    """Return the header of the manifest or a journal in a directory; None if there is none.

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
    """Return what identifies this version of a file: size, tag, and a hash of its end.

    Raises:
        InputError: It cannot be read, or has changed since it was found.
    """
    return Input(printable(file.name), file.size, file.tag, tail_hash(file))


def tail_hash(file: StoredFile) -> str:
    """Return a hash of a file's end, in hexadecimal.

    Raises:
        InputError: It cannot be read, or has changed since it was found.
    """
    with file.open() as data:
        if file.size > _TAIL:
            data.seek(file.size - _TAIL)
        digest = hashlib.sha256()
        while block := data.read(_TAIL):
            digest.update(block)
    return digest.hexdigest()


def part_name(parts: str, output: str, first: int) -> str:
    """Return the name of a part of an output.

    Args:
        parts: The directory of all parts.
        output: The output's name in the manifest.
        first: The first row group of the part.
    """
    stem = hashlib.sha256(os.fsencode(output)).hexdigest()[:32]
    return f"{parts}/{stem}.{first}"


def known(file: StoredFile) -> Input:
    """Return an input record without a hash, for a file that may be unreadable."""
    return Input(printable(file.name), file.size, file.tag, "")


def printable(name: str) -> str:
    """Return a name as valid text: bytes of a path that are not UTF-8 are escaped."""
    if name.isascii():  # most are
        return name
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files(storage: Storage, directory: str) -> dict[str, int]:
    """Return the files in a manifest's directory, by relative name, with their sizes in bytes."""
    if not storage.is_directory(directory):
        return {}
    return {name: file.size for name, file in storage.walk(directory, hidden=True)}


@contextlib.contextmanager
def _opened(storage: Storage, name: str) -> Iterator[io.BufferedReader]:
    """Open a file of the manifest; a remote one that is gone is empty."""
    try:
        with contextlib.ExitStack() as stack:
            if is_uri(name):
                file = storage.find(name)
                data: Any = io.BytesIO() if file is None else stack.enter_context(file.open())
                yield stack.enter_context(io.BufferedReader(data, _BUFFER))
            else:  # another shard may append to it meanwhile
                yield stack.enter_context(Path(name).open("rb"))
    except OSError as error:
        raise OutputWriteError(f"{name} cannot be read: {error.strerror or error}") from error


def _differences(then: Header, now: Header) -> list[str]:
    """Describe how the settings of two runs differ."""
    differences = []
    if then.model != now.model:
        differences.append(f"the model {_model(then)}, not {_model(now)}")
    for name in dict.fromkeys((*then.options, *now.options)):
        before, after = then.options.get(name), now.options.get(name)
        if before != after:
            differences.append(f"{name} {_shown(before)}, not {_shown(after)}")
    if then.sentstream != now.sentstream:
        differences.append(f"sentstream {then.sentstream}, not {now.sentstream}")
    return differences


def _model(header: Header) -> str:
    model = header.model
    return f"{model.get('name')} {model.get('version')} ({model.get('digest', '')[:19]}…)"


def _shown(value: object) -> str:
    if isinstance(value, dict):  # without the ids, which mean nothing to users
        return ", ".join(map(str, value.values()))
    return "unset" if value is None else repr(value)
