"""Summarize a batch for observers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from sentstream.kafka.dead_letters.letter import DeadLetter
from sentstream.kafka.scoring.work import Work
from sentstream.kafka.watch.events import Committed


def summary(work: Work, refused: Sequence[DeadLetter]) -> Committed:
    """Return the event for a committed batch; results that the broker refused count as dead letters."""
    labels, tombstones = dict(work.tally.labels), work.tombstones
    unlabeled = work.tally.unlabeled - tombstones
    if refused:
        index_of = {id(record): index for index, record in enumerate(work.records)}
        for letter in refused:
            label = work.scored.column(0)[index_of[id(letter.record)]].as_py()
            if letter.record.value is None:
                tombstones -= 1
            elif label is None:
                unlabeled -= 1
            else:
                labels[label] -= 1
    return Committed(
        labels,
        unlabeled,
        tombstones,
        work.tally.truncated,
        by_class([*work.dead, *refused]),
        score_seconds=work.seconds,
        batch_seconds=time.monotonic() - work.arrived,
        newest=work.newest,
        times=work.times,
        offsets=work.offsets,
        samples=work.samples(),
        seen=work.seen,
    )


def by_class(letters: Sequence[DeadLetter]) -> dict[str, int]:
    return dict(Counter(type(letter.error).__name__ for letter in letters))
