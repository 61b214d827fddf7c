"""The columns and schema metadata that scoring adds: names and types."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from sentstream.errors import UsageError

TEXT_COLUMN = "text"
PREFIX = "sentiment"
#: The labels for ``value``, which is P(positive) − P(negative).
POSITIVE, NEGATIVE = "positive", "negative"
#: The label of a row whose highest probability is below ``abstain``.
UNCERTAIN = "uncertain"
#: Keys of the output's schema metadata.
MODEL_KEY, VERSION_KEY, DIGEST_KEY, ABSTAIN_KEY = (
    b"sentstream.model",
    b"sentstream.model_version",
    b"sentstream.model_digest",
    b"sentstream.abstain",
)


def label_fields(prefix: str, labels: Sequence[str]) -> list[pa.Field]:
    """The fields added for one text column: ``{prefix}``, ``{prefix}_score``, ``{prefix}_prob_{label}`` …

    >>> [field.name for field in label_fields("mood", ["bad", "good"])]
    ['mood', 'mood_score', 'mood_prob_bad', 'mood_prob_good']
    """
    probabilities = [f"{prefix}_prob_{label}" for label in labels]
    return [
        pa.field(prefix, pa.string()),
        *(pa.field(name, pa.float32()) for name in (f"{prefix}_score", *probabilities)),
    ]


def label_columns(text_columns: Sequence[str], prefix: str | Sequence[str] | None = None) -> tuple[str, ...]:
    """The names of the label columns, one for each text column.

    >>> label_columns(["text"]), label_columns(["title", "data.body"])
    (('sentiment',), ('title_sentiment', 'data_body_sentiment'))

    Args:
        text_columns: The text columns.
        prefix: The names; by default they are derived from the text columns.

    Raises:
        UsageError: No text column, a different number of names than text columns, an empty name, or a
            duplicate name.
    """
    if not text_columns:
        raise UsageError("no text column", hint="name one")
    if len(set(text_columns)) < len(text_columns):
        raise UsageError(f"duplicate text column in {', '.join(text_columns)}", hint="name each column once")
    if prefix is not None:
        prefixes = (prefix,) if isinstance(prefix, str) else tuple(prefix)
    elif len(text_columns) == 1:
        prefixes = (PREFIX,)
    else:
        prefixes = tuple(f"{name.replace('.', '_')}_{PREFIX}" for name in text_columns)
    if not all(prefixes):
        raise UsageError("the prefix is empty", hint="give the label column a name")
    if len(prefixes) != len(text_columns):
        raise UsageError(
            f"{len(prefixes)} {'prefix' if len(prefixes) == 1 else 'prefixes'} for {len(text_columns)} text"
            f" {'column' if len(text_columns) == 1 else 'columns'}",
            hint="give one for each text column, in the same order, or none",
        )
    if len(set(prefixes)) < len(prefixes):
        raise UsageError(
            f"duplicate prefix in {', '.join(prefixes)}", hint="give each text column its own prefix"
        )
    return prefixes


def check_abstain(below: float | None) -> None:
    """Check a threshold for ``uncertain``; None means no threshold.

    Raises:
        UsageError: It is not in (0, 1].
    """
    if below is not None and not 0 < below <= 1:
        raise UsageError(
            f"abstain must be above 0 and at most 1, not {below}",
            hint="rows with a lower probability are uncertain",
        )
