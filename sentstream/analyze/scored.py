"""What a scored file says about itself: its labels, their columns, and the model that gave them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa

from sentstream.errors import ColumnNotFoundError, InputError
from sentstream.scorer.added_columns import (
    ABSTAIN_KEY,
    DIGEST_KEY,
    MODEL_KEY,
    NEGATIVE,
    POSITIVE,
    UNCERTAIN,
    VERSION_KEY,
)


@dataclass(frozen=True)
class ModelName:
    """The model of some rows, as their schema names it; all None where the format has no room for that.

    Attributes:
        name: Its name.
        version: Its version.
        digest: What stands for every byte of it.
        abstain: The score below which rows were labeled ``uncertain``.
    """

    name: str | None
    version: str | None
    digest: str | None
    abstain: float | None = None

    def to_dict(self) -> dict[str, str | float | None]:
        """All of it, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Labels:
    """The labels of scored rows.

    Attributes:
        prefix: The name of the label column.
        names: The model's labels, in the order of their probability columns.
    """

    prefix: str
    names: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """What the label column may hold."""
        return self.names if UNCERTAIN in self.names else (*self.names, UNCERTAIN)

    @property
    def poles(self) -> tuple[int, int] | None:
        """The places of the positive and the negative label; None of labels that are others."""
        if POSITIVE in self.names and NEGATIVE in self.names:
            return self.names.index(POSITIVE), self.names.index(NEGATIVE)
        return None

    @property
    def columns(self) -> list[str]:
        """The columns that are read: the label's, then each probability's."""
        return [self.prefix, *(f"{self.prefix}_prob_{name}" for name in self.names)]


def labels_of(schema: pa.Schema, prefix: str, file: str) -> Labels:
    """The labels of a file's rows.

    Args:
        schema: Its schema.
        prefix: The name of the label column.
        file: What messages call the file.

    Raises:
        ColumnNotFoundError: It is not scored, or under another prefix.
    """
    start = f"{prefix}_prob_"
    names = tuple(name.removeprefix(start) for name in schema.names if name.startswith(start))
    if prefix in schema.names and len(names) > 1:
        return Labels(prefix, names)
    if prefix in schema.names and f"{prefix}_score" in schema.names:
        raise ColumnNotFoundError(
            f"{file}: no columns {start}…", hint="keep the probability columns that sentstream score writes"
        )
    others = _prefixes(schema.names)
    if others:
        raise ColumnNotFoundError(f"{file}: no column {prefix!r}", hint=f"give --prefix {others[0]}")
    raise ColumnNotFoundError(
        f"{file} is not scored: no column {prefix!r}", hint=f"score it first: sentstream score {file}"
    )


def _prefixes(names: Iterable[str]) -> list[str]:
    """The label columns that there are."""
    known = set(names)
    return [
        name
        for name in known
        if f"{name}_score" in known and any(one.startswith(f"{name}_prob_") for one in known)
    ]


def check_same(labels: Labels, file: str, first: Labels, first_file: str) -> None:
    """Find out whether two files have the same labels.

    Raises:
        InputError: They have not.
    """
    if labels.names != first.names:
        raise InputError(
            f"{file} has the labels {', '.join(labels.names)}, but {first_file} has {', '.join(first.names)}",
            hint="report them separately",
        )


def model_of(schema: pa.Schema) -> ModelName:
    """The model that a schema names."""
    metadata = schema.metadata or {}

    def said(key: bytes) -> str | None:
        value = metadata.get(key)
        return None if value is None else value.decode("utf-8", "replace")

    try:
        abstain = float(metadata[ABSTAIN_KEY])
    except (KeyError, ValueError):
        abstain = None
    return ModelName(said(MODEL_KEY), said(VERSION_KEY), said(DIGEST_KEY), abstain)
