"""How Parquet is written: rows of a row group, and what its pages are compressed with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from sentstream.errors import UsageError

#: A row group ends at the first of these.
GROUP_ROWS: Final = 131_072
GROUP_BYTES: Final = 32 << 20
CODECS: Final = ("zstd", "snappy", "gzip", "brotli", "lz4", "none")
_LEVELED: Final = ("zstd", "gzip", "brotli")


@dataclass(frozen=True)
class ParquetSettings:
    """How Parquet is written.

    Attributes:
        group_rows: Rows of a row group, at most; one also ends at 32 MiB.
        codec: What pages are compressed with: one of ``CODECS``.
        level: The codec's level; None for its default.
    """

    group_rows: int = GROUP_ROWS
    codec: str = "zstd"
    level: int | None = 1  # higher ones cost more time than the model

    def options(self) -> dict[str, Any]:
        """What pyarrow's writer takes."""
        return {"compression": self.codec, "compression_level": self.level}


DEFAULTS: Final = ParquetSettings()


def parquet_settings(group_rows: int | None = None, compression: str | None = None) -> ParquetSettings:
    """Settings from what was asked for; None for what was not.

    >>> parquet_settings(10_000, "gzip:9")
    ParquetSettings(group_rows=10000, codec='gzip', level=9)

    Args:
        group_rows: Rows of a row group, at most.
        compression: A codec, or a codec and its level: ``zstd:9``.

    Raises:
        UsageError: Not a number from 1 up, no codec, or not one of its levels.
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
    least = max(least, 0 if codec == "brotli" else 1)  # zstd's negative ones are its speeds
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(
            f"{text!r} is not a compression level of {codec}", hint=f"its levels are {least} to {most}"
        )
    return ParquetSettings(rows, codec, int(text))
