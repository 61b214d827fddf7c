"""Choose the storage for a name."""

from __future__ import annotations

from collections.abc import Mapping

from sentstream.errors import UsageError
from sentstream.storage.api import Storage
from sentstream.storage.local import LocalStorage
from sentstream.storage.names import is_uri, scheme_of

_BUCKETS = ("s3", "s3a", "gs", "abfs", "abfss", "az", "azure", "adl")
_WEB = ("http", "https")


def open_storage(name: str, options: Mapping[str, str] | None = None) -> Storage:
    """Return the storage for a path or URI, without contacting a server.

    Args:
        name: A path or a URI.
        options: Object store settings, by name or by scheme and name, e.g. ``s3.endpoint``.

    Raises:
        UsageError: The scheme is not supported, the URI has no bucket, or its store does not know a setting.
        StorageAccessError: There are no credentials.
        MissingExtraError: The package that reads it is not installed.
    """
    if not is_uri(name):
        return LocalStorage()
    from sentstream.storage.connect import connect, connect_web, options_for

    scheme, chosen = scheme_of(name), options_for(name, options or {})
    if scheme in _BUCKETS:
        from sentstream.storage.objects import ObjectStorage

        root = _root(name)
        connect(root, chosen)
        return ObjectStorage(root, chosen)
    if scheme in _WEB:
        from sentstream.storage.web import WebStorage

        connect_web(name, chosen)
        return WebStorage(chosen)
    from sentstream.storage.filesystems import file_systems

    return file_systems(name, chosen)


def _root(uri: str) -> str:
    """Return a URI without its path.

    >>> _root("s3://bucket/tweets/a.parquet")
    's3://bucket'
    """
    scheme, _, rest = uri.partition("://")
    bucket = rest.partition("/")[0]
    if not bucket:
        raise UsageError(f"{uri} has no bucket", hint=f"write {scheme.rstrip(':/')}://BUCKET/NAME")
    return f"{scheme}://{bucket}"
