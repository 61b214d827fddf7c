"""The NVIDIA driver, asked without any library of CUDA: which devices there are, or why none."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: Of the CUDA driver (CUresult).
_NO_DEVICE = 100
_NAME_BYTES = 256


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver.

    Attributes:
        devices: GPUs that it offers to this process.
        problem: Why there is none.
        names: What the GPUs are called.
    """

    devices: int
    problem: str | None
    names: tuple[str, ...] = ()

    def lacks(self, device: int) -> str | None:
        """Why this device cannot be used; None where it is there."""
        if self.problem or device < self.devices:
            return self.problem
        there = "only device 0" if self.devices == 1 else f"only devices 0 to {self.devices - 1}"
        return f"there is no CUDA device {device}, {there}"


def driver(library: str = _DRIVER) -> Driver:
    """Ask the NVIDIA driver for its devices.

    Args:
        library: The driver's library.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return Driver(0, f"there is no NVIDIA driver ({library})")
    code, count = cuda.cuInit(0), ctypes.c_int(0)
    if code == 0:
        code = cuda.cuDeviceGetCount(ctypes.byref(count))
    if code not in (0, _NO_DEVICE):
        return Driver(0, f"the NVIDIA driver fails with CUDA error {code}")
    if not count.value:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        words = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        return Driver(0, f"the NVIDIA driver finds no device{words}")
    return Driver(count.value, None, tuple(_name(cuda, number) for number in range(count.value)))


def _name(cuda: ctypes.CDLL, number: int) -> str:
    handle, name = ctypes.c_int(0), ctypes.create_string_buffer(_NAME_BYTES)
    if cuda.cuDeviceGet(ctypes.byref(handle), number) or cuda.cuDeviceGetName(name, _NAME_BYTES, handle):
        return "unknown"
    return name.value.decode("utf-8", "replace")
