"""Run a session with input memory that is reused from run to run.

Each run borrows a binding, so concurrent runs share nothing. ONNX Runtime gives each run in flight its own
CUDA streams (``SessionState::AcquireDeviceStreamCollection``), so the copies of one overlap with the kernels
of another.
"""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]


class BoundRuns:
    """Runs a session. It is thread-safe, with at most ``at_once`` concurrent runs.

    Args:
        onnxruntime: The module.
        session: An ONNX Runtime session.
        output: The graph's only output, ``float32[rows, classes]``.
        classes: Number of classes.
        device: The device for inputs: ``"cuda"`` or ``"cpu"``, and its number.
        at_once: Maximum number of concurrent runs; other calls wait.
    """

    def __init__(
        self,
        onnxruntime: Any,
        session: Any,
        output: str,
        classes: int,
        *,
        device: tuple[str, int],
        at_once: int,
    ) -> None:
        self._free: queue.LifoQueue[_Binding] = queue.LifoQueue()
        for _ in range(at_once):
            self._free.put(_Binding(onnxruntime, session, output, classes, device))

    def __call__(self, feed: Mapping[str, Ids]) -> npt.NDArray[np.float32]:
        """Return the probabilities of some rows of one length."""
        binding = self._free.get()
        try:
            return binding.run(feed)
        finally:
            self._free.put(binding)


class _Binding:
    """The memory for one run at a time."""

    def __init__(
        self, onnxruntime: Any, session: Any, output: str, classes: int, device: tuple[str, int]
    ) -> None:
        self._onnxruntime, self._session, self._device = onnxruntime, session, device
        self._output, self._classes = output, classes
        self._binding = session.io_binding()
        #: Input and size -> the memory on the device, and the array that is copied to it.
        self._kept: dict[tuple[str, int], tuple[Any, Ids]] = {}

    def run(self, feed: Mapping[str, Ids]) -> npt.NDArray[np.float32]:
        rows = 0
        for name, ids in feed.items():
            rows = len(ids)
            value, copied = self._memory(name, ids.size)
            copied[: ids.size] = ids.ravel()
            value.update_inplace(copied)
            self._binding.bind_input(name, *self._device, np.int32, ids.shape, value.data_ptr())
        out = np.empty((rows, self._classes), np.float32)
        self._binding.bind_output(self._output, "cpu", 0, np.float32, out.shape, out.ctypes.data)
        self._session.run_with_iobinding(self._binding)
        return out

    def _memory(self, name: str, count: int) -> tuple[Any, Ids]:
        """Memory for ``count`` ids, with sizes in powers of two, since runs of nearly every size occur."""
        size = 1 << max(0, count - 1).bit_length()
        if (name, size) not in self._kept:
            make = self._onnxruntime.OrtValue.ortvalue_from_shape_and_type
            self._kept[name, size] = make([size], np.int32, *self._device), np.zeros(size, np.int32)
        return self._kept[name, size]
