"""Calls that come from several threads at once, scored as one.

An engine that works in small vectors calls a function for a few thousand texts at a time, from each of its
threads. There are so few rows of one length in them that what the graph costs by itself outweighs them, and
as many threads again would be too many. So a call makes ids of its texts in its own thread, and then those
that are under way are scored together: one of them takes all that wait, and the model's threads share the
rows, those of one length after those of another. Who takes them waits for nobody but the calls that are
making ids already; what each gets is what it would have got alone, to the bit.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sentstream.engines.results import result_fields, results
from sentstream.model import BATCH_ROWS, Model
from sentstream.session import Each, Probabilities
from sentstream.text import Encoded

#: Calls that are remembered, one for each thread of a large machine, and how large they may be.
_RECENT, _RECENT_BYTES = 64, 1 << 20


@dataclass(frozen=True)
class _Answer:
    """What some texts got."""

    texts: pa.Array
    found: pa.StructArray


@dataclass
class _Call:
    """Texts of one call: their ids, then their probabilities or what went wrong."""

    encoded: Encoded
    table: Probabilities | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.table is not None or self.error is not None


class Together:
    """Scores columns of texts; to be called from several threads at once.

    Args:
        model: The model, whose threads share the work.
        abstain: Rows whose score is below this get the label ``uncertain``.

    Raises:
        UsageError: ``abstain`` is not above 0 and up to 1, or the model has a label ``uncertain``.
    """

    def __init__(self, model: Model, abstain: float | None = None) -> None:
        self._model, self._scorer = model, model.scorer(abstain=abstain)
        #: What there is of each text.
        self.fields = result_fields(model.labels)
        self._changed = threading.Condition()
        self._coming, self._busy = 0, False
        self._waiting: list[_Call] = []
        self._pool: ThreadPoolExecutor | None = None
        self._recent: deque[_Answer] = deque(maxlen=_RECENT)

    def labels(self, texts: pa.Array | pa.ChunkedArray) -> pa.Array:
        """n texts -> n labels."""
        return self.results(texts).field("label")

    def scores(self, texts: pa.Array | pa.ChunkedArray) -> pa.Array:
        """n texts -> n probabilities, each that of its label."""
        return self.results(texts).field("score")

    def results(self, texts: pa.Array | pa.ChunkedArray) -> pa.StructArray:
        """n texts -> n structs of ``fields``; null where there is nothing to label.

        Those that were asked for lately are not scored again: label and score of a column are two calls.

        Raises:
            ColumnTypeError: Not text.
        """
        plain = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        for one in tuple(self._recent):
            if one.texts.type == plain.type and one.texts.equals(plain):
                return one.found
        found = self._score_texts(plain)
        if plain.nbytes <= _RECENT_BYTES:
            # A copy: the engine may want the memory back, which is its own.
            self._recent.append(_Answer(pa.concat_arrays([plain, plain[:0]]), found))
        return found

    def _score_texts(self, texts: pa.Array) -> pa.StructArray:
        with self._changed:
            self._coming += 1
        try:
            call = _Call(self._model.bundle.text.encode(texts))
        except BaseException:
            self._arrived(None)
            raise
        self._arrived(call)
        columns = self._scorer.added_columns(self._probabilities(call), call.encoded.lengths)
        return results(columns, self.fields)

    def _arrived(self, call: _Call | None) -> None:
        with self._changed:
            self._coming -= 1
            if call is not None:
                self._waiting.append(call)
            self._changed.notify_all()

    def _probabilities(self, call: _Call) -> Probabilities:
        """Wait for them, or be the one that works them out for all who wait."""
        with self._changed:
            self._changed.wait_for(lambda: call.done or (not self._busy and self._complete()))
            if not call.done:
                group, self._waiting, self._busy = self._waiting, [], True
        if not call.done:
            try:
                self._score(group)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
        if call.error is not None:
            raise call.error
        assert call.table is not None
        return call.table

    def _complete(self) -> bool:
        """Whether there is nobody to wait for, or enough is there."""
        return not self._coming or sum(len(call.encoded) for call in self._waiting) >= BATCH_ROWS

    def _score(self, group: list[_Call]) -> None:
        try:
            table = self._model.session.probabilities(
                join([call.encoded for call in group]), each=self._each()
            )
        except BaseException as error:
            for call in group:
                call.error = error
            if not isinstance(error, Exception):
                raise
            return
        start = 0
        for call in group:
            call.table = table[start : start + len(call.encoded)]
            start += len(call.encoded)

    def _each(self) -> Each:
        if self._model.threads == 1:
            return map
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._model.threads, "sentstream")
        return self._pool.map


def join(parts: list[Encoded]) -> Encoded:
    """The ids of rows, one part after the other.

    >>> one = Encoded(np.array([0, 2]), np.array([7, 8], np.int32), None)
    >>> join([one, one]).offsets.tolist()
    [0, 2, 4]
    """
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.words) for part in parts)])
    offsets = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=False)]
    pairs = [part.pairs for part in parts if part.pairs is not None]
    return Encoded(
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        np.concatenate([part.words for part in parts]),
        np.concatenate(pairs) if pairs else None,
        sum(part.truncated for part in parts),
    )
