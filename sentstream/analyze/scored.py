"""The schema of a scored file: its labels, their columns, and the model that scored it."""

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
    """The model that scored some rows, from their schema; all None if the format cannot store it.

    Attributes:
        name: Name of the model.
        version: Version of the model.
        digest: SHA-256 digest that covers every file of the model.
        abstain: The score below which rows were labeled ``uncertain``; None if there is none.
    """

    name: str | None
    version: str | None
    digest: str | None
    abstain: float | None = None

    def to_dict(self) -> dict[str, str | float | None]:
        """JSON-serializable data."""
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
        """The possible values of the label column."""
        return self.names if UNCERTAIN in self.names else (*self.names, UNCERTAIN)

    @property
    def poles(self) -> tuple[int, int] | None:
        """The indices of the positive and the negative label; None if there are no such labels."""
        if POSITIVE in self.names and NEGATIVE in self.names:
            return self.names.index(POSITIVE), self.names.index(NEGATIVE)
        return None

    @property
    def columns(self) -> list[str]:
        """The columns to read: the label column, then the probability columns."""
        return [self.prefix, *(f"{self.prefix}_prob_{name}" for name in self.names)]


def labels_of(schema: pa.Schema, prefix: str, file: str) -> Labels:
    """Return the labels of a scored file.

    Args:
        schema: The file's schema.
        prefix: The name of the label column.
        file: Name of the file, for messages.

    Raises:
        ColumnNotFoundError: The file is not scored, or with another prefix.
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
    """The label columns among these names."""
    known = set(names)
    return [
        name
        for name in known
        if f"{name}_score" in known and any(one.startswith(f"{name}_prob_") for one in known)
    ]


def check_same(labels: Labels, file: str, first: Labels, first_file: str) -> None:
    """Check that two files have the same labels.

    Raises:
        InputError: The labels differ.
    """
    if labels.names != first.names:
        raise InputError(
            f"{file} has the labels {', '.join(labels.names)}, but {first_file} has {', '.join(first.names)}",
            hint="report them separately",
        )


def model_of(schema: pa.Schema) -> ModelName:
    """The model named in a schema."""
    metadata = schema.metadata or {}

    def text_value(key: bytes) -> str | None:
        value = metadata.get(key)
        return None if value is None else value.decode("utf-8", "replace")

    try:
        abstain = float(metadata[ABSTAIN_KEY])
    except (KeyError, ValueError):
        abstain = None
    return ModelName(text_value(MODEL_KEY), text_value(VERSION_KEY), text_value(DIGEST_KEY), abstain)
