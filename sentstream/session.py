"""Token ids -> probabilities, with ONNX Runtime.

Rows run in batches of one exact length: no padding, no mask. One thread a run, because ONNX
Runtime's own thread pool is unsteady beside a neighbor; several Python threads share a session.

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

import contextlib
import io
import math
import os
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from sentstream.bundle import Bundle
from sentstream.cgroup import cpu_quota
from sentstream.errors import BundleGraphError, MissingExtraError, ProviderError, SentstreamError, UsageError
from sentstream.profile import BUCKET, INFER, Clock
from sentstream.text import Encoded

Provider: TypeAlias = Literal["auto", "cpu", "cuda"]
Probabilities: TypeAlias = npt.NDArray[np.float32]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
#: What a session is opened with. Without TF32, whose products have ten bits.
ON_CPU: list[Any] = [CPU]
ON_CUDA: list[Any] = [(CUDA, {"use_tf32": "0"}), CPU]
#: Tokens a run: bounds the memory of long rows (a run of 256 rows of 1,000 tokens would need 130 MB
#: for one layer of 128 units).
_TOKENS = 16_384
#: Runs whose ids are put together at once, if there are so many of one length.
_RUNS = 8
_SILENT = 4  # of ONNX Runtime's log; every failure comes as an exception, too
_MOST_MESSAGE = 300  # characters of an error of ONNX Runtime's, which may repeat names of the graph


class Session:
    """A bundle's graph, ready to run.

    Args:
        bundle: The model.
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where it works, else the CPU.
        max_batch: Rows a run, at most.

    Attributes:
        provider: What really runs: ``"CPUExecutionProvider"`` or ``"CUDAExecutionProvider"``.

    Raises:
        ProviderError: ``"cuda"`` was asked for and cannot run here.
        MissingExtraError: ONNX Runtime is not installed.
        BundleGraphError: ONNX Runtime refuses the graph, its tables are too small for the vocabulary,
            or what it gives are not probabilities.
        UsageError: An argument is out of range.
    """

    def __init__(self, bundle: Bundle, provider: Provider = "auto", max_batch: int = 256) -> None:
        if provider not in get_args(Provider):
            raise UsageError(f"provider is {provider!r}", hint=f"one of {', '.join(get_args(Provider))}")
        if max_batch < 1:
            raise UsageError(f"max_batch is {max_batch}, not a whole number from 1 up")
        vocabulary = bundle.text.vocabulary
        # One id more than pairs: 0 is "no pair".
        self._sizes = {"words": len(vocabulary)}
        if vocabulary.pairs is not None:
            self._sizes["pairs"] = vocabulary.pair_count + 1
        self._classes = len(bundle.labels)
        self._max_batch = max_batch
        self._run, self.provider = self._open(bundle.model, provider)

    def _open(self, model: bytes, provider: Provider) -> tuple[Callable[..., Any], str]:
        """A session that has proved that it works, and its provider."""
        onnxruntime = import_runtime()
        available = onnxruntime.get_available_providers()
        reason = "this ONNX Runtime is built without it"
        if provider != "cpu" and CUDA in available:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
                getattr(onnxruntime, "preload_dlls", lambda: None)()  # since 1.21
            try:
                session = create(onnxruntime, model, ON_CUDA)
                reason = "no device or CUDA library was found"
                if session.get_providers()[0] == CUDA:
                    self._probe(session.run)
                    return session.run, CUDA
            except Exception as error:
                reason = _line(error)
        if provider == "cuda":
            raise ProviderError(
                f"CUDA cannot run here: {reason}; available: {', '.join(available)}",
                hint="pip install 'sentstream[cuda]' on a machine with an NVIDIA GPU, or --provider cpu",
            )
        try:
            session = create(onnxruntime, model, ON_CPU)
        except Exception as error:
            raise BundleGraphError(f"ONNX Runtime does not open the graph: {_line(error)}") from error
        self._probe(session.run)
        return session.run, str(session.get_providers()[0])

    def _probe(self, run: Callable[..., Any]) -> None:
        """Run the largest ids: the tables hold them, and the output is what it should be."""
        for length in (1, 2):
            feed = {name: np.full((2, length), size - 1, np.int32) for name, size in self._sizes.items()}
            try:
                (out,) = run(None, feed)
            except Exception as error:
                raise BundleGraphError(
                    f"the graph does not run on the largest ids: {_line(error)}"
                ) from error
            if not self._fits(out, 2):
                raise BundleGraphError(f"the graph does not give float32[2, {self._classes}] for two rows")
            if not (out >= 0).all() or not np.allclose(out.sum(axis=1), 1, atol=1e-3):
                raise BundleGraphError("what the graph gives are not probabilities")

    def _fits(self, out: Any, rows: int) -> bool:
        shape = (rows, self._classes)
        return isinstance(out, np.ndarray) and out.dtype == np.float32 and out.shape == shape

    def probabilities(self, encoded: Encoded, clock: Clock | None = None) -> Probabilities:
        """Class probabilities of every row.

        Safe to call from several threads at once.

        Args:
            encoded: Token ids, as the bundle's text path makes them.
            clock: The calling thread's, if its time is told.

        Returns:
            ``float32[rows, classes]``; NaN where a row has no tokens.

        Raises:
            UsageError: The ids are not of this bundle's vocabulary, or the offsets do not fit them.
            SentstreamError: ONNX Runtime failed.
        """
        if clock:
            clock.enter(BUCKET)
        flat = self._check(encoded)
        table = np.full((len(encoded), self._classes), np.nan, np.float32)
        lengths = encoded.lengths
        order = _sorted(lengths)
        for length, start, stop in self._cut(lengths[order]):
            places = encoded.offsets[order[start:stop], None] + np.arange(length)
            inputs = {name: ids.take(places) for name, ids in flat.items()}
            room = self._room(length)
            for first in range(0, stop - start, room):
                feed = {name: ids[first : first + room] for name, ids in inputs.items()}
                table[start + first : min(start + first + room, stop)] = self._infer(feed, length, clock)
        result = np.empty_like(table)
        result[order] = table
        return result

    def _infer(self, feed: dict[str, npt.NDArray[np.int32]], length: int, clock: Clock | None) -> Any:
        """One run, of rows of one length."""
        rows = len(feed["words"])
        if rows == 1:
            feed = {name: ids.repeat(2, axis=0) for name, ids in feed.items()}
        if clock:
            clock.ran(length, rows, self._room(length))
            clock.enter(INFER)
        try:
            (out,) = self._run(None, feed)
        except Exception as error:
            raise SentstreamError(
                f"ONNX Runtime failed on {rows} rows of {length} tokens: {_line(error)}"
            ) from error
        if clock:
            clock.enter(BUCKET)
        if not self._fits(out, max(2, rows)):
            raise SentstreamError(f"the graph does not give probabilities for each row of {length} tokens")
        return out[:rows]

    def _check(self, encoded: Encoded) -> dict[str, npt.NDArray[np.int32]]:
        """The graph's inputs, flat, after making sure that no id lies outside of its table."""
        given = {"words": encoded.words, "pairs": encoded.pairs}
        flat = {name: ids for name, ids in given.items() if ids is not None}
        if flat.keys() != self._sizes.keys():
            raise UsageError(
                f"token ids of {' and '.join(flat)}; this model takes {' and '.join(self._sizes)}"
            )
        offsets = encoded.offsets
        tokens = len(encoded.words)
        if offsets[0] < 0 or offsets[-1] > tokens or (np.diff(offsets) < 0).any():
            raise UsageError(f"row offsets that do not fit {tokens} token ids")
        for name, ids in flat.items():
            # As unsigned, a negative id is a very large one. ONNX would count it from the table's end.
            if ids.dtype != np.int32 or ids.shape != (tokens,):
                raise UsageError(f"{name} ids are {ids.dtype}{list(ids.shape)}, not int32[{tokens}]")
            if tokens and ids.view(np.uint32).max() >= self._sizes[name]:
                raise UsageError(f"{name} ids outside of 0 to {self._sizes[name] - 1}")
        return flat

    def _cut(self, lengths: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
        """Sorted lengths -> a few runs each, of one length: (length, start, stop)."""
        starts = np.flatnonzero(np.diff(lengths, prepend=0))  # rows without tokens come first, and stay out
        jobs: list[tuple[int, int, int]] = []
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(lengths)], strict=False):
            length = int(lengths[start])
            step = _RUNS * self._room(length)
            jobs += [(length, at, min(at + step, stop)) for at in range(start, stop, step)]
        return jobs

    def _room(self, length: int) -> int:
        """The most rows of this length that a run has."""
        return max(1, min(self._max_batch, _TOKENS // length))


def _sorted(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows by length, those of one length in their order."""
    short = len(lengths) == 0 or lengths.max() <= np.iinfo(np.uint16).max
    # NumPy sorts numbers of 16 bits by their digits, ten times as fast.
    return np.argsort(lengths.astype(np.uint16) if short else lengths, kind="stable")


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
        raise MissingExtraError(
            f"ONNX Runtime cannot be imported: {error}", hint="pip install 'sentstream[cpu]'"
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # What stays when one of onnxruntime and onnxruntime-gpu is uninstalled: they share a folder.
        raise MissingExtraError(
            "ONNX Runtime is installed in part only",
            hint="pip uninstall onnxruntime onnxruntime-gpu, then pip install 'sentstream[cpu]'",
        )
    return onnxruntime


def create(onnxruntime: Any, model: bytes, providers: list[Any], *, profile: str | None = None) -> Any:
    """A session of ONNX Runtime's, with the settings that everything here runs with.

    Args:
        onnxruntime: What ``import_runtime`` gave.
        model: An ONNX file.
        providers: ``ON_CPU`` or ``ON_CUDA``.
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
    # Never its own format, which the bundle's checks know nothing of.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Its Python fallback prints to standard output and hides what went wrong.
    return onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)


def _line(error: Exception) -> str:
    """The first line of an error's text, nothing in it that could disturb a terminal."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return "".join(one if one.isprintable() else "\ufffd" for one in first[:_MOST_MESSAGE])


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, and the quota of its control group, rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, count if quota is None else min(count, math.ceil(quota)))
