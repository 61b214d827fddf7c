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
    inner, packed = os.path.splitext(name)
    if packed.lower() not in _CODECS:
        return _layout_of(packed, None)
    return _layout_of(os.path.splitext(inner)[1], packed)


def stem_and_ending(name: str) -> tuple[str, str]:
    """Split a file name into its stem and the suffix that indicates its format.

    >>> stem_and_ending("tweets.2026.csv.gz"), stem_and_ending("x.v1.2")
    (('tweets.2026', '.csv.gz'), ('x.v1.2', ''))
    """
    _, ending = _split(name)
    return name.removesuffix(ending) if ending else name, ending


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
def _layout_of(kind: str, packed: str | None) -> Layout | None:
    """Return the layout for the suffix of a format, and that of the compression, if any."""
    format = _FORMATS.get(kind.lower())
    codec = None if packed is None else _CODECS[packed.lower()]
    return None if format is None else Layout(format, codec, "\t" if format == "tsv" else ",")


def _split(name: str) -> tuple[Format | None, str]:
    """Return the format, and the suffix that indicates it, including that of the compression."""
    packed = os.path.splitext(name)[1]
    inner = name.removesuffix(packed) if packed.lower() in _CODECS else name
    kind = os.path.splitext(inner)[1]
    format = _FORMATS.get(kind.lower())
    return (None, "") if format is None else (format, name[len(inner) - len(kind) :])
