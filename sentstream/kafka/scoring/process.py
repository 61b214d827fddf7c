"""Run the model for the consume loop, in this process or in a separate one.

A Python Kafka client and ONNX Runtime in one process mostly wait for each other to release the interpreter
lock: with kafka-python on two cores, a separate process makes the loop 1.5 times as fast. It receives and
returns Arrow buffers through a pipe. The same code scores, so results are bit-identical. The process ends
with its parent, however that ends, because the pipe closes.
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

_PIECE = 1024  # minimum rows per thread
_PATIENCE = 5.0  # seconds for the process to end
_TEXTS = pa.schema([pa.field(TEXT_COLUMN, pa.string())])


@dataclass(frozen=True)
class ModelInfo:
    """The model and what runs it.

    Attributes:
        name, version, digest: Those of the model.
        labels: The model's labels.
        provider: The execution provider in use.
        threads: Threads that share a large batch.
        fallback: Why the CPU runs the model although CUDA could have (``Session``).
        placement: On CUDA, what ran each node.
        schema: The schema of the output of ``Scoring.score``, with the model's stamp as metadata.
        pid: The id of the process that scores.
        reference: The model's output on rows held out of its training, if its bundle has it.
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
    def model_info(self) -> ModelInfo:
        """The model and what runs it."""

    def score(self, texts: pa.Array) -> Scored:
        """Score n texts; return n rows with only the scorer's columns, and the tally."""


class InProcessScoring:
    """Scores in the calling thread, and in more threads for a large batch.

    Args:
        model: The model.
        prefix: Prefix of the column names.
        abstain: Texts with a score below this get the label ``uncertain``.
    """

    def __init__(self, model: Model, prefix: str = PREFIX, abstain: float | None = None) -> None:
        self._scorer = model.scorer(text_column=TEXT_COLUMN, prefix=prefix, columns=[], abstain=abstain)
        schema = self._scorer.output_schema(_TEXTS)
        self.model_info = ModelInfo(
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
        threads = min(self.model_info.threads, max(1, len(batch) // _PIECE))
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


class ChildProcessScoring:
    """Scores in a separate process; not thread-safe. Use ``in_child_process`` to create it."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process, self._pipe = process, pipe
        self.model_info: ModelInfo = self._answer()

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self._process.pid)

    def score(self, texts: pa.Array) -> Scored:
        batch = pa.RecordBatch.from_arrays([texts], schema=_TEXTS)
        with suppress(BrokenPipeError):  # ``_answer`` raises the cause
            self._pipe.send_bytes(batch.serialize())
        counts: tuple[Tally, int, int | None] = self._answer()
        return Scored(pa.ipc.read_record_batch(self._pipe.recv_bytes(), self.model_info.schema), *counts)

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
def in_this_process(
    model: ModelOptions, prefix: str, abstain: float | None = None
) -> Iterator[InProcessScoring]:
    """Open a model in this process, with the arguments and errors of ``in_child_process``."""
    yield _open(model, prefix, abstain)


def _open(model: ModelOptions, prefix: str, abstain: float | None) -> InProcessScoring:
    return InProcessScoring(open_model(model), prefix, abstain)


@contextmanager
def in_child_process(
    model: ModelOptions, prefix: str, abstain: float | None = None
) -> Iterator[ChildProcessScoring]:
    """Open a model in a separate process, which ends with the block.

    Args:
        model: Which model, and what runs it.
        prefix: Prefix of the column names.
        abstain: Texts with a score below this get the label ``uncertain``.

    Raises:
        UsageError: The model has a label ``uncertain``, and ``abstain`` is given.
        BundleError: The model cannot be used.
        ProviderError: The provider cannot run here.
    """
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    process = context.Process(
        target=_serve,
        args=(child_end, model, prefix, abstain),
        name="score",
        daemon=True,
    )
    process.start()
    child_end.close()
    try:
        yield ChildProcessScoring(process, parent_end)
    finally:
        parent_end.close()
        process.join(_PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _serve(pipe: Connection, model: ModelOptions, prefix: str, abstain: float | None) -> None:
    """Run the scoring process: answer until the pipe closes."""
    for one in (signal.SIGINT, signal.SIGTERM):  # from a terminal or supervisor; the parent handles them
        signal.signal(one, signal.SIG_IGN)
    try:
        scoring = _open(model, prefix, abstain)
    except SentstreamError as error:
        pipe.send(error)
        return
    pipe.send(scoring.model_info)
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
