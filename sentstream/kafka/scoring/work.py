"""Decode and score records: their results, their dead letters, and the offsets to commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentstream.drift.distribution import Distribution
from sentstream.errors import MessageDecodeError, MessageError
from sentstream.kafka.clients.api import Headers, Partition, Record
from sentstream.kafka.dead_letters.letter import DeadLetter
from sentstream.kafka.messages.codec import Codec
from sentstream.kafka.scoring.process import Scoring
from sentstream.kafka.watch.events import Sample
from sentstream.scorer.tally import Tally

_SAMPLES = 5  # tweets of a batch for observers to display


class Unreadable(NamedTuple):
    """An unreadable record: a ``Record`` without its contents."""

    topic: str
    partition: int
    offset: int
    next_offset: int
    reason: str
    timestamp: int = -1
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()


Item: TypeAlias = Record | Unreadable


@dataclass(frozen=True)
class Work:
    """A batch of records and their results.

    Attributes:
        records: The records that were scored or are passed on, in the order in which they were read.
        texts: Their n texts; None for a tombstone or a null text.
        scored: n rows with the scorer's columns; null labels if there is no text.
        dead: The dead letters of all other records.
        offsets: For each partition, the offset after the last record of the batch.
        tally: The tally of ``records``, in which tombstones count as unlabeled.
        seen: The distribution of the model's outputs, for drift.
        tombstones: The number of ``records`` without a value.
        seconds: Time of text path and graph.
        arrived: When the first record arrived, on the monotonic clock.
        times: The timestamps of all records, dead ones included, in ms since 1970 (UTC), -1 if none.
    """

    records: Sequence[Record]
    texts: Sequence[str | None]
    scored: pa.RecordBatch
    dead: Sequence[DeadLetter]
    offsets: dict[Partition, int]
    tally: Tally
    seen: Distribution
    tombstones: int
    seconds: float
    arrived: float
    times: NDArray[np.int64]

    @property
    def newest(self) -> int:
        """The largest timestamp, in ms since 1970 (UTC), or -1."""
        return int(self.times.max(initial=-1))

    def samples(self) -> list[Sample]:
        """Return a few of the scored tweets."""
        labels, scores = self.scored.column(0), self.scored.column(1)
        found: list[Sample] = []
        for index in range(len(self.texts) - 1, -1, -1):
            text = self.texts[index]
            if text is not None and labels[index].is_valid:
                found.append(Sample(text, labels[index].as_py(), scores[index].as_py()))
                if len(found) == _SAMPLES:
                    break
        return found


class Worker:
    """Decodes and scores; may be called from another thread than the consumer's.

    Args:
        scoring: Scores texts.
        codec: Finds the text in a value.
    """

    def __init__(self, scoring: Scoring, codec: Codec) -> None:
        self._scoring, self._codec = scoring, codec

    def __call__(self, items: Sequence[Item], arrived: float) -> Work:
        """Decode and score some records.

        Args:
            items: The records; those of a partition in the order of their offsets.
            arrived: When the first of them arrived, on the monotonic clock.
        """
        offsets: dict[Partition, int] = {}
        records: list[Record] = []
        dead: list[DeadLetter] = []
        for item in items:
            if isinstance(item, Unreadable):
                offsets[Partition(item.topic, item.partition)] = item.next_offset
                error = MessageDecodeError(f"the record cannot be read: {item.reason}")
                error.stage = "read"
                dead.append(DeadLetter(item, error))
                continue
            offsets[Partition(item.topic, item.partition)] = item.offset + 1
            bad = _bad_header(item.headers) if item.headers else None
            if bad is None:
                records.append(item)
            else:
                dead.append(DeadLetter(item, bad))
        read = iter(self._codec.texts([record.value for record in records if record.value is not None]))
        texts: list[str | None] = []
        kept: list[Record] = []
        for record in records:
            text = None if record.value is None else next(read)
            if isinstance(text, MessageError):
                dead.append(DeadLetter(record, text))
            else:
                kept.append(record)
                texts.append(text)
        tombstones = sum(record.value is None for record in kept)
        started = time.perf_counter()
        scored = self._scoring.score(pa.array(texts, pa.string()))
        seconds = time.perf_counter() - started
        times = np.fromiter((item.timestamp for item in items), np.int64, len(items))
        return Work(
            kept,
            texts,
            scored.batch,
            dead,
            offsets,
            scored.tally,
            scored.distribution,
            tombstones,
            seconds,
            arrived,
            times,
        )


def _bad_header(headers: Headers) -> MessageError | None:
    for name, _ in headers:
        if not name.isascii():
            try:
                str.encode(name)  # not ``name.encode``, which a client may have overridden
            except UnicodeEncodeError:
                shown = str.encode(name, errors="surrogateescape").decode("utf-8", "backslashreplace")
                return MessageDecodeError(f"the name of header {shown[:40]!r} is not UTF-8")
    return None
