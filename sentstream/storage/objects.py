"""Objects in buckets: S3 and compatible stores, Google Cloud Storage, Azure.

Objects cannot be renamed. Output is written to an unnamed local file first and then becomes an object with a
single request, or, if it is too large for one, when a multipart upload completes. So a reader of the bucket
finds all or nothing, and no names other than the output's.
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

#: The largest object written with one request: S3 takes 5 GiB, Azure a little less, Google 5 TiB.
_ONE_REQUEST = 4 << 30
#: Part size, concurrency and count for larger ones; S3 takes 10,000 parts.
_PART, _PARTS_AT_ONCE, _MOST_PARTS = 64 << 20, 2, 10_000
#: Minimum speed of a request in bytes/s; slower ones time out and are retried.
_SLOWEST = 256 << 10
#: The attribute that records who wrote an object, so that a retried write recognizes its own.
_TOKEN = "sentstream_write"
#: Prefix of the tag of an object without an ETag.
_MODIFIED = "modified "
_T = TypeVar("_T")


@pickled_by_fields
@dataclass(frozen=True)
class ObjectFile(FetchedFile):
    """An object, as it was when found.

    Attributes:
        name: Its URI.
        size: Size in bytes.
        tag: Its ETag, or its modification time if it has none.
        storage: The storage that it is in.
    """

    storage: ObjectStorage = field(repr=False)

    def check(self) -> None:
        """Check that the file has not changed since it was found.

        Raises:
            InputError: It is gone, or its size or ETag has changed.
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
        root: The bucket's URI, without a path.
        options: Settings, as key-value pairs.
    """

    root: str
    options: Options = field(default=(), repr=False)

    @property
    def _store(self) -> ObjectStore:
        return connect(self.root, self.options)

    def key(self, name: str) -> str:
        """Return the key of a URI."""
        return name.removeprefix(self.root).strip("/")

    def find(self, name: str) -> ObjectFile | None:
        """Return the object with this name; None if there is none.

        Raises:
            InputError: It cannot be examined.
            StorageError: The store does not answer, or rejects the credentials.
        """
        import obstore
        from obstore.exceptions import PermissionDeniedError

        key = self.key(name)
        if not key:
            return None
        with explaining(name, "cannot be read", unreadable):
            try:
                return self._found(name, self._with_retries(lambda: obstore.head(self._store, key)))
            except FileNotFoundError:
                return None
            except PermissionDeniedError:  # a HEAD response has no details; a list response does
                self._with_retries(lambda: next(obstore.list(self._store, key, chunk_size=1), None))
                raise

    def is_directory(self, name: str) -> bool:
        """Return whether there are objects below a name.

        Raises:
            InputError: There is no such bucket.
            StorageError: The store does not answer, or rejects the credentials.
        """
        return next(self._list(name, 1), None) is not None or (name.endswith("/") and not self.key(name))

    def walk(self, directory: str, *, hidden: bool = False) -> Iterator[tuple[str, ObjectFile]]:
        """Yield all objects below a prefix, in directory-walk order, with their names relative to it.

        Args:
            directory: The prefix.
            hidden: Whether to include names that begin with a dot or an underscore.

        Raises:
            InputError: They cannot be listed.
            StorageError: The store does not answer, or rejects the credentials.
        """
        key = self.key(directory)
        found = []
        for metadata in self._list(directory):
            below = metadata["path"].removeprefix(key).lstrip("/")
            parts = below.split("/")
            if below and (hidden or not any(map(is_skipped, parts))):
                order = [(True, part) for part in parts[:-1]] + [(False, parts[-1])]
                found.append((order, below, self._found(self.join(directory, below), metadata)))
        found.sort(key=lambda item: item[0])
        for _, below, file in found:
            yield below, file

    def join(self, directory: str, below: str) -> str:
        """Return the URI of an object below a prefix."""
        return f"{directory.rstrip('/')}/{below}"

    def check_writable(self, name: str, *, overwrite: bool) -> None:
        """Check, before any work, whether ``create`` can write.

        Raises:
            OutputExistsError: The name is taken and may not be overwritten, or is a directory or the bucket.
            OutputWriteError: There is no such bucket.
            StorageError: The store does not answer, or rejects the credentials.
        """
        if not self.key(name) or name.endswith("/"):
            raise OutputExistsError(f"{name} is a directory", hint="name a file")
        _LOOKS.check_bucket(self)
        if not overwrite and _LOOKS.is_taken(self, name):
            raise _taken(name, "already exists")

    @contextlib.contextmanager
    def create(self, name: str, *, overwrite: bool) -> Iterator[BinaryIO]:
        """Create a file to write sequentially; it becomes an object if the block succeeds.

        Raises:
            OutputExistsError: The name was taken while the block ran, and may not be overwritten.
            OutputWriteError: No local space for a copy, access denied, or another run took over.
            StorageError: The store does not answer, or rejects the credentials.
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
        """Remove an object if it exists.

        Raises:
            OutputWriteError: It cannot be removed.
            StorageError: The store does not answer, or rejects the credentials.
        """
        import obstore

        with explaining(name, "cannot be removed", _unwritable), contextlib.suppress(FileNotFoundError):
            self._with_retries(lambda: obstore.delete(self._store, self.key(name)))

    def lock(self, name: str, description: str) -> AbstractContextManager[None]:
        """Hold an exclusive lock with a lease: an object that its holder renews.

        Args:
            name: The lease object.
            description: The name of the locked resource in messages.

        Raises:
            OutputBusyError: A live process holds it.
            OutputWriteError: It cannot be written.
            StorageError: The store does not answer, or rejects the credentials.
        """
        return hold(self, name, description)

    def clean(self, names: Collection[str]) -> None:
        """Abort S3 uploads that killed processes left unfinished; Azure drops them after a week."""
        keys = Packed(self.key(name) + "/" * name.endswith("/") for name in names)
        if keys and self._is_amazon:
            abort_uploads(self.root, self.options, keys)

    def names(self, directory: str) -> set[str]:
        """Return the keys of the objects directly in a directory."""
        import obstore

        with explaining(directory, "cannot be read", unreadable):
            key = self.key(directory) or None
            listing = self._with_retries(lambda: obstore.list_with_delimiter(self._store, key))
        return {metadata["path"] for metadata in listing["objects"]}

    # For leases.

    def read_all(self, name: str) -> tuple[bytes, Lease] | None:
        """Return the content and the version of a small object; None if there is none."""
        import obstore

        def get() -> tuple[bytes, Lease]:
            result = obstore.get(self._store, self.key(name))
            return bytes(result.bytes()), _version(result.meta)

        with explaining(name, "cannot be read", unreadable):
            try:
                return self._with_retries(get)
            except FileNotFoundError:
                return None

    def write_all(self, name: str, data: bytes, replacing: Lease | None) -> Lease | None:
        """Write a small object conditionally.

        Args:
            name: Its URI.
            data: Its content.
            replacing: The version to replace; None to require that there is no object.

        Returns:
            The new version; None if the condition does not hold.
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
        """Return a byte range of an object, if it has not changed since it was found."""
        import obstore
        from obstore.exceptions import BaseError, PreconditionError

        tries = Tries(self.options)
        with explaining(file.name, "cannot be read", unreadable):
            while True:
                try:
                    request: Any = {"range": (start, stop), **if_match(file.tag)}
                    result = obstore.get(self._store, self.key(file.name), options=request)
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
                    tries.wait(caught)  # obstore retries requests, but not every interrupted response

    def _found(self, name: str, metadata: ObjectMeta) -> ObjectFile:
        return ObjectFile(name, metadata["size"], tag_of(metadata), self)

    def _with_retries(self, ask: Callable[[], _T]) -> _T:
        """Return the result of an idempotent request; obstore does not retry every interrupted response."""
        from obstore.exceptions import BaseError

        tries = Tries(self.options)
        while True:
            try:
                return waiting(ask)
            except BaseError as error:
                tries.wait(error)

    def _list(self, directory: str, limit: int | None = None) -> Iterator[ObjectMeta]:
        """Yield the objects below a prefix."""
        import obstore
        from obstore.exceptions import BaseError

        key, last = self.key(directory), None
        tries = Tries(self.options)
        with explaining(directory, "cannot be read", unreadable):
            while True:
                try:
                    pages = iter(
                        obstore.list(self._store, key or None, offset=last, chunk_size=limit or 1000)
                    )
                    while (page := waiting(functools.partial(next, pages, None))) is not None:
                        for metadata in page:
                            last = metadata["path"]
                            if last != key:
                                yield metadata
                    return
                except BaseError as error:
                    tries.wait(error)

    def _commit(self, name: str, file: IO[bytes], *, overwrite: bool) -> None:
        """Upload a complete file."""
        check_held(name)
        size = file.seek(0, 2)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None
        try:
            self._put(name, file, data or b"", size, overwrite=overwrite)
        finally:
            if data is not None:
                with contextlib.suppress(BufferError):  # an interrupted request may still be reading it
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
                    # A write whose response was lost is retried and finds its own object.
                    is_ours = self._is_ours(name, token)
                    if is_ours:
                        return
                    if is_ours is not None:
                        raise _taken(name, "was created by something else in the meantime") from error
                    tries.wait(error)
                except BaseError as error:
                    tries.wait(error)

    def _patient_store(self, size: int) -> ObjectStore:
        """Return the store with a request timeout long enough for ``size`` bytes on a slow line."""
        if size <= 8 << 20 or "timeout" in dict(self.options):
            return self._store
        seconds = 1 << (60 + size // _SLOWEST).bit_length()  # a power of two: few different stores
        return connect(self.root, (*self.options, ("timeout", f"{seconds}s")))

    @property
    def _is_amazon(self) -> bool:
        return scheme_of(self.root) in ("s3", "s3a")

    def _is_ours(self, name: str, token: str) -> bool | None:
        """Return whether an object is the one that we wrote; None if there is none."""
        import obstore

        try:
            metadata = self._with_retries(
                lambda: obstore.get(self._store, self.key(name), options={"head": True})
            )
        except FileNotFoundError:  # another process is about to write it, or has removed it
            return None
        return metadata.attributes.get(_TOKEN) == token


class _ExistenceCache:
    """A short-lived cache of which outputs exist, so that checking thousands takes only a few requests.

    If a name is taken after that, the store refuses the write.
    """

    _LASTS = 60.0  # seconds

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[ObjectStorage, float] = {}
        self._with_retries: dict[tuple[ObjectStorage, str], float] = {}
        self._listed: dict[tuple[ObjectStorage, str], set[str]] = {}

    def check_bucket(self, storage: ObjectStorage) -> None:
        """Check that the bucket exists and accepts us; a user who may not list it may still write."""
        import obstore

        with self._lock:
            if time.monotonic() - self._buckets.get(storage, -self._LASTS) < self._LASTS:
                return
        with (
            contextlib.suppress(_DeniedError),
            explaining(storage.root, "cannot be written", _unwritable_or_denied),
        ):
            storage._with_retries(
                lambda: next(obstore.list(storage._store, ".sentstream-probe", chunk_size=1), None)
            )
        with self._lock:
            self._buckets[storage] = time.monotonic()

    def is_taken(self, storage: ObjectStorage, name: str) -> bool:
        """Return whether an object exists: ask for a directory's first one, then list the directory."""
        directory = storage, name.rpartition("/")[0]
        with self._lock:
            now = time.monotonic()
            first = now - self._with_retries.get(directory, -self._LASTS) > self._LASTS
            if first:
                self._with_retries[directory] = now
                self._listed.pop(directory, None)
            names = self._listed.get(directory)
        if first:
            return storage.find(name) is not None
        if names is None:
            names = storage.names(directory[1])
            with self._lock:
                self._listed[directory] = names
        return storage.key(name) in names


