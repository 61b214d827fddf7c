"""A record batch of tweets -> the same batch with label columns.

The policy, for files, streams and clusters alike: a null text, an empty one and one of white space
only get null labels; a text longer than the cap is cut there and counted. Nothing shifts: every row
stays where it is, and its result depends on its own text only. Whoever asks for it gets the label
``uncertain`` in place of one that the model is not sure enough of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.bundle import Bundle
from sentstream.errors import ColumnClashError, UsageError
from sentstream.profile import ATTACH, OTHER, RESULT, Clock, Profile
from sentstream.session import Probabilities, Session, usable_cpus
from sentstream.text.columns import Column, find_column, find_text

Number = TypeVar("Number", bound=np.number[Any])

TEXT_COLUMN = "text"
PREFIX = "sentiment"
#: The label of a row whose highest probability is below ``abstain``.
UNCERTAIN = "uncertain"
#: Batches that wait for a thread, so that none is idle while whoever takes the results writes a row group.
_AHEAD = 2
#: What the batches under way hold, but for the last: a few large rows are as much as many small ones.
_UNDER_WAY_BYTES = 64 << 20
#: Keys of the output's schema metadata.
MODEL_KEY, VERSION_KEY, DIGEST_KEY, ABSTAIN_KEY = (
    b"sentstream.model",
    b"sentstream.model_version",
    b"sentstream.model_digest",
    b"sentstream.abstain",
)


@dataclass(frozen=True)
class Tally:
    """What became of some rows.

    Attributes:
        rows: All of them.
        labels: For each label, how many rows got it.
        unlabeled: Rows with a null label: null, empty or white space only.
        truncated: Rows that were cut at the character cap.
    """

    rows: int
    labels: dict[str, int]
    unlabeled: int
    truncated: int

    def __add__(self, other: Tally) -> Tally:
        names = dict.fromkeys((*self.labels, *other.labels))
        return Tally(
            self.rows + other.rows,
            {name: self.labels.get(name, 0) + other.labels.get(name, 0) for name in names},
            self.unlabeled + other.unlabeled,
            self.truncated + other.truncated,
        )


@dataclass(frozen=True)
class Scored:
    """A scored batch and what became of its rows."""

    batch: pa.RecordBatch
    tally: Tally


class Scorer:
    """Adds label columns to record batches; safe to call from several threads at once.

    Args:
        bundle: The model.
        session: Its open graph.
        text_column: The column that holds the tweets, or the path of a field in structs, as ``data.text``.
        prefix: Name of the label column, and what the names of the other added columns begin with.
        columns: Columns of the input to keep, in this order; None keeps all.
        abstain: Rows whose score is below this get the label ``uncertain``; score and probabilities stay.
            It is compared as what a score is, a float32: what is written as 0.7 is not below 0.7.

    Attributes:
        labels: What the label column may hold.

    Raises:
        UsageError: ``abstain`` is not above 0 and up to 1, or the model has a label ``uncertain`` of its
            own; an empty prefix, a duplicate column.
    """

    def __init__(
        self,
        bundle: Bundle,
        session: Session,
        *,
        text_column: str = TEXT_COLUMN,
        prefix: str = PREFIX,
        columns: Sequence[str] | None = None,
        abstain: float | None = None,
    ) -> None:
        check_abstain(abstain)
        if abstain is not None and UNCERTAIN in bundle.labels:
            raise UsageError(f"the model has a label {UNCERTAIN!r} of its own", hint="leave out abstain")
        if not prefix:
            raise UsageError("the prefix is empty", hint="the label column needs a name")
        if columns is not None and len(set(columns)) < len(columns):
            raise UsageError(f"duplicate column in {', '.join(columns)}", hint="name each once")
        self.bundle, self.session = bundle, session
        self.text_column, self.prefix, self.columns = text_column, prefix, columns
        self.abstain = None if abstain is None else float(abstain)
        self.labels = bundle.labels if abstain is None else (*bundle.labels, UNCERTAIN)
        #: Makes another one like it, where a model made this one: what a pickle holds.
        self.made_by: Callable[[], Scorer] | None = None
        self._labels = pa.array(self.labels, pa.string())
        #: The last input's schema, the output's, where the columns that stay are, and where the text is:
        #: batches of one schema come in rows.
        self._last: tuple[pa.Schema, pa.Schema, list[int], Column] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.made_by is None:
            raise TypeError("only a scorer of Model.scorer can be pickled or copied")
        return self.made_by, ()

    def added_fields(self) -> list[pa.Field]:
        """The fields that scoring adds: ``{prefix}``, ``{prefix}_score``, ``{prefix}_prob_{label}`` …"""
        probabilities = [f"{self.prefix}_prob_{label}" for label in self.bundle.labels]
        return [
            pa.field(self.prefix, pa.string()),
            *(pa.field(name, pa.float32()) for name in (f"{self.prefix}_score", *probabilities)),
        ]

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of a scored batch; also the check that a batch of this schema can be scored.

        Every kept field stays as it is, with its metadata; the schema's metadata gets the model's
        name, version and digest, and the threshold of ``uncertain`` if there is one.

        Raises:
            ColumnNotFoundError: No text column, or none of a name in ``columns``.
            ColumnTypeError: The text column holds neither text nor bytes, which are taken for text.
            ColumnClashError: A column that would be added already exists.
        """
        find_text(schema, self.text_column)
        kept = [schema.field(place) for place in self._kept(schema)]
        added = self.added_fields()
        for name in sorted({field.name for field in kept} & {field.name for field in added}):
            raise ColumnClashError(f"the input has a column {name!r} already", hint="choose another --prefix")
        metadata = {
            **(schema.metadata or {}),
            MODEL_KEY: self.bundle.name,
            VERSION_KEY: self.bundle.version,
            DIGEST_KEY: self.bundle.digest,
        }
        metadata.pop(ABSTAIN_KEY, None)  # an earlier run's
        if self.abstain is not None:
            metadata[ABSTAIN_KEY] = str(self.abstain)
        return pa.schema([*kept, *added], metadata)

    def _shape(self, schema: pa.Schema) -> tuple[pa.Schema, list[int], Column]:
        """The output's schema, and the places of the input's columns that stay, and of the text."""
        last = self._last
        if last is None or not schema.equals(last[0], check_metadata=True):
            output = self.output_schema(schema)
            self._last = last = schema, output, self._kept(schema), find_text(schema, self.text_column)
        return last[1:]

    def _kept(self, schema: pa.Schema) -> list[int]:
        if self.columns is None:
            return list(range(len(schema)))
        return [find_column(schema, name) for name in self.columns]

    def score(self, batch: pa.RecordBatch, profile: Profile | None = None) -> Scored:
        """Score a batch.

        Args:
            batch: The rows, in any schema that ``output_schema`` accepts.
            profile: Where to tell what the time went into.

        Returns:
            The same rows in the same order with the added columns, and the counts.

        Raises:
            InputError: As ``output_schema``.
        """
        clock = profile.clock() if profile else None
        if clock:
            clock.enter(OTHER)
        schema, kept, text = self._shape(batch.schema)
        tables: list[Probabilities] = []
        lengths: list[npt.NDArray[np.int64]] = []
        truncated = 0
        for encoded in self.bundle.text.portions(text.texts(batch), clock):
            tables.append(self.session.probabilities(encoded, clock))
            lengths.append(encoded.lengths)
            truncated += encoded.truncated
        if clock:
            clock.enter(ATTACH)
        added, counts, blanks = self._columns(_joined(tables), _joined(lengths))
        scored = Scored(
            pa.RecordBatch.from_arrays([*(batch.column(place) for place in kept), *added], schema=schema),
            Tally(len(batch), dict(zip(self.labels, counts, strict=True)), blanks, truncated),
        )
        if clock:
            clock.rest()
        return scored

    def _columns(
        self, table: Probabilities, lengths: npt.NDArray[np.int64]
    ) -> tuple[list[pa.Array], list[int], int]:
        """The added columns; how many rows got each label, and how many none."""
        if len(lengths) == 1 and lengths[0]:
            return self._columns_of_one(table)
        blank = lengths == 0
        blanks = int(np.count_nonzero(blank))
        nulls = blank if blanks else None
        best, highest = table.argmax(axis=1), table.max(axis=1)
        if self.abstain is not None:
            best[highest < np.float32(self.abstain)] = len(self.bundle.labels)  # blanks are NaN: not below
        labels = self._labels.take(pa.array(best, pa.int32(), mask=nulls))
        shares = [pa.array(column, mask=nulls) for column in (highest, *np.ascontiguousarray(table.T))]
        counts = np.bincount(best[~blank] if blanks else best, minlength=len(self._labels)).tolist()
        return [labels, *shares], counts, blanks

    def _columns_of_one(self, table: Probabilities) -> tuple[list[pa.Array], list[int], int]:
        """The same of a single row, by slices of what is there, in half of the time."""
        best = int(table[0].argmax())
        shares = pa.array(table[0])
        columns = [shares.slice(place, 1) for place in (best, *range(len(shares)))]
        if self.abstain is not None and table[0, best] < np.float32(self.abstain):
            best = len(self.bundle.labels)
        counts = [int(place == best) for place in range(len(self._labels))]
        return [self._labels.slice(best, 1), *columns], counts, 0

    def score_stream(
        self, batches: Iterable[pa.RecordBatch], threads: int, profile: Profile | None = None
    ) -> Iterator[Scored]:
        """Score a stream of batches in ``threads`` threads, in order.

        No more than ``threads + 3`` batches are under way at a time, and of large ones no more than hold
        64 MiB together, so memory stays bounded however slowly the results are taken.

        Args:
            batches: The rows, in any schema that ``output_schema`` accepts.
            threads: 1 is the calling thread; more are threads beside it, up to one for each CPU.
            profile: Where to tell what the time went into, that of ``batches`` with it.

        Raises:
            InputError: As ``output_schema``; and whatever ``batches`` raises.
        """
        clock = profile.clock() if profile else None
        if profile:
            batches = profile.reading(batches)
        if threads == 1:
            yield from (self.score(batch, profile) for batch in batches)
            return
        waiting: deque[Future[Scored]] = deque()
        sizes: deque[int] = deque()
        # More threads than CPUs would take memory, and no less time.
        threads = min(threads, usable_cpus())
        pool = ThreadPoolExecutor(threads, "sentstream")
        try:
            for batch in batches:
                waiting.append(pool.submit(self.score, batch, profile))
                sizes.append(batch.nbytes)
                del batch
                while len(waiting) > threads + _AHEAD or (len(waiting) > 1 and sum(sizes) > _UNDER_WAY_BYTES):
                    sizes.popleft()
                    yield _result(waiting, clock)
            while waiting:
                yield _result(waiting, clock)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _joined(portions: list[npt.NDArray[Number]]) -> npt.NDArray[Number]:
    return portions[0] if len(portions) == 1 else np.concatenate(portions)


def _result(waiting: deque[Future[Scored]], clock: Clock | None) -> Scored:
    """The next batch, as soon as it is there."""
    if clock:
        clock.enter(RESULT)
    scored = waiting.popleft().result()
    if clock:
        clock.enter(OTHER)
    return scored


def check_abstain(below: float | None) -> None:
    """Find out whether a threshold of ``uncertain`` is one; None, for none, is.

    Raises:
        UsageError: Not above 0 and up to 1.
    """
    if below is not None and not 0 < below <= 1:
        raise UsageError(
            f"abstain is {below}, not above 0 and up to 1", hint="a probability: rows below it are uncertain"
        )
