"""Files on web servers, read-only."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sentstream.errors import InputError
from sentstream.storage.connect import Options, Tries, connect_web, explaining, unreadable, waiting
from sentstream.storage.found import compare, gone
from sentstream.storage.objects import if_match, tag_of
from sentstream.storage.remote import FetchedFile, ReadOnly


@dataclass(frozen=True)
class WebFile(FetchedFile):
    """A file on a web server, as it was when found.

    Attributes:
        name: Its URL.
        size: Size in bytes.
        tag: Its ETag, or its modification time.
        options: Settings, as key-value pairs.
    """

    options: Options = field(default=(), repr=False)

    def check(self) -> None:
        """Check that the file has not changed since it was found.

        Raises:
            InputError: The file is gone, or its size or tag has changed.
            StorageError: The server does not answer.
        """
        part = _get(self.name, self.options, (0, 1))
        if part is None:
            raise gone(self.name)
        compare(self, part.meta["size"], tag_of(part.meta))

    def _fetch(self, start: int, stop: int) -> bytes:
        result = _get(self.name, self.options, (start, stop), self)
        if result is None:
            raise gone(self.name)
        return result.data


@dataclass(frozen=True)
class WebStorage(ReadOnly):
    """Web servers, over HTTP and HTTPS.

    Attributes:
        options: Settings, as key-value pairs.
    """

    options: Options = field(default=(), repr=False)

    def find(self, name: str) -> WebFile | None:
        """Return the file at a URL; None if there is none.

        Raises:
            InputError: The file cannot be read, is empty, or its server does not support ranges.
            StorageError: The server does not answer.
        """
        # Not with HEAD, which a URL signed for GET does not allow.
        part = _get(name, self.options, (0, 1))
        return None if part is None else WebFile(name, part.meta["size"], tag_of(part.meta), self.options)

    def is_directory(self, name: str) -> bool:
        """Return False: the web has no directories."""
        return False

    def walk(self, directory: str, *, hidden: bool = False) -> Iterator[tuple[str, WebFile]]:
        """Yield nothing: the web cannot be listed."""
        return iter(())


@dataclass(frozen=True)
class _Part:
    meta: Any
    data: bytes


def _get(url: str, options: Options, span: tuple[int, int], file: WebFile | None = None) -> _Part | None:
    """Return a byte range of a file, of the version of ``file`` if given; None if it does not exist."""
    import obstore
    from obstore.exceptions import BaseError, NotSupportedError, PreconditionError

    store, tries = connect_web(url, options), Tries(options)
    request: Any = {"range": span, **if_match(file.tag if file else "")}
    get = functools.partial(obstore.get, store, "", options=request)
    with explaining(url, "cannot be read", unreadable):
        while True:
            try:
                result = waiting(get)
                if file is not None:
                    compare(file, result.meta["size"], tag_of(result.meta))
                return _Part(result.meta, bytes(result.bytes()))
            except PreconditionError:
                assert file is not None
                compare(file, file.size, "")
            except FileNotFoundError:
                return None
            except NotSupportedError as error:
                raise InputError(
                    f"{url} cannot be read in parts: its server does not support ranges",
                    hint="download it first: curl -fLO",
                ) from error
            except BaseError as error:
                if "416" in str(error) and span == (0, 1):
                    raise InputError(f"{url} is empty", hint="is the address right?") from error
                tries.wait(error)
