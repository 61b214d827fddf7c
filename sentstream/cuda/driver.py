"""The devices that the NVIDIA driver reports, or why there are none; needs no CUDA libraries."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: CUDA_ERROR_NO_DEVICE (CUresult of the CUDA driver).
_NO_DEVICE = 100
_NAME_BYTES = 256


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver.

    Attributes:
        devices: Number of GPUs available to this process.
        problem: Why there are none; None if there are.
        names: The names of the GPUs.
    """

    devices: int
    problem: str | None
    names: tuple[str, ...] = ()

    def lacks(self, device: int) -> str | None:
        """Return why this device is not available; None if it is."""
        if self.problem or device < self.devices:
            return self.problem
        available = "only device 0" if self.devices == 1 else f"only devices 0 to {self.devices - 1}"
        return f"there is no CUDA device {device}, {available}"


def driver(library: str = _DRIVER) -> Driver:
    """Query the NVIDIA driver for its devices.

    Args:
        library: The file name of the driver's library.
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
