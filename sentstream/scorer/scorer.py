"""A record batch of tweets -> the same batch with label columns.

The rules are the same for files, streams and clusters: a text that is null, empty or only whitespace gets a
null label; a text longer than the character limit is cut there and counted. Rows keep their order, and each
result depends only on its own text. With ``abstain``, labels below a threshold become ``uncertain``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.bundle import Bundle
from sentstream.drift.distribution import Distribution
from sentstream.errors import ColumnClashError, UsageError
from sentstream.profile import ATTACH, OTHER, Clock, Profile
from sentstream.scorer.added_columns import (
    ABSTAIN_KEY,
    DIGEST_KEY,
    MODEL_KEY,
    NEGATIVE,
    POSITIVE,
    TEXT_COLUMN,
    UNCERTAIN,
    VERSION_KEY,
    check_abstain,
    label_columns,
    label_fields,
)
from sentstream.scorer.in_order import in_order
from sentstream.scorer.tally import Tally, tally_columns
from sentstream.session import Probabilities, Session
from sentstream.text.columns import Column, find_column, find_text

Number = TypeVar("Number", bound=np.number[Any])


@dataclass(frozen=True)
class Scored:
    """A scored batch and its counts.

    Attributes:
        batch: The rows, with the added columns.
        tally: Counts of labels, unlabeled and truncated texts.
        words: Number of tokens in all texts; 0 if batches were scored together.
        unknown: Number of tokens that are not in the vocabulary; None if the text rules drop them, or if
            batches were scored together.
    """

    batch: pa.RecordBatch
    tally: Tally
    words: int = 0
    unknown: int | None = None

    @property
    def distribution(self) -> Distribution:
        """Label and score counts; only for one text column, with no input column kept."""
        scores = self.batch.column(1).drop_null().to_numpy(zero_copy_only=False)
        return Distribution.of(self.tally.labels, scores, self.words, self.unknown)

    def _repr_html_(self) -> str:
        """HTML for notebooks: the labels and the first rows."""
        from sentstream.notebook import rows, shares, show

        return show(shares("labels", self.tally.all_labels), rows(self.batch))


class _ModelResults(NamedTuple):
    """Model results for texts: probabilities and token counts of each, words of all."""

    table: Probabilities
    lengths: npt.NDArray[np.int64]
    truncated: int
    words: int = 0
    unknown: int = 0


class Scorer:
    """Adds label columns to record batches. It is thread-safe.

    Args:
        bundle: The model.
        session: Its open graph.
        text_column: The text column, or the path of a struct field such as ``data.text``; or several of them,
            each of which gets its own added columns.
        prefix: Name of the label column and prefix of the other added columns; one per text column. By
            default ``sentiment``; with several text columns, ``title_sentiment`` and so on.
        columns: Input columns to keep, in this order; None keeps all.
        abstain: Rows with a score below this value get the label ``uncertain``; score and probabilities are
            kept. It is compared as float32, so a score that is written as 0.7 is not below 0.7.
        value: Whether to add P(positive) − P(negative), a number from -1 to 1 that can be averaged.

    Attributes:
        labels: The possible values of the label column.
        text_columns: The text columns.
        prefixes: The name of each text column's label column.

    Raises:
        UsageError: ``abstain`` is not in (0, 1], or the model already has a label ``uncertain``; ``value``
            with a model that has no positive and negative labels; an empty prefix, a number of prefixes that
            differs from the number of text columns, or a duplicate column.
    """

    def __init__(
        self,
        bundle: Bundle,
        session: Session,
        *,
        text_column: str | Sequence[str] = TEXT_COLUMN,
        prefix: str | Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        abstain: float | None = None,
        value: bool = False,
    ) -> None:
        check_abstain(abstain)
        if value and not {POSITIVE, NEGATIVE} <= {*bundle.labels}:
            raise UsageError(
                f"the model has no labels {POSITIVE} and {NEGATIVE}, so it gives no value: its labels are"
                f" {', '.join(bundle.labels)}",
                hint="leave out value",
            )
        if abstain is not None and UNCERTAIN in bundle.labels:
            raise UsageError(f"the model already has a label {UNCERTAIN!r}", hint="leave out abstain")
        if columns is not None and len(set(columns)) < len(columns):
            raise UsageError(f"duplicate column in {', '.join(columns)}", hint="name each column once")
        self.bundle, self.session = bundle, session
        self.text_columns = (text_column,) if isinstance(text_column, str) else tuple(text_column)
        self.prefixes = label_columns(self.text_columns, prefix)
        self.columns, self.value = columns, value
        self._added_fields = tuple(added for one in self.prefixes for added in self._fields(one))
        names = [one.name for one in self.added_fields()]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(
                    f"the prefixes {' and '.join(self.prefixes)} both make a column {name!r}",
                    hint="choose other prefixes",
                )
        self.abstain = None if abstain is None else float(abstain)
        self.labels = bundle.labels if abstain is None else (*bundle.labels, UNCERTAIN)
        #: Creates an equal scorer, if a model created this one; this is what a pickle holds.
        self.made_by: Callable[[], Scorer] | None = None
        self._labels = pa.array(self.labels, pa.string())
        #: For the last input schema: the schema itself, the output schema, the indices of the kept columns,
        #: and the text columns. Successive batches usually have the same schema.
        self._last: tuple[pa.Schema, pa.Schema, list[int], list[Column]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.made_by is None:
            raise TypeError("only scorers made by Model.scorer can be pickled or copied")
        return self.made_by, ()

    def no_rows(self) -> Tally:
        """The counts of zero rows: every label 0 times."""
        return Tally(0, dict.fromkeys(self.labels, 0), 0, 0)

    def added_fields(self) -> list[pa.Field]:
        """The fields that scoring adds: ``{prefix}``, ``{prefix}_score``, ``{prefix}_prob_{label}`` …

        With ``value``, ``{prefix}_value`` comes last.
        """
        return [*self._added_fields]

    def _fields(self, prefix: str) -> list[pa.Field]:
        value = [pa.field(f"{prefix}_value", pa.float32())] if self.value else []
        return [*label_fields(prefix, self.bundle.labels), *value]

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of a scored batch; also checks that batches with this schema can be scored.

        Kept fields are unchanged, including their metadata. The schema metadata gets the model's name,
        version and digest, and the ``abstain`` threshold if there is one.

        Raises:
            ColumnNotFoundError: A text column, or a column in ``columns``, does not exist.
            ColumnTypeError: A text column is neither text nor binary (binary is read as text).
            ColumnClashError: A column to be added already exists.
        """
        for name in self.text_columns:
            find_text(schema, name)
        kept = [schema.field(index) for index in self._kept(schema)]
        added = self.added_fields()
        for name in sorted({one.name for one in kept} & {one.name for one in added}):
            raise ColumnClashError(f"the input already has a column {name!r}", hint="choose another --prefix")
        metadata = {
            **(schema.metadata or {}),
            MODEL_KEY: self.bundle.name,
            VERSION_KEY: self.bundle.version,
            DIGEST_KEY: self.bundle.digest,
        }
        metadata.pop(ABSTAIN_KEY, None)  # from an earlier run
        if self.abstain is not None:
            metadata[ABSTAIN_KEY] = str(self.abstain)
        return pa.schema([*kept, *added], metadata)

    def _shape(self, schema: pa.Schema) -> tuple[pa.Schema, list[int], list[Column]]:
        """The output schema, the indices of the kept input columns, and the text columns."""
        last = self._last
        if last is None or not schema.equals(last[0], check_metadata=True):
            output = self.output_schema(schema)
            texts = [find_text(schema, name) for name in self.text_columns]
            self._last = last = schema, output, self._kept(schema), texts
        return last[1:]

    def _kept(self, schema: pa.Schema) -> list[int]:
        if self.columns is None:
            return list(range(len(schema)))
        return [find_column(schema, name) for name in self.columns]

    def score(self, batch: pa.RecordBatch, profile: Profile | None = None) -> Scored:
        """Score a batch.

        Args:
            batch: The rows, with any schema that ``output_schema`` accepts.
            profile: Collects how long each stage takes.

        Returns:
            The same rows in the same order with the added columns, and the counts.

        Raises:
            InputError: As ``output_schema``.
        """
        clock = profile.clock() if profile else None
        if clock:
            clock.enter(OTHER)
        schema, kept, texts = self._shape(batch.schema)
        columns: list[pa.Array] = []
        tallies: dict[str, Tally] = {}
        words = unknown = 0
        for prefix, text in zip(self.prefixes, texts, strict=True):
            looked = self._look(text.texts(batch), clock)
            added, tallies[prefix] = self._added(looked, clock)
            columns += added
            words, unknown = words + looked.words, unknown + looked.unknown
        scored = Scored(
            pa.RecordBatch.from_arrays([*(batch.column(index) for index in kept), *columns], schema=schema),
            tally_columns(tallies),
            words,
            unknown if self.bundle.text.rules.unknown == "token" else None,
        )
        if clock:
            clock.rest()
        return scored

    def score_together(
        self, batches: Sequence[pa.RecordBatch], profile: Profile | None = None
    ) -> list[Scored]:
        """Score small batches as one large batch: same results, much faster.

        Args:
            batches: Each with any schema that ``output_schema`` accepts.
            profile: Collects how long each stage takes.

        Raises:
            InputError: As ``output_schema``.
        """
        clock = profile.clock() if profile else None
        if clock:
            clock.enter(OTHER)
        shapes = [self._shape(batch.schema) for batch in batches]
        columns: list[list[pa.Array]] = [[] for _ in batches]
        tallies: list[dict[str, Tally]] = [{} for _ in batches]
        for number, prefix in enumerate(self.prefixes):
            texts = [shape[2][number].texts(batch) for shape, batch in zip(shapes, batches, strict=True)]
            for index, (added, tally) in enumerate(self._score_arrays(texts, clock)):
                columns[index] += added
                tallies[index][prefix] = tally
        scored = []
        for batch, (schema, kept, _), added, found in zip(batches, shapes, columns, tallies, strict=True):
            arrays = [*(batch.column(index) for index in kept), *added]
            scored.append(Scored(pa.RecordBatch.from_arrays(arrays, schema=schema), tally_columns(found)))
        if clock:
            clock.rest()
        return scored

    def _score_arrays(
        self, arrays: Sequence[pa.Array], clock: Clock | None
    ) -> Iterator[tuple[list[pa.Array], Tally]]:
        """``_score_column`` for each array; all at once if they have the same type."""
        if not arrays:
            return
        if len({array.type for array in arrays}) > 1 or pa.types.is_dictionary(arrays[0].type):
            yield from (self._score_column(array, clock) for array in arrays)
            return
        together: pa.Array | pa.ChunkedArray = pa.chunked_array(arrays)
        if pa.types.is_string(arrays[0].type) or pa.types.is_large_string(arrays[0].type):
            together = pa.concat_arrays(arrays)  # processed in one go
        looked = self._look(together, clock)
        if clock:
            clock.enter(ATTACH)
        columns, best, blank = self._columns(looked.table, looked.lengths)
        start = 0
        for array in arrays:
            stop = start + len(array)
            cut = self.bundle.text.count_truncated(array) if looked.truncated else 0
            added = [column.slice(start, len(array)) for column in columns]
            yield added, self._tally(best[start:stop], blank[start:stop], cut)
            start = stop

    def _score_column(self, texts: pa.Array, clock: Clock | None) -> tuple[list[pa.Array], Tally]:
        """The added columns for one text column, and the counts."""
        return self._added(self._look(texts, clock), clock)

    def _look(self, texts: pa.Array | pa.ChunkedArray, clock: Clock | None) -> _ModelResults:
        """Run the model on texts."""
        tables: list[Probabilities] = []
        lengths: list[npt.NDArray[np.int64]] = []
        truncated = words = unknown = 0
        for encoded in self.bundle.text.portions(texts, clock):
            tables.append(self.session.probabilities(encoded, clock))
            lengths.append(encoded.lengths)
            truncated += encoded.truncated
            some, not_known = self.bundle.text.count_words(encoded.words)
            words, unknown = words + some, unknown + (not_known or 0)
        return _ModelResults(_joined(tables), _joined(lengths), truncated, words, unknown)

    def _added(self, looked: _ModelResults, clock: Clock | None) -> tuple[list[pa.Array], Tally]:
        """The added columns, and the counts."""
        if clock:
            clock.enter(ATTACH)
        if len(looked.lengths) == 1 and looked.lengths[0]:
            columns, label = self._columns_of_one(looked.table)
            labels = {name: int(index == label) for index, name in enumerate(self.labels)}
            return columns, Tally(1, labels, 0, looked.truncated)
        columns, best, blank = self._columns(looked.table, looked.lengths)
        return columns, self._tally(best, blank, looked.truncated)

    def _tally(self, best: npt.NDArray[np.intp], blank: npt.NDArray[np.bool_], truncated: int) -> Tally:
        """The counts, from each text's label index and which texts have none."""
        blanks = int(np.count_nonzero(blank))
        counts = np.bincount(best[~blank] if blanks else best, minlength=len(self._labels)).tolist()
        return Tally(len(best), dict(zip(self.labels, counts, strict=True)), blanks, truncated)

    def added_columns(self, table: Probabilities, lengths: npt.NDArray[np.int64]) -> list[pa.Array]:
        """The columns that scoring adds for one text column, in the order of ``added_fields``.

        Args:
            table: ``float32[rows, classes]``, from ``Session.probabilities``.
            lengths: ``int64[rows]``, tokens per row; rows without tokens are null.
        """
        return self._added(_ModelResults(table, lengths, 0), None)[0]

    def _columns(
        self, table: Probabilities, lengths: npt.NDArray[np.int64]
    ) -> tuple[list[pa.Array], npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """The added columns, the index of each row's label, and which rows have none."""
        blank = lengths == 0
        nulls = blank if blank.any() else None
        best, highest = table.argmax(axis=1), table.max(axis=1)
        if self.abstain is not None:
            best[highest < np.float32(self.abstain)] = len(self.bundle.labels)  # blanks are NaN: not below
        labels = self._labels.take(pa.array(best, pa.int32(), mask=nulls))
        shares = [pa.array(column, mask=nulls) for column in (highest, *np.ascontiguousarray(table.T))]
        if self.value:
            shares.append(pa.array(self._values(table), mask=nulls))
        return [labels, *shares], best, blank

    def _columns_of_one(self, table: Probabilities) -> tuple[list[pa.Array], int]:
        """The same for a single row that has a label, by slicing existing arrays, in half the time."""
        best = int(table[0].argmax())
        shares = pa.array(table[0])
        columns = [shares.slice(index, 1) for index in (best, *range(len(shares)))]
        if self.abstain is not None and table[0, best] < np.float32(self.abstain):
            best = len(self.bundle.labels)
        if self.value:
            columns.append(pa.array(self._values(table)))
        return [self._labels.slice(best, 1), *columns], best

    def _values(self, table: Probabilities) -> Probabilities:
        """``float32[rows]``: P(positive) − P(negative)."""
        labels = self.bundle.labels
        return table[:, labels.index(POSITIVE)] - table[:, labels.index(NEGATIVE)]

    def score_stream(
        self, batches: Iterable[pa.RecordBatch], threads: int, profile: Profile | None = None
    ) -> Iterator[Scored]:
        """Score a stream of batches in ``threads`` threads; results come in order.

        At most ``threads + 3`` batches are in flight at a time, and large batches only up to 64 MiB in
        total, so memory is bounded even if the results are consumed slowly.

        Args:
            batches: The rows, with any schema that ``output_schema`` accepts.
            threads: 1 uses the calling thread; higher values use extra threads, up to one per CPU.
            profile: Collects how long each stage takes, including reading from ``batches``.

        Raises:
            InputError: As ``output_schema``; also any error that ``batches`` raises.
        """
        yield from in_order(batches, self.score, threads, profile, size_of=lambda batch: int(batch.nbytes))


def _joined(portions: list[npt.NDArray[Number]]) -> npt.NDArray[Number]:
    return portions[0] if len(portions) == 1 else np.concatenate(portions)
