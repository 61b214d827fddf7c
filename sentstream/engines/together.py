"""Calls that come from several threads at once, scored as one.

An engine that works in small vectors calls a function for a few thousand texts at a time, from each of its
threads. There are so few rows of one length in them that what the graph costs by itself outweighs them, and
making ids of so few costs more, too. So the texts of calls that wait become ids together, and when none are
left all are scored together: the threads that call do this, and none waits while there is anything to do for
any of the calls. The rows of one length go after those of another to the thread that scores and to as many
beside it as the model may use. What each call gets is what it would have got alone, to the bit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.engines.results import result_fields, results
from sentstream.model import BATCH_ROWS, Model
from sentstream.session import Job, Probabilities
from sentstream.text import Encoded

#: Texts that become ids together: how many, and of how many bytes.
_ROWS, _BYTES = 8192, 2 << 20
#: Calls that are remembered, one for each thread of a large machine, and how large they may be.
_RECENT, _RECENT_BYTES = 64, 1 << 20


@dataclass(frozen=True)
class _Answer:
    """What some texts got."""

    texts: pa.Array
    found: pa.StructArray


@dataclass(eq=False)
class _Call:
    """Texts of one call; their probabilities and token counts, or what went wrong."""

    texts: pa.Array
    found: tuple[Probabilities, npt.NDArray[np.int64]] | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.found is not None or self.error is not None


@dataclass(frozen=True)
class _Group:
    """Calls, and the ids of all their texts."""

    calls: list[_Call]
    encoded: Encoded


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
        self._waiting: deque[_Call] = deque()
        self._encoded: list[_Group] = []
        self._encoding, self._scoring = 0, False
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
        call = _Call(texts)
        with self._changed:
            self._waiting.append(call)
        try:
            while (step := self._next_step(call)) is not None:
                step()
        finally:
            with self._changed:
                if call in self._waiting:  # interrupted
                    self._waiting.remove(call)
                self._changed.notify()
        if call.error is not None:
            raise call.error
        assert call.found is not None
        return results(self._scorer.added_columns(*call.found), self.fields)

    def _next_step(self, call: _Call) -> Callable[[], None] | None:
        """Wait for what can be done next for any of the calls; None when this one has what it asked for."""
        with self._changed:
            while not call.done:
                step = self._claimed()
                if step is not None:
                    self._changed.notify()  # there may be more
                    return step
                self._changed.wait()
        return None

    def _claimed(self) -> Callable[[], None] | None:
        """What is to be done now and nobody does yet."""
        full = sum(len(group.encoded) for group in self._encoded) >= BATCH_ROWS
        if self._waiting and not full and self._encoding < self._model.threads:
            self._encoding += 1
            return partial(self._encode, self._take())
        if self._encoded and not self._scoring and (full or not (self._waiting or self._encoding)):
            groups, self._encoded, self._scoring = self._encoded, [], True
            return partial(self._score, groups)
        return None

    def _take(self) -> list[_Call]:
        """The calls that have waited longest, as many as become ids together."""
        calls = [self._waiting.popleft()]
        kind, rows, size = calls[0].texts.type, len(calls[0].texts), calls[0].texts.nbytes
        while self._waiting and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            texts = self._waiting[0].texts
            rows, size = rows + len(texts), size + texts.nbytes
            if texts.type != kind or rows > _ROWS or size > _BYTES:
                break
            calls.append(self._waiting.popleft())
        return calls

    def _encode(self, calls: list[_Call]) -> None:
        made: list[_Group] = []
        try:
            texts = [call.texts for call in calls]
            together = texts[0] if len(texts) == 1 else pa.concat_arrays(texts)
            made.append(_Group(calls, self._model.bundle.text.encode(together)))
        except BaseException as error:
            _fail(calls, error)
        finally:
            with self._changed:
                self._encoding -= 1
                self._encoded += made
                if not made:
                    self._changed.notify_all()

    def _score(self, groups: list[_Group]) -> None:
        calls = [call for group in groups for call in group.calls]
        try:
            encoded = join([group.encoded for group in groups])
            table, lengths = self._model.session.probabilities(encoded, each=self._each), encoded.lengths
            start = 0
            for call in calls:
                stop = start + len(call.texts)
                call.found = table[start:stop], lengths[start:stop]
                start = stop
        except BaseException as error:
            _fail(calls, error)
        finally:
            with self._changed:
                self._scoring = False
                self._changed.notify_all()

    def _each(self, work: Callable[[Job], None], jobs: Iterable[Job]) -> Iterable[None]:
        """Do jobs in this thread and as many more as the model may use."""
        left = iter(list(jobs))

        def some() -> None:
            for job in left:
                work(job)

        if self._pool is None and self._model.threads > 1:
            self._pool = ThreadPoolExecutor(self._model.threads - 1, "sentstream")
        helpers = [self._pool.submit(some) for _ in range(self._model.threads - 1)] if self._pool else []
        try:
            some()
        finally:
            for _ in left:  # where one failed
                pass
            for helper in helpers:
                if not helper.cancel():  # those that did not come in time
                    helper.result()
        return ()


def _fail(calls: list[_Call], error: BaseException) -> None:
    """Tell calls what went wrong; whoever was interrupted is, too."""
    for call in calls:
        call.error = error
    if not isinstance(error, Exception):
        raise error


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
