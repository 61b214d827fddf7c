"""Settings for writing Parquet: the size of row groups, and the compression of pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from sentstream.errors import UsageError

#: A row group ends when it reaches either of these.
GROUP_ROWS: Final = 131_072
GROUP_BYTES: Final = 32 << 20
CODECS: Final = ("zstd", "snappy", "gzip", "brotli", "lz4", "none")
_LEVELED: Final = ("zstd", "gzip", "brotli")


@dataclass(frozen=True)
class ParquetSettings:
    """Settings for writing Parquet.

    Attributes:
        group_rows: Maximum rows per row group; one also ends at 32 MiB.
        codec: The compression of pages: one of ``CODECS``.
        level: The codec's level; None for its default.
    """

    group_rows: int = GROUP_ROWS
    codec: str = "zstd"
    level: int | None = 1  # higher levels take more time than the model

    def options(self) -> dict[str, Any]:
        """Return the arguments for pyarrow's writer."""
        return {"compression": self.codec, "compression_level": self.level}


DEFAULTS: Final = ParquetSettings()


def parquet_settings(group_rows: int | None = None, compression: str | None = None) -> ParquetSettings:
    """Return settings from options; None for options that were not given.

    >>> parquet_settings(10_000, "gzip:9")
    ParquetSettings(group_rows=10000, codec='gzip', level=9)

    Args:
        group_rows: Maximum rows per row group.
        compression: A codec, optionally with a level: ``zstd:9``.

    Raises:
        UsageError: The number of rows is not positive, or the codec or its level is unknown.
    """
    if group_rows is not None and group_rows < 1:
        raise UsageError(f"row_group_rows must be a positive integer, not {group_rows}")
    rows = group_rows or GROUP_ROWS
    if compression is None:
        return ParquetSettings(rows)
    codec, colon, text = compression.lower().partition(":")
    if codec not in CODECS:
        raise UsageError(
            f"compression is {compression!r}, not one of {', '.join(CODECS)}",
            hint="add a level after a colon: zstd:9",
        )
    if not colon:
        return ParquetSettings(rows, codec, 1 if codec == "zstd" else None)
    if codec not in _LEVELED:
        raise UsageError(f"{codec} has no compression levels", hint=f"leave out :{text}")
    least, most = pa.Codec.minimum_compression_level(codec), pa.Codec.maximum_compression_level(codec)
    least = max(least, 0 if codec == "brotli" else 1)  # zstd's negative levels are speeds
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(
            f"{text!r} is not a compression level of {codec}", hint=f"its levels are {least} to {most}"
        )
    return ParquetSettings(rows, codec, int(text))
