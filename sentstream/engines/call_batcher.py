"""Score the texts of concurrent calls together.

An engine with small vectors calls a function for a few thousand texts at a time, from each of its threads. So
few texts have few rows of any one length, so the graph's fixed costs dominate, and tokenizing is slower per
text. Therefore the texts of waiting calls are tokenized together, and when none are left to tokenize, all are
scored together. The calling threads do this work, and none waits while any call has work to do. Scoring
distributes jobs, each with rows of one length, over as many threads as the model may use. Each call gets the
same bits as if it had been scored alone.
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

#: Maximum number and bytes of texts that are tokenized together.
_ROWS, _BYTES = 8192, 2 << 20
#: Number of recent calls that are cached, enough for the threads of a large machine; their maximum size.
_RECENT, _RECENT_BYTES = 64, 1 << 20


@dataclass(frozen=True)
class _Answer:
    """Some texts and their results."""

    texts: pa.Array
    found: pa.StructArray


@dataclass(eq=False)
class _Call:
    """The texts of one call, and their probabilities and token counts, or the error."""

    texts: pa.Array
    found: tuple[Probabilities, npt.NDArray[np.int64]] | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.found is not None or self.error is not None


@dataclass(frozen=True)
class _Group:
    """Some calls, and the ids of all their texts."""

    calls: list[_Call]
    encoded: Encoded


class CallBatcher:
    """Scores columns of texts, for concurrent calls from several threads.

    Args:
        model: The model; its number of threads limits the parallel work.
        abstain: Rows with a score below this value get the label ``uncertain``.

    Raises:
        UsageError: ``abstain`` is not in (0, 1], or the model already has a label ``uncertain``.
    """

    def __init__(self, model: Model, abstain: float | None = None) -> None:
        self._model, self._scorer = model, model.scorer(abstain=abstain)
        #: The result fields of each text.
        self.fields = result_fields(model.labels)
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._encoded: list[_Group] = []
        self._encoding, self._scoring = 0, False
        self._pool: ThreadPoolExecutor | None = None
        self._recent: deque[_Answer] = deque(maxlen=_RECENT)

    def labels(self, texts: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The labels of n texts, ``string[n]``."""
        return self.results(texts).field("label")

    def scores(self, texts: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The scores of n texts, ``float32[n]``: the highest probability of each."""
        return self.results(texts).field("score")

    def results(self, texts: pa.Array | pa.ChunkedArray) -> pa.StructArray:
        """The results of n texts, n structs of ``fields``; null if the label is null.

        Recent results are cached, because the label and the score of a column are two calls.

        Raises:
            ColumnTypeError: The column does not hold text.
        """
        plain = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        for one in tuple(self._recent):
            if one.texts.type == plain.type and one.texts.equals(plain):
                return one.found
        found = self._score_texts(plain)
        if plain.nbytes <= _RECENT_BYTES:
            # A copy, because the engine owns the memory and may reuse it.
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
        """Wait for the next piece of work for any of the calls; None if this call is done."""
        with self._changed:
            while not call.done:
                step = self._claimed()
                if step is not None:
                    self._changed.notify()  # there may be more work
                    return step
                self._changed.wait()
        return None

    def _claimed(self) -> Callable[[], None] | None:
        """Claim the next piece of work that no thread does yet; None if there is none now."""
        full = sum(len(group.encoded) for group in self._encoded) >= BATCH_ROWS
        if self._waiting and not full and self._encoding < self._model.threads:
            self._encoding += 1
            return partial(self._encode, self._take())
        if self._encoded and not self._scoring and (full or not (self._waiting or self._encoding)):
            groups, self._encoded, self._scoring = self._encoded, [], True
            return partial(self._score, groups)
        return None

    def _take(self) -> list[_Call]:
        """Take the calls that have waited longest, as many as are tokenized together."""
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
        groups: list[_Group] = []
        try:
            texts = [call.texts for call in calls]
            together = texts[0] if len(texts) == 1 else pa.concat_arrays(texts)
            groups.append(_Group(calls, self._model.bundle.text.encode(together)))
        except BaseException as error:
            _fail(calls, error)
        finally:
            with self._changed:
                self._encoding -= 1
                self._encoded += groups
                if not groups:
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
        """Run jobs in this thread and in as many others as the model may use."""
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
            for _ in left:  # if a job failed, discard the rest
                pass
            for helper in helpers:
                if not helper.cancel():  # already started
                    helper.result()
        return ()


def _fail(calls: list[_Call], error: BaseException) -> None:
    """Report an error to calls; raise it here too if it is an interrupt."""
    for call in calls:
        call.error = error
    if not isinstance(error, Exception):
        raise error


def join(parts: list[Encoded]) -> Encoded:
    """Concatenate the ids of several parts.

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
