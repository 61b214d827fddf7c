"""Token ids -> probabilities, with ONNX Runtime.

Rows run in batches of one exact length: no padding, no mask. One thread a run, because ONNX
Runtime's own thread pool is unsteady beside a neighbor; several Python threads share a session. What a
GPU needs beyond that is in ``sentstream.cuda``; what follows is about the CPU.

The same row gives the same bits whatever stands beside it, on one kind of CPU. That rests on:

* matrix products whose sums run in the same order for every row. ONNX Runtime 1.32 does so except
  for a product of a *single* row, which takes a kernel with another rounding where the weights are
  not packed beforehand (the ``RNN`` operator's are not). So no batch of one row is ever run: a lone
  row is run twice over and the second result dropped.
* reductions that keep features innermost (over time or batch). A sum over the innermost axis of a
  tensor starts with as many single steps as bring it to an aligned address, so it depends on the
  row's place wherever its length is odd; no graph that sentstream exports holds one.
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
#: Rows of one length: their length, then where they begin and end among the sorted rows.
Job: TypeAlias = tuple[int, int, int]
#: What does each of several jobs: ``map``, or that of a pool of threads.
Each: TypeAlias = Callable[[Callable[[Job], None], Iterable[Job]], Iterable[None]]

#: What a session on the CPU is opened with.
ON_CPU: list[Any] = [CPU]
#: Rows a run on the CPU: few enough that a step's values of them stay in a core's cache, many enough that
#: what a node costs by itself hardly counts.
RUN_ROWS = 512
#: Tokens a run: bounds the memory of long rows (a run of 512 rows of 1,000 tokens would need 260 MB
#: for one layer of 128 units).
_TOKENS = 16_384
#: Runs whose ids are put together at once, if there are so many of one length; on CUDA they are large.
_RUNS, _RUNS_ON_CUDA = 4, 1
_SILENT = 4  # of ONNX Runtime's log; every failure comes as an exception, too
_INT32, _FLOAT32 = np.dtype(np.int32), np.dtype(np.float32)


class Session:
    """A bundle's graph, ready to run.

    Args:
        bundle: The model.
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where it works, else the CPU.
        max_batch: Rows a run, at most; by default 512 on the CPU, and on CUDA what its memory has room for.
        device: The number of the CUDA device, 0 by default.
        gpu_memory: The most bytes that ONNX Runtime's arena takes there; no limit by default.
        remember: Whether a row that repeats gets what it got before (see ``repeats``); the same bits
            either way. False is for whoever measures.

    Attributes:
        provider: What really runs: ``"cpu"`` or ``"cuda"``.
        device: The number of the CUDA device that runs it; None on the CPU.
        fallback: Why the CPU runs it, where CUDA was to be had: ``"auto"`` with an ONNX Runtime that is
            made for CUDA, or with ``device`` or ``gpu_memory``. Else None.
        placement: On CUDA, what ran each node of the graph; else None.

    Raises:
        ProviderError: ``"cuda"`` was asked for and cannot run here, or not on this device.
        MissingExtraError: ONNX Runtime is not installed.
        BundleGraphError: ONNX Runtime refuses the graph, its tables are too small for the vocabulary,
            or what it gives are not probabilities.
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
        # One id more than pairs: 0 is "no pair".
        self._sizes = {"words": len(vocabulary)}
        if vocabulary.pairs is not None:
            self._sizes["pairs"] = vocabulary.pair_count + 1
        self._classes = len(bundle.labels)
        rules = bundle.text.rules
        self._length = rules.length if rules.padded else None  # the only one that the graph need know
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
        """A session that has proved that it works."""
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
        """Open the graph on a GPU; why that does not work, or None where it does."""
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
        """Run the largest ids: the tables hold them, and the output is what it should be."""
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
        """Class probabilities of every row.

        Safe to call from several threads at once.

        Args:
            encoded: Token ids, as the bundle's text path makes them.
            clock: The calling thread's, if its time is told.
            each: What takes the rows of one length after those of another. ``ThreadPoolExecutor.map`` shares
                them among its threads, which have no clock.

        Returns:
            ``float32[rows, classes]``; NaN where a row has no tokens.

        Raises:
            UsageError: The ids are not of this bundle's vocabulary, or the offsets do not fit them.
            SentstreamError: ONNX Runtime failed.
        """
        if clock:
            clock.enter(BUCKET)
        flat = self._check(encoded)
        lengths = encoded.lengths
        tokens = len(encoded.words)
        if len(lengths) == 1 and lengths[0] == tokens > 0:  # as a service asks: nothing to sort
            if clock:
                clock.asked += 1
            found: Probabilities = self._infer({name: ids[None] for name, ids in flat.items()}, tokens, clock)
            return found
        table = np.full((len(encoded), self._classes), np.nan, np.float32)
        order = _sorted(lengths)
        if clock:
            clock.asked += int(np.count_nonzero(lengths))
        repeats = self._repeats if self._repeats is not None and self._repeats.worth() else None

        def fill(job: Job) -> None:
            length, start, stop = job
            places = encoded.offsets[order[start:stop], None] + np.arange(length)
            inputs = {name: ids.take(places) for name, ids in flat.items()}
            run = partial(self._infer_all, length=length, clock=clock)
            table[start:stop] = run(inputs) if repeats is None else repeats.once(inputs, run)

        for _ in each(fill, self._cut(lengths[order])):
            pass
        result = np.empty_like(table)
        result[order] = table
        return result

    def _infer_all(self, inputs: Mapping[str, Ids], *, length: int, clock: Clock | None) -> Probabilities:
        """Run the graph on rows of one length, as often as they need."""
        found = np.empty((len(inputs["words"]), self._classes), np.float32)
        room = self._room(length)
        for first in range(0, len(found), room):
            feed = {name: ids[first : first + room] for name, ids in inputs.items()}
            found[first : first + room] = self._infer(feed, length, clock)
        return found

    def _infer(self, feed: _Feed, length: int, clock: Clock | None) -> Any:
        """One run, of rows of one length."""
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
        """The graph's inputs, flat, after making sure that no id lies outside of its table."""
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
        """Sorted lengths -> a few runs each, of one length."""
        starts = np.flatnonzero(np.diff(lengths, prepend=0))  # rows without tokens come first, and stay out
        jobs: list[Job] = []
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(lengths)], strict=False):
            length = int(lengths[start])
            step = self._runs * self._room(length)
            jobs += [(length, at, min(at + step, stop)) for at in range(start, stop, step)]
        return jobs

    def _room(self, length: int) -> int:
        """The most rows of this length that a run has."""
        return max(1, min(self._most_rows, self._most_tokens // length))


def _rising(offsets: npt.NDArray[np.int64], most: int) -> bool:
    """Whether offsets begin at 0 or above, never fall, and end at ``most`` or below."""
    return bool(offsets[0] >= 0 and offsets[-1] <= most and not (offsets[1:] < offsets[:-1]).any())


def _outside(ids: Ids, size: int) -> bool:
    """Whether an id is not in a table of so many rows; ONNX would count a negative one from its end."""
    return bool(ids.view(np.uint32).max() >= size)  # as unsigned, a negative id is a very large one


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
    """Rows by length, those of one length in their order."""
    short = len(lengths) == 0 or lengths.max() <= np.iinfo(np.uint16).max
    # NumPy sorts numbers of 16 bits by their digits, ten times as fast.
    return np.argsort(lengths.astype(np.uint16) if short else lengths, kind="stable")


def _check_memory(error: Exception, what: str) -> None:
    """Raise the right error if one of ONNX Runtime's is a lack of memory."""
    if is_out_of_memory(error):
        raise OutOfMemoryError(
            f"ONNX Runtime does not have enough memory {what}: {first_line(error)}"
        ) from error


def import_runtime() -> Any:
    """The module of ONNX Runtime.

    Raises:
        MissingExtraError: It is not installed, or only in part.
    """
    # Since 1.29 it sends telemetry to its maker unless told not to; a user's own word on it stands.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        _check_memory(error, "to be imported")
        raise MissingExtraError(f"ONNX Runtime cannot be imported: {error}", extra="cpu") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # What stays when one of onnxruntime and onnxruntime-gpu is uninstalled: they share a folder.
        raise MissingExtraError(
            "ONNX Runtime is only partly installed",
            hint=f"pip uninstall onnxruntime onnxruntime-gpu, then {how_to_install('cpu')}",
        )
    return onnxruntime


def create(onnxruntime: Any, model: bytes, providers: list[Any], *, profile: str | None = None) -> Any:
    """A session of ONNX Runtime's, with the settings that everything here runs with.

    Args:
        onnxruntime: What ``import_runtime`` gave.
        model: An ONNX file.
        providers: ``ON_CPU``, or what ``sentstream.cuda`` makes of a device.
        profile: Where the name of a profile begins, if one is to be written.
    """
    options = onnxruntime.SessionOptions()
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SILENT
    # It keeps a plan for every shape it has seen, and nearly every run has another.
    options.enable_mem_pattern = False
    # All threads would share it, and it never gives back what long rows took.
    options.enable_cpu_mem_arena = False
    # Never its own format, which the bundle's checks know nothing of.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Its Python fallback prints to standard output and hides what went wrong.
    return onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, and the quota of its control group, rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, count if quota is None else min(count, math.ceil(quota)))
