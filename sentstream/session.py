"""Token ids -> probabilities, with ONNX Runtime.

All rows of a batch have the same length, so there is no padding and no mask. Each run uses one thread,
because the speed of ONNX Runtime's own thread pool varies on a busy machine; several Python threads share a
session. GPU support is in ``sentstream.cuda``; the rest of this text is about the CPU.

On one kind of CPU, a row always gives the same bits, regardless of the other rows in its batch. This
depends on two things:

* Matrix products add in the same order for every row. ONNX Runtime 1.32 does so, except for a product of a
  *single* row: if the weights are not prepacked (those of the ``RNN`` operator are not), it uses a kernel
  that rounds differently. Therefore a batch of one row is never run: a single row is duplicated and the
  second result dropped.
* Reductions are over time or batch, with the features innermost. A sum over a tensor's innermost axis
  first takes single steps up to an aligned address, so with an odd length its result depends on the row's
  position. No graph that sentstream exports contains such a sum.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from sentstream.bundle import Bundle
from sentstream.cgroup import cpu_quota
from sentstream.cuda.driver import driver
from sentstream.cuda.placement import CPU, CUDA, Placement
from sentstream.errors import (
    BundleGraphError,
    MissingExtraError,
    OutOfMemoryError,
    ProviderError,
    SentstreamError,
    UsageError,
    first_line,
    how_to_install,
    is_out_of_memory,
)
from sentstream.profile import BUCKET, INFER, Clock
from sentstream.repeats import Ids, Repeats
from sentstream.text import Encoded

Provider: TypeAlias = Literal["auto", "cpu", "cuda"]
Probabilities: TypeAlias = npt.NDArray[np.float32]
_Feed: TypeAlias = dict[str, Ids]
_Run: TypeAlias = Callable[[_Feed], Any]
#: Rows of one length: the length, then their start and stop among the sorted rows.
Job: TypeAlias = tuple[int, int, int]
#: Runs a function on each job: ``map``, or the ``map`` of a thread pool.
Each: TypeAlias = Callable[[Callable[[Job], None], Iterable[Job]], Iterable[None]]

#: The provider list of a CPU session.
ON_CPU: list[Any] = [CPU]
#: Rows per run on the CPU: few enough that the values of one time step stay in a core's cache, many enough
#: that the fixed cost per node hardly matters.
RUN_ROWS = 512
#: Tokens per run. Bounds the memory for long rows (512 rows of 1,000 tokens would need 260 MB for one layer
#: of 128 units).
_TOKENS = 16_384
#: Maximum number of runs of one length whose ids are gathered at once; on CUDA, runs are large.
_RUNS, _RUNS_ON_CUDA = 4, 1
_SILENT = 4  # ONNX Runtime's log level; every failure is also raised as an exception
_INT32, _FLOAT32 = np.dtype(np.int32), np.dtype(np.float32)


class Session:
    """A bundle's graph, ready to run.

    Args:
        bundle: The model.
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA if it works, otherwise the CPU.
        max_batch: Maximum rows per run; by default 512 on the CPU, and on CUDA what fits into its memory.
        device: The CUDA device number; 0 by default.
        gpu_memory: Maximum size in bytes of ONNX Runtime's arena in GPU memory; no limit by default.
        remember: Whether to reuse the results of repeated rows (see ``repeats``). The results are the same
            bits either way; False is for benchmarks.

    Attributes:
        provider: The provider in use: ``"cpu"`` or ``"cuda"``.
        device: The CUDA device number in use; None on the CPU.
        fallback: Why the CPU is used although CUDA was expected: ``"auto"`` with an ONNX Runtime built for
            CUDA, or with ``device`` or ``gpu_memory``. Otherwise None.
        placement: On CUDA, which provider ran each node of the graph; otherwise None.

    Raises:
        ProviderError: ``"cuda"`` was requested but cannot run here, or not on this device.
        MissingExtraError: ONNX Runtime is not installed.
        BundleGraphError: ONNX Runtime rejects the graph, its tables are too small for the vocabulary,
            or its outputs are not probabilities.
        UsageError: An argument is out of range.
    """

    def __init__(
        self,
        bundle: Bundle,
        provider: Provider = "auto",
        max_batch: int | None = None,
        *,
        device: int | None = None,
        gpu_memory: int | None = None,
        remember: bool = True,
    ) -> None:
        _check_arguments(provider, max_batch, device, gpu_memory)
        vocabulary = bundle.text.vocabulary
        # One more id than there are pairs: 0 is "no pair".
        self._sizes = {"words": len(vocabulary)}
        if vocabulary.pairs is not None:
            self._sizes["pairs"] = vocabulary.pair_count + 1
        self._classes = len(bundle.labels)
        rules = bundle.text.rules
        self._length = rules.length if rules.padded else None  # the only length that the graph must accept
        self.device: int | None = None
        self.fallback: str | None = None
        self.placement: Placement | None = None
        self._most_rows, self._most_tokens, self._runs = RUN_ROWS, _TOKENS, _RUNS
        self._repeats = Repeats(self._classes) if remember else None
        self._open(bundle, provider, device, gpu_memory)
        if max_batch is not None:
            self._most_rows = max_batch

    def _open(self, bundle: Bundle, provider: Provider, device: int | None, gpu_memory: int | None) -> None:
        onnxruntime = import_runtime()
        if provider != "cpu":
            reason = self._open_on_cuda(onnxruntime, bundle, device or 0, gpu_memory)
            if reason is None:
                return
            available = onnxruntime.get_available_providers()
            if provider == "cuda":
                raise ProviderError(
                    f"CUDA cannot run here: {reason}; available: {', '.join(available)}",
                    hint=f"use --provider cpu, or on a machine with an NVIDIA GPU: {how_to_install('cuda')}",
                )
            if CUDA in available or device is not None or gpu_memory is not None:
                self.fallback = reason
        self._open_on_cpu(onnxruntime, bundle.model)

    def _open_on_cpu(self, onnxruntime: Any, model: bytes) -> None:
        """Open the graph on the CPU, and test it."""
        try:
            session = create(onnxruntime, model, ON_CPU)
        except Exception as error:
            _check_memory(error, "to open the graph")
            raise BundleGraphError(f"ONNX Runtime cannot open the graph: {first_line(error)}") from error

        def run(feed: _Feed) -> Any:
            (out,) = session.run(None, feed)
            return out

        for length in (1, 2):
            self._probe(run, length)
        self._run: _Run = run
        self.provider: Literal["cpu", "cuda"] = "cpu"

    def _open_on_cuda(
        self, onnxruntime: Any, bundle: Bundle, device: int, gpu_memory: int | None
    ) -> str | None:
        """Open the graph on a GPU. Return why it does not work, or None if it does."""
        if CUDA not in onnxruntime.get_available_providers():
            return "this ONNX Runtime is built without CUDA"
        if lacking := driver().lacks(device):
            return lacking
        try:
            from sentstream.cuda.opening import open_on_device

            opened = open_on_device(
                onnxruntime,
                create,
                bundle.model,
                output=str(bundle.config["graph"]["output"]),
                classes=self._classes,
                device=device,
                memory=gpu_memory,
                probe=self._probe,
            )
        except Exception as error:
            return first_line(error)
        self._run, self.provider, self.device = opened.run, "cuda", device
        self.placement = opened.placement
        self._most_rows, self._most_tokens, self._runs = opened.rows, opened.tokens, _RUNS_ON_CUDA
        return None

    def _probe(self, run: _Run, length: int) -> None:
        """Check the graph by running it on the largest ids."""
        length = self._length or length
        feed = {name: np.full((2, length), size - 1, np.int32) for name, size in self._sizes.items()}
        try:
            out = run(feed)
        except Exception as error:
            _check_memory(error, "to run the graph")
            raise BundleGraphError(
                f"the graph does not run on the largest ids: {first_line(error)}"
            ) from error
        if not self._fits(out, 2):
            raise BundleGraphError(f"the graph does not return float32[2, {self._classes}] for two rows")
        if not (out >= 0).all() or not np.allclose(out.sum(axis=1), 1, atol=1e-3):
            raise BundleGraphError("the outputs of the graph are not probabilities")

    def _fits(self, out: Any, rows: int) -> bool:
        shape = (rows, self._classes)
        return isinstance(out, np.ndarray) and out.dtype == _FLOAT32 and out.shape == shape

    def probabilities(self, encoded: Encoded, clock: Clock | None = None, each: Each = map) -> Probabilities:
        """Return the class probabilities of every row. Thread-safe.

        Args:
            encoded: Token ids from the bundle's text path.
            clock: The calling thread's clock, if its time is measured.
            each: Runs the jobs, each with rows of one length. ``ThreadPoolExecutor.map`` shares them among
                its threads, which have no clock.

        Returns:
            ``float32[rows, classes]``; NaN for rows without tokens.

        Raises:
            UsageError: The ids are not from this bundle's vocabulary, or the offsets do not match them.
            SentstreamError: ONNX Runtime failed.
        """
        if clock:
            clock.enter(BUCKET)
        flat = self._check(encoded)
        lengths = encoded.lengths
        tokens = len(encoded.words)
        if len(lengths) == 1 and lengths[0] == tokens > 0:  # typical of a service: nothing to sort
            if clock:
                clock.asked += 1
            probabilities: Probabilities = self._infer(
                {name: ids[None] for name, ids in flat.items()}, tokens, clock
            )
            return probabilities
        table = np.full((len(encoded), self._classes), np.nan, np.float32)
        order = _sorted(lengths)
        if clock:
            clock.asked += int(np.count_nonzero(lengths))
        repeats = self._repeats if self._repeats is not None and self._repeats.is_useful() else None

        def fill(job: Job) -> None:
            length, start, stop = job
            indices = encoded.offsets[order[start:stop], None] + np.arange(length)
            inputs = {name: ids.take(indices) for name, ids in flat.items()}
            run = partial(self._infer_all, length=length, clock=clock)
            table[start:stop] = run(inputs) if repeats is None else repeats.once(inputs, run)

        for _ in each(fill, self._cut(lengths[order])):
            pass
        result = np.empty_like(table)
        result[order] = table
        return result

    def _infer_all(self, inputs: Mapping[str, Ids], *, length: int, clock: Clock | None) -> Probabilities:
        """Run the graph on rows of one length, in as many runs as needed."""
        probabilities = np.empty((len(inputs["words"]), self._classes), np.float32)
        room = self._room(length)
        for first in range(0, len(probabilities), room):
            feed = {name: ids[first : first + room] for name, ids in inputs.items()}
            probabilities[first : first + room] = self._infer(feed, length, clock)
        return probabilities

    def _infer(self, feed: _Feed, length: int, clock: Clock | None) -> Any:
        """Run the graph once, on rows of one length."""
        rows = len(feed["words"])
        if rows == 1:
            feed = {name: ids.repeat(2, axis=0) for name, ids in feed.items()}
        if clock:
            clock.ran(length, rows, self._room(length))
            clock.enter(INFER)
        try:
            out = self._run(feed)
        except Exception as error:
            _check_memory(error, f"for {rows} rows of {length} tokens")
            raise SentstreamError(
                f"ONNX Runtime failed on {rows} rows of {length} tokens: {first_line(error)}"
            ) from error
        if clock:
            clock.enter(BUCKET)
        if not self._fits(out, max(2, rows)):
            raise SentstreamError(f"the graph does not return probabilities for each row of {length} tokens")
        return out[:rows]

    def _check(self, encoded: Encoded) -> _Feed:
        """Return the graph's inputs, flat, after checking that all ids are within their tables."""
        flat = {"words": encoded.words}
        if encoded.pairs is not None:
            flat["pairs"] = encoded.pairs
        if flat.keys() != self._sizes.keys():
            raise UsageError(
                f"token ids of {' and '.join(flat)}; this model takes {' and '.join(self._sizes)}"
            )
        tokens = len(encoded.words)
        if not _rising(encoded.offsets, tokens):
            raise UsageError(f"row offsets do not match {tokens} token ids")
        for name, ids in flat.items():
            if ids.dtype != _INT32 or ids.shape != (tokens,):
                raise UsageError(f"{name} ids are {ids.dtype}{list(ids.shape)}, not int32[{tokens}]")
            if tokens and _outside(ids, self._sizes[name]):
                raise UsageError(f"{name} ids outside of 0 to {self._sizes[name] - 1}")
        return flat

    def _cut(self, lengths: npt.NDArray[np.int64]) -> list[Job]:
        """Split sorted rows into jobs, each a few runs of one length."""
        starts = np.flatnonzero(np.diff(lengths, prepend=0))  # skips rows without tokens, which come first
        jobs: list[Job] = []
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(lengths)], strict=False):
            length = int(lengths[start])
            step = self._runs * self._room(length)
            jobs += [(length, at, min(at + step, stop)) for at in range(start, stop, step)]
        return jobs

    def _room(self, length: int) -> int:
        """Return the maximum number of rows of this length in a run."""
        return max(1, min(self._most_rows, self._most_tokens // length))


def _rising(offsets: npt.NDArray[np.int64], limit: int) -> bool:
    """Whether offsets start at 0 or above, never decrease, and end at ``limit`` or below."""
    return bool(offsets[0] >= 0 and offsets[-1] <= limit and not (offsets[1:] < offsets[:-1]).any())


def _outside(ids: Ids, size: int) -> bool:
    """Whether an id is outside a table of this size; ONNX would count a negative id from the table's end."""
    return bool(ids.view(np.uint32).max() >= size)  # as unsigned, a negative id is very large


def _check_arguments(
    provider: str, max_batch: int | None, device: int | None, gpu_memory: int | None
) -> None:
    if provider not in get_args(Provider):
        raise UsageError(f"provider is {provider!r}", hint=f"use one of {', '.join(get_args(Provider))}")
    if max_batch is not None and max_batch < 1:
        raise UsageError(f"max_batch must be a positive integer, not {max_batch}")
    if device is not None and device < 0:
        raise UsageError(f"device must be an integer of at least 0, not {device}")
    if gpu_memory is not None and gpu_memory < 1:
        raise UsageError(f"gpu_memory must be a positive number of bytes, not {gpu_memory}")
    if provider == "cpu" and (device is not None or gpu_memory is not None):
        raise UsageError(
            "device and gpu_memory are for CUDA, but the provider is cpu",
            hint="leave them out, or use provider auto",
        )


def _sorted(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the rows sorted by length (stable)."""
    short = len(lengths) == 0 or lengths.max() <= np.iinfo(np.uint16).max
    # NumPy uses a radix sort for 16-bit numbers, ten times as fast.
    return np.argsort(lengths.astype(np.uint16) if short else lengths, kind="stable")


def _check_memory(error: Exception, action: str) -> None:
    """Raise ``OutOfMemoryError`` if that is what an error of ONNX Runtime means."""
    if is_out_of_memory(error):
        raise OutOfMemoryError(
            f"ONNX Runtime does not have enough memory {action}: {first_line(error)}"
        ) from error


def import_runtime() -> Any:
    """Import and return ``onnxruntime``.

    Raises:
        MissingExtraError: It is not installed, or only partly.
    """
    # Since 1.29 it sends telemetry to its vendor unless told not to; the user's own setting takes precedence.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        _check_memory(error, "to be imported")
        raise MissingExtraError(f"ONNX Runtime cannot be imported: {error}", extra="cpu") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # Left over when either onnxruntime or onnxruntime-gpu is uninstalled: they share a folder.
        raise MissingExtraError(
            "ONNX Runtime is only partly installed",
            hint=f"pip uninstall onnxruntime onnxruntime-gpu, then {how_to_install('cpu')}",
        )
    return onnxruntime


def create(onnxruntime: Any, model: bytes, providers: list[Any], *, profile: str | None = None) -> Any:
    """Create an ONNX Runtime session with the settings used everywhere in sentstream.

    Args:
        onnxruntime: The module, from ``import_runtime``.
        model: The contents of an ONNX file.
        providers: ``ON_CPU``, or the provider list of a device, from ``sentstream.cuda``.
        profile: Prefix of the file name of a profile to write; None writes none.
    """
    options = onnxruntime.SessionOptions()
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SILENT
    # It would keep a plan for every shape it has seen, and nearly every run has a new shape.
    options.enable_mem_pattern = False
    # The arena would be shared by all threads and never release the memory that long rows needed.
    options.enable_cpu_mem_arena = False
    # Never ONNX Runtime's own format, which the bundle's checks do not cover.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # The Python fallback prints to standard output and hides the error.
    return onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)


def usable_cpus() -> int:
    """Return the number of CPUs this process may use: its affinity, and its cgroup's quota rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, count if quota is None else min(count, math.ceil(quota)))
