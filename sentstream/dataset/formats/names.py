"""Formats by file name suffix, and the names of outputs."""

from __future__ import annotations

import functools
import os
from typing import Final

from sentstream.dataset.formats.api import STREAMED, Codec, Format, Layout
from sentstream.storage.names import SCORED

#: The suffixes of each format; new names get the first.
ENDINGS: Final[dict[Format, tuple[str, ...]]] = {
    "parquet": (".parquet", ".parq", ".pq"),
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "arrow": (".arrow", ".feather", ".ipc"),
    "arrow-stream": (".arrows",),
    "orc": (".orc",),
}
_CODECS: Final[dict[str, Codec]] = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bz2",
}
_ENDING_OF: Final[dict[Codec, str]] = {"gzip": ".gz", "zstd": ".zst", "bz2": ".bz2"}
_FORMATS: Final = {ending: format for format, endings in ENDINGS.items() for ending in endings}


def layout_of_name(name: str) -> Layout | None:
    """Return the layout that a file name indicates; None if it has no known suffix.

    >>> layout_of_name("a/b.CSV.gz")
    Layout(format='csv', codec='gzip', delimiter=',')
    >>> layout_of_name("notes.txt")
    """
    return _layout_of(*_suffixes(name))


def stem_and_ending(name: str) -> tuple[str, str]:
    """Split a file name into its stem and the suffix that indicates its format.

    >>> stem_and_ending("tweets.2026.csv.gz"), stem_and_ending("x.v1.2")
    (('tweets.2026', '.csv.gz'), ('x.v1.2', ''))
    """
    ending = "".join(_suffixes(name)) if layout_of_name(name) is not None else ""
    return name.removesuffix(ending), ending


def is_scored(name: str) -> bool:
    """Return whether a file name is the default name of an output.

    >>> is_scored("x.scored.csv.gz"), is_scored("x.csv")
    (True, False)
    """
    return stem_and_ending(name)[0].endswith(SCORED) or os.path.splitext(name)[0].endswith(SCORED)


def scored_name(name: str, format: Format | None, output: Format | None = None) -> str:
    """Return the default name of an output.

    Args:
        name: The input's name.
        format: The input's format, used if its name has no known suffix.
        output: The output's format; None for the input's.

    >>> scored_name("x.csv.gz", None), scored_name("x.csv.gz", None, "parquet"), scored_name("x", "parquet")
    ('x.scored.csv.gz', 'x.scored.parquet', 'x.scored.parquet')
    """
    stem, ending = stem_and_ending(name)
    if ending.lower() in ENDINGS["parquet"]:
        ending = ENDINGS["parquet"][0]
    elif not ending and format is not None:
        ending = ENDINGS[format][0]
    return renamed(f"{stem}{SCORED}{ending}", output)


def renamed(name: str, output: Format | None) -> str:
    """Return a file's name with the suffix of another format; None keeps the name.

    >>> renamed("x.csv.gz", "jsonl"), renamed("x.CSV.gz", "csv"), renamed("x.pq", "csv"), renamed("x", "orc")
    ('x.jsonl.gz', 'x.CSV.gz', 'x.csv', 'x.orc')
    """
    if output is None:
        return name
    stem, _ = stem_and_ending(name)
    layout = layout_of_name(name)
    if layout is not None and layout.format == output:
        return name
    codec = layout.codec if layout is not None and output in STREAMED else None
    return stem + ENDINGS[output][0] + ("" if codec is None else _ENDING_OF[codec])


@functools.lru_cache(64)  # there may be millions of names, but few suffixes
def _layout_of(kind: str, packed: str) -> Layout | None:
    """Return the layout for the suffixes of a name."""
    format = _FORMATS.get(kind.lower())
    codec = _CODECS.get(packed.lower())
    return None if format is None else Layout(format, codec, "\t" if format == "tsv" else ",")


def _suffixes(name: str) -> tuple[str, str]:
    """Return the last suffix of a name before that of the compression, and that one; "" if there is none."""
    inner, last = os.path.splitext(name)
    return (os.path.splitext(inner)[1], last) if last.lower() in _CODECS else (last, "")
