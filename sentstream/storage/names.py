"""What paths and URIs say: schemes, hidden names, and names of outputs."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sentstream.errors import InputNotFoundError, OutputWriteError

SCORED = ".scored"
#: One slash is enough, since a ``Path`` drops the second. A single letter is a Windows drive.
_URI = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
#: Commands that download a URI: the text before it and after it.
_FETCH = {
    "s3": ("aws s3 cp", " ."),
    "s3a": ("hadoop fs -get", ""),
    "gs": ("gcloud storage cp", " ."),
    "http": ("curl -fLO", ""),
    "https": ("curl -fLO", ""),
    "hdfs": ("hdfs dfs -get", ""),
}


def is_uri(name: str) -> bool:
    """Return whether a name is a URI, such as ``s3://bucket/key``, rather than a path.

    >>> is_uri("s3://bucket/key"), is_uri("C:/tweets.parquet"), is_uri("a:b")
    (True, False, False)
    """
    return _URI.match(name) is not None


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI, in lower case.

    >>> scheme_of("S3://bucket/key")
    's3'
    """
    return uri.partition(":")[0].lower()


def check_local(output: str | Path) -> None:
    """Reject an output that is not a path.

    Raises:
        OutputWriteError: The name is a URI.
    """
    if is_uri(str(output)):
        raise OutputWriteError(
            f"{output} is a URI, but only local files can be written here",
            hint="write a local file and copy it there",
        )


def missing(name: str | Path) -> InputNotFoundError:
    """Return the error for a path that does not exist: a URI, a broken link, or a wrong name."""
    if is_uri(str(name)):
        return InputNotFoundError(
            f"{name} is a URI, but only local files can be read here", hint=_fetching(str(name))
        )
    if os.path.islink(name):
        return InputNotFoundError(
            f"{name} is a link to {os.readlink(name)}, which does not exist",
            hint="repair the link, or remove it",
        )
    return InputNotFoundError(f"{name} does not exist", hint="check the path")


def without_file_scheme(name: str) -> str:
    """Return the path of a ``file:`` URI; any other name unchanged.

    >>> without_file_scheme("file:///data/a%20b.parquet"), without_file_scheme("s3://bucket/key")
    ('/data/a b.parquet', 's3://bucket/key')
    """
    return url2pathname(urlsplit(name).path) if is_uri(name) and scheme_of(name) == "file" else name


def _fetching(uri: str) -> str:
    scheme = scheme_of(uri)
    if scheme == "file":
        return f"give the path: {without_file_scheme(uri)}"
    before, after = _FETCH.get(scheme, ("", ""))
    return f"download it first: {before} {shlex.quote(uri)}{after}" if before else "download it first"


def is_skipped(name: str) -> bool:
    """Return whether a file or directory is hidden or, like ``_SUCCESS``, not data.

    >>> is_skipped("_SUCCESS"), is_skipped(".part"), is_skipped("day=1")
    (True, True, False)
    """
    return name.startswith((".", "_"))


def scored_directory(name: str) -> str:
    """Return the default output directory of an input directory."""
    return f"{name}{SCORED}"


def is_root(uri: str) -> bool:
    """Return whether a URI has no parent: a bucket, a container, a host.

    >>> is_root("s3://bucket/"), is_root("s3://bucket/prefix")
    (True, False)
    """
    return not urlsplit(uri).path.strip("/")
