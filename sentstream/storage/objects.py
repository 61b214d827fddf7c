"""Objects in buckets: S3 and what speaks its protocol, Google Cloud Storage, Azure.

An object has no rename. What is written is a nameless file of this machine first, and then an object at once,
by one request; only what is larger than stores take so, by the completion of a multipart upload. So a reader
of the bucket finds all or nothing, and no name but that of the output.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from sentstream.errors import InputError, OutputExistsError, OutputWriteError, SentstreamError
from sentstream.packed import Packed, pickled_by_fields
from sentstream.storage.connect import Options, Tries, connect, explaining, unreadable, waiting
from sentstream.storage.found import compare, gone
from sentstream.storage.lease import Lease, check_held, hold
from sentstream.storage.names import is_skipped, scheme_of
from sentstream.storage.remote import FetchedFile
from sentstream.storage.uploads import abort_uploads

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode
    from obstore.store import ObjectStore

#: The largest object that is written by one request: S3 takes 5 GiB, Azure a little less, Google 5 TiB.
_ONE_REQUEST = 4 << 30
#: The parts of larger ones; S3 takes 10,000 of them.
_PART, _PARTS_AT_ONCE, _MOST_PARTS = 64 << 20, 2, 10_000
#: Bytes a second that a request has at least; slower ones are tried again.
_SLOWEST = 256 << 10
#: Under which an object keeps who wrote it, so that a write that was tried twice knows its own.
_TOKEN = "sentstream_write"
#: What the tag of an object without an ETag begins with.
_MODIFIED = "modified "
_T = TypeVar("_T")


@pickled_by_fields
@dataclass(frozen=True)
class ObjectFile(FetchedFile):
    """An object, as it was when it was found.

    Attributes:
        name: Its URI.
        size: Bytes.
        tag: Its ETag.
        storage: Where it lies.
    """

    storage: ObjectStorage = field(repr=False)

    def check(self) -> None:
        """Find out whether it is still what was found.

        Raises:
            InputError: It is gone, or its size or ETag is another.
            StorageError: The store does not answer.
        """
        now = self.storage.find(self.name)
        if now is None:
            raise gone(self.name)
        compare(self, now.size, now.tag)

    def _fetch(self, start: int, stop: int) -> bytes:
        return self.storage.fetch(self, start, stop)


@dataclass(frozen=True)
class ObjectStorage:
    """The objects of a bucket.

    Attributes:
        root: Its URI, without a path.
        options: Settings, as pairs.
    """

    root: str
    options: Options = field(default=(), repr=False)

    @property
    def _store(self) -> ObjectStore:
        return connect(self.root, self.options)

    def key(self, name: str) -> str:
        """The key of a URI."""
        return name.removeprefix(self.root).strip("/")

    def find(self, name: str) -> ObjectFile | None:
        """The object of a name; None where there is none.

        Raises:
            InputError: It cannot be looked at.
            StorageError: The store does not answer, or does not know us.
        """
        import obstore
        from obstore.exceptions import PermissionDeniedError

        key = self.key(name)
        if not key:
            return None
        with explaining(name, "cannot be read", unreadable):
            try:
                return self._found(name, self._asked(lambda: obstore.head(self._store, key)))
            except FileNotFoundError:
                return None
            except PermissionDeniedError:  # which says no more than that
                self._asked(lambda: next(obstore.list(self._store, key, chunk_size=1), None))
                raise

    def is_directory(self, name: str) -> bool:
        """Whether there are objects below a name.

        Raises:
            InputError: There is no such bucket.
            StorageError: The store does not answer, or does not know us.
        """
        return next(self._list(name, 1), None) is not None or (name.endswith("/") and not self.key(name))

    def walk(self, directory: str, *, hidden: bool = False) -> Iterator[tuple[str, ObjectFile]]:
        """All objects below a prefix, in the order of a walk through directories, with their names below it.

        Args:
            directory: The prefix.
            hidden: Whether not to pass over what begins with a dot or an underscore.

        Raises:
            InputError: They cannot be listed.
            StorageError: The store does not answer, or does not know us.
        """
        key = self.key(directory)
        found = []
        for about in self._list(directory):
            below = about["path"].removeprefix(key).lstrip("/")
            parts = below.split("/")
            if below and (hidden or not any(map(is_skipped, parts))):
                order = [(True, part) for part in parts[:-1]] + [(False, parts[-1])]
                found.append((order, below, self._found(self.join(directory, below), about)))
        found.sort(key=lambda item: item[0])
        for _, below, file in found:
            yield below, file

    def join(self, directory: str, below: str) -> str:
        """The URI of an object below a prefix."""
        return f"{directory.rstrip('/')}/{below}"

    def check_writable(self, name: str, *, overwrite: bool) -> None:
        """Find out before any work what would keep ``create`` from writing.

        Raises:
            OutputExistsError: The name is taken and is not to be overwritten, or is a bucket's.
            OutputWriteError: There is no such bucket.
            StorageError: The store does not answer, or does not know us.
        """
        if not self.key(name) or name.endswith("/"):
            raise OutputExistsError(f"{name} is a directory", hint="name a file")
        _LOOKS.check_bucket(self)
        if not overwrite and _LOOKS.is_taken(self, name):
            raise _taken(name, "already exists")

    @contextlib.contextmanager
    def create(self, name: str, *, overwrite: bool) -> Iterator[BinaryIO]:
        """A new file to write in order; it becomes an object when the block ends well.

        Raises:
            OutputExistsError: The name was taken while the block ran, and is not to be overwritten.
            OutputWriteError: No room for a copy on this machine, access denied, another run took over.
            StorageError: The store does not answer, or does not know us.
        """
        try:
            with tempfile.TemporaryFile(prefix=".sentstream-") as file:
                yield cast(BinaryIO, file)
                file.flush()
                self._commit(name, file, overwrite=overwrite)
        except OSError as error:
            raise OutputWriteError(
                f"{name} cannot be written: {tempfile.gettempdir()}: {error.strerror or error}",
                hint="nothing was left behind; set TMPDIR to a directory with enough space for an output",
            ) from error

    def remove(self, name: str) -> None:
        """Remove an object; it need not be there.

        Raises:
            OutputWriteError: It cannot be removed.
            StorageError: The store does not answer, or does not know us.
        """
        import obstore

        with explaining(name, "cannot be removed", _unwritable), contextlib.suppress(FileNotFoundError):
            self._asked(lambda: obstore.delete(self._store, self.key(name)))

    def lock(self, name: str, what: str) -> AbstractContextManager[None]:
        """Keep others from doing the same, by a lease: an object that its holder renews.

        Args:
            name: The object.
            what: What messages call what is locked.

        Raises:
            OutputBusyError: Somebody alive holds it.
            OutputWriteError: It cannot be written.
            StorageError: The store does not answer, or does not know us.
        """
        return hold(self, name, what)

    def clean(self, names: Collection[str]) -> None:
        """Abort what killed processes left of uploads to S3; Azure forgets them after a week."""
        keys = Packed(self.key(name) + "/" * name.endswith("/") for name in names)
        if keys and self._is_amazon:
            abort_uploads(self.root, self.options, keys)

    def names(self, directory: str) -> set[str]:
        """The keys of the objects in a directory, without those below it."""
        import obstore

        with explaining(directory, "cannot be read", unreadable):
            key = self.key(directory) or None
            listed = self._asked(lambda: obstore.list_with_delimiter(self._store, key))
        return {about["path"] for about in listed["objects"]}

    # For leases.

    def read_all(self, name: str) -> tuple[bytes, Lease] | None:
        """The content of a small object, and its version; None where there is none."""
        import obstore

        def get() -> tuple[bytes, Lease]:
            result = obstore.get(self._store, self.key(name))
            return bytes(result.bytes()), _version(result.meta)

        with explaining(name, "cannot be read", unreadable):
            try:
                return self._asked(get)
            except FileNotFoundError:
                return None

    def write_all(self, name: str, data: bytes, replacing: Lease | None) -> Lease | None:
        """Write a small object.

        Args:
            name: Its URI.
            data: Its content.
            replacing: The version that it takes the place of; None where there must be none.

        Returns:
            The new version; None where another one is there.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        tries = Tries(self.options)
        mode: PutMode = "create" if replacing is None else cast("PutMode", dict(replacing))
        put = functools.partial(
            obstore.put, self._store, self.key(name), data, mode=mode, use_multipart=False
        )
        with explaining(name, "cannot be written", _unwritable):
            while True:
                try:
                    return _version(waiting(put))
                except (AlreadyExistsError, PreconditionError):
                    return None
                except BaseError as error:
                    tries.wait(error)

    # For files.

    def fetch(self, file: ObjectFile, start: int, stop: int) -> bytes:
        """Some bytes of an object, if it is still what was found."""
        import obstore
        from obstore.exceptions import BaseError, PreconditionError

        tries = Tries(self.options)
        with explaining(file.name, "cannot be read", unreadable):
            while True:
                try:
                    wanted: Any = {"range": (start, stop), **if_match(file.tag)}
                    result = obstore.get(self._store, self.key(file.name), options=wanted)
                    compare(file, result.meta["size"], tag_of(result.meta))
                    data = bytes(result.bytes())
                    if len(data) == stop - start:
                        return data
                    raise InputError(
                        f"{file.name} cannot be read: got {len(data):,} of {stop - start:,} bytes"
                    )
                except PreconditionError:
                    compare(file, file.size, "")
                except FileNotFoundError as caught:
                    if "NoSuchBucket" in str(caught):
                        raise
                    raise gone(file.name) from caught
                except BaseError as caught:
                    tries.wait(caught)  # obstore tries requests again, but not all that are cut off

    def _found(self, name: str, about: ObjectMeta) -> ObjectFile:
        return ObjectFile(name, about["size"], tag_of(about), self)

    def _asked(self, ask: Callable[[], _T]) -> _T:
        """What may be asked again: obstore tries requests again, but not all whose answers are cut off."""
        from obstore.exceptions import BaseError

        tries = Tries(self.options)
        while True:
            try:
                return waiting(ask)
            except BaseError as error:
                tries.wait(error)

    def _list(self, directory: str, most: int | None = None) -> Iterator[ObjectMeta]:
        """What is below a prefix."""
        import obstore
        from obstore.exceptions import BaseError

        key, last = self.key(directory), None
        tries = Tries(self.options)
        with explaining(directory, "cannot be read", unreadable):
            while True:
                try:
                    pages = iter(obstore.list(self._store, key or None, offset=last, chunk_size=most or 1000))
                    while (page := waiting(functools.partial(next, pages, None))) is not None:
                        for about in page:
                            last = about["path"]
                            if last != key:
                                yield about
                    return
                except BaseError as error:
                    tries.wait(error)

    def _commit(self, name: str, file: IO[bytes], *, overwrite: bool) -> None:
        """Make a whole file an object."""
        check_held(name)
        size = file.seek(0, 2)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None
        try:
            self._put(name, file, data or b"", size, overwrite=overwrite)
        finally:
            if data is not None:
                with contextlib.suppress(BufferError):  # a request that was interrupted still reads it
                    data.close()

    def _put(self, name: str, file: IO[bytes], data: Any, size: int, *, overwrite: bool) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        token = secrets.token_hex(8)
        store = self._patient_store(size)
        tries = Tries(self.options)
        with explaining(name, "cannot be written", _unwritable):
            while True:
                try:
                    if size <= _ONE_REQUEST or scheme_of(self.root) == "gs":
                        waiting(
                            lambda: obstore.put(
                                store,
                                self.key(name),
                                data,
                                attributes=cast(Any, {_TOKEN: token}),
                                mode="overwrite" if overwrite else "create",
                                use_multipart=False,
                            )
                        )
                    else:
                        if not overwrite and self.find(name) is not None:  # a moment before it appears
                            raise _taken(name, "was created by something else in the meantime")
                        file.seek(0)
                        waiting(
                            lambda: obstore.put(
                                store,
                                self.key(name),
                                file,
                                attributes=cast(Any, {_TOKEN: token}),
                                chunk_size=max(_PART, -(-size // _MOST_PARTS)),
                                max_concurrency=_PARTS_AT_ONCE,
                            )
                        )
                    return
                except AlreadyExistsError as error:
                    # A write whose answer was lost is tried again, and finds what it wrote.
                    ours = self._is_ours(name, token)
                    if ours:
                        return
                    if ours is not None:
                        raise _taken(name, "was created by something else in the meantime") from error
                    tries.wait(error)
                except BaseError as error:
                    tries.wait(error)

    def _patient_store(self, size: int) -> ObjectStore:
        """The store with as much time for a request as so many bytes take on a slow line."""
        if size <= 8 << 20 or "timeout" in dict(self.options):
            return self._store
        seconds = 1 << (60 + size // _SLOWEST).bit_length()  # a power of two: few different stores
        return connect(self.root, (*self.options, ("timeout", f"{seconds}s")))

    @property
    def _is_amazon(self) -> bool:
        return scheme_of(self.root) in ("s3", "s3a")

    def _is_ours(self, name: str, token: str) -> bool | None:
        """Whether an object is what we wrote; None where there is none."""
        import obstore

        try:
            about = self._asked(lambda: obstore.get(self._store, self.key(name), options={"head": True}))
        except FileNotFoundError:  # somebody is about to write it, or has removed it
            return None
        return about.attributes.get(_TOKEN) == token


class _Looks:
    """What was seen of outputs a moment ago, so that thousands of them do not take thousands of requests.

    The store itself refuses what is taken after that.
    """

    _LASTS = 60.0  # seconds

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[ObjectStorage, float] = {}
        self._asked: dict[tuple[ObjectStorage, str], float] = {}
        self._listed: dict[tuple[ObjectStorage, str], set[str]] = {}

    def check_bucket(self, storage: ObjectStorage) -> None:
        """Find out whether the bucket is there and knows us; who may not list it may still write."""
        import obstore

        with self._lock:
            if time.monotonic() - self._buckets.get(storage, -self._LASTS) < self._LASTS:
                return
        with (
            contextlib.suppress(_DeniedError),
            explaining(storage.root, "cannot be written", _unwritable_or_denied),
        ):
            storage._asked(
                lambda: next(obstore.list(storage._store, ".sentstream-probe", chunk_size=1), None)
            )
        with self._lock:
            self._buckets[storage] = time.monotonic()

    def is_taken(self, storage: ObjectStorage, name: str) -> bool:
        """Whether there is an object: the first of a directory is asked for, then its directory is listed."""
        place = storage, name.rpartition("/")[0]
        with self._lock:
            now = time.monotonic()
            first = now - self._asked.get(place, -self._LASTS) > self._LASTS
            if first:
                self._asked[place] = now
                self._listed.pop(place, None)
            listed = self._listed.get(place)
        if first:
            return storage.find(name) is not None
        if listed is None:
            listed = storage.names(place[1])
            with self._lock:
                self._listed[place] = listed
        return storage.key(name) in listed


_LOOKS = _Looks()


class _DeniedError(OutputWriteError):
    """Access is denied."""


def _unwritable_or_denied(message: str, hint: str | None) -> SentstreamError:
    return (_DeniedError if "access is denied" in message else OutputWriteError)(message, hint=hint)


def _unwritable(message: str, hint: str | None) -> SentstreamError:
    return OutputWriteError(message, hint=hint)


def _taken(name: str, how: str) -> OutputExistsError:
    return OutputExistsError(f"{name} {how}", hint="choose another name, or give --overwrite")


def tag_of(about: Any) -> str:
    """An ETag without its quotation marks, which Azure's listings leave out; without one, the last change."""
    tag: str = about["e_tag"] or f"{_MODIFIED}{about['last_modified'].isoformat()}"
    return tag if tag.startswith("W/") else tag.strip('"')


def if_match(tag: str) -> dict[str, str]:
    """The condition that an object is of a version, where its tag is an ETag that can be one."""
    return {} if not tag or tag.startswith(("W/", _MODIFIED)) else {"if_match": f'"{tag}"'}


def _version(about: Any) -> Lease:
    """What names a version of an object, for conditional writes."""
    return {key: about[key] for key in ("e_tag", "version") if about.get(key)}