_LOOKS = _ExistenceCache()


class _DeniedError(OutputWriteError):
    """Access is denied."""


def _unwritable_or_denied(message: str, hint: str | None) -> SentstreamError:
    return (_DeniedError if "access is denied" in message else OutputWriteError)(message, hint=hint)


def _unwritable(message: str, hint: str | None) -> SentstreamError:
    return OutputWriteError(message, hint=hint)


def _taken(name: str, reason: str) -> OutputExistsError:
    return OutputExistsError(f"{name} {reason}", hint="choose another name, or give --overwrite")


def tag_of(metadata: Any) -> str:
    """Return the ETag without quotation marks, which Azure's listings omit; else the modification time."""
    tag: str = metadata["e_tag"] or f"{_MODIFIED}{metadata['last_modified'].isoformat()}"
    return tag if tag.startswith("W/") else tag.strip('"')


def if_match(tag: str) -> dict[str, str]:
    """Return the condition that an object still has this tag, if the tag is a strong ETag."""
    return {} if not tag or tag.startswith(("W/", _MODIFIED)) else {"if_match": f'"{tag}"'}


def _version(metadata: Any) -> Lease:
    """Return what identifies a version of an object, for conditional writes."""
    return {key: metadata[key] for key in ("e_tag", "version") if metadata.get(key)}
