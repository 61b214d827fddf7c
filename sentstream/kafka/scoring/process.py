"""The model for the loop: in this process, or in one of its own.

A Kafka client in Python and ONNX Runtime in one process wait for each other's turn at the interpreter
lock more than they work: with kafka-python on two cores, a process apart makes the loop half again as
fast. It gets Arrow buffers through a pipe and gives such back; the same code scores, so the same bits.
It ends with its parent, however that ends: the pipe closes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import pyarrow as pa

from sentstream.cuda.placement import Placement
from sentstream.drift.held_out import HeldOut
from sentstream.errors import SentstreamError
from sentstream.model import Model, ModelOptions, open_model
from sentstream.scorer import Scored
from sentstream.scorer.added_columns import PREFIX, TEXT_COLUMN
from sentstream.scorer.tally import Tally

_PIECE = 1024  # rows that are worth a thread of their own
_PATIENCE = 5.0  # seconds for the process to end
_TEXTS = pa.schema([pa.field(TEXT_COLUMN, pa.string())])


@dataclass(frozen=True)
class About:
    """What scores.

    Attributes:
        name, version, digest: The model's.
        labels: Its labels.
        provider: What really runs it.
        threads: Threads that share a large batch.
        fallback: Why the CPU runs it, where CUDA was to be had.
        placement: On CUDA, what ran each node.
        schema: The schema of what ``Scoring.score`` gives, with the model's stamp as metadata.
        pid: The id of the process that scores.
        reference: What the model makes of rows that were held out of its training, where its bundle says it.
    """

    name: str
    version: str
    digest: str
    labels: tuple[str, ...]
    provider: str
    threads: int
    fallback: str | None
    placement: Placement | None
    schema: pa.Schema
    pid: int
    reference: HeldOut | None


class Scoring(Protocol):
    """Scores texts."""

    @property
    def about(self) -> About:
        """What scores."""

    def score(self, texts: pa.Array) -> Scored:
        """Score n texts: n rows of the scorer's columns only, and the tally."""


class Here:
    """Scores in the calling thread, and in more for a large batch.

    Args:
        model: The model.
        prefix: What the names of the columns begin with.
        abstain: What scores below this gets the label ``uncertain``.
    """

    def __init__(self, model: Model, prefix: str = PREFIX, abstain: float | None = None) -> None:
        self._scorer = model.scorer(text_column=TEXT_COLUMN, prefix=prefix, columns=[], abstain=abstain)
        schema = self._scorer.output_schema(_TEXTS)
        self.about = About(
            model.name,
            model.version,
            model.digest,
            model.labels,
            model.provider,
            model.threads,
            model.fallback,
            model.placement,
            schema,
            os.getpid(),
            model.bundle.reference,
        )

    def score(self, texts: pa.Array) -> Scored:
        batch = pa.RecordBatch.from_arrays([texts], schema=_TEXTS)
        threads = min(self.about.threads, max(1, len(batch) // _PIECE))
        if threads == 1:
            return self._scorer.score(batch)
        size = -(-len(batch) // threads)
        pieces = [batch.slice(start, size) for start in range(0, len(batch), size)]
        first, *others = self._scorer.score_stream(pieces, threads)
        tally, unknown = first.tally, first.unknown
        for one in others:
            tally += one.tally
            unknown = None if unknown is None or one.unknown is None else unknown + one.unknown
        table = pa.Table.from_batches([one.batch for one in (first, *others)]).combine_chunks()
        words = sum(one.words for one in (first, *others))
        return Scored(table.to_batches()[0], tally, words, unknown)


class Apart:
    """Scores in a process of its own; not for several threads at once. ``apart`` makes one."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process, self._pipe = process, pipe
        self.about: About = self._answer()

    @property
    def pid(self) -> int:
        """The process's id."""
        return int(self._process.pid)

    def score(self, texts: pa.Array) -> Scored:
        batch = pa.RecordBatch.from_arrays([texts], schema=_TEXTS)
        with suppress(BrokenPipeError):  # the answer says why
            self._pipe.send_bytes(batch.serialize())
        counts: tuple[Tally, int, int | None] = self._answer()
        return Scored(pa.ipc.read_record_batch(self._pipe.recv_bytes(), self.about.schema), *counts)

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(_PATIENCE)
            raise SentstreamError(
                f"the scoring process exited with code {self._process.exitcode}",
                hint="is it out of memory? See --debug",
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def here(model: ModelOptions, prefix: str, abstain: float | None = None) -> Iterator[Here]:
    """A model in this process, with the arguments and errors of ``apart``."""
    yield _open(model, prefix, abstain)


def _open(model: ModelOptions, prefix: str, abstain: float | None) -> Here:
    return Here(open_model(model), prefix, abstain)


@contextmanager
def apart(model: ModelOptions, prefix: str, abstain: float | None = None) -> Iterator[Apart]:
    """A model in a process of its own.

    Args:
        model: Which model, and what runs it.
        prefix: What the names of the columns begin with.
        abstain: What scores below this gets the label ``uncertain``.

    Raises:
        UsageError: The model has a label ``uncertain``, and ``abstain`` is given.
        BundleError: The model cannot be used.
        ProviderError: The provider cannot run here.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve,
        args=(theirs, model, prefix, abstain),
        name="score",
        daemon=True,
    )
    process.start()
    theirs.close()
    try:
        yield Apart(process, ours)
    finally:
        ours.close()
        process.join(_PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _serve(pipe: Connection, model: ModelOptions, prefix: str, abstain: float | None) -> None:
    """The process: answers until the pipe closes."""
    for one in (signal.SIGINT, signal.SIGTERM):  # a terminal's or a supervisor's; the parent decides
        signal.signal(one, signal.SIG_IGN)
    try:
        scoring = _open(model, prefix, abstain)
    except SentstreamError as error:
        pipe.send(error)
        return
    pipe.send(scoring.about)
    while True:
        try:
            data = pipe.recv_bytes()
        except (EOFError, ConnectionResetError):
            return
        try:
            scored = scoring.score(pa.ipc.read_record_batch(data, _TEXTS).column(0))
        except SentstreamError as error:
            pipe.send(error)
        else:
            pipe.send((scored.tally, scored.words, scored.unknown))
            pipe.send_bytes(scored.batch.serialize())
