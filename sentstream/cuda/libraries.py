"""CUDA's libraries: those of the wheels are loaded before ONNX Runtime looks for them."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FAILED = re.compile(r"^Failed to load ([^\s:]+)", re.MULTILINE)
_PROVIDER = (
    "onnxruntime_providers_cuda.dll" if sys.platform == "win32" else "libonnxruntime_providers_cuda.so"
)
#: Severities of ONNX Runtime's log: its default, and fatal only.
_WARNING, _FATAL = 2, 4


def preload(onnxruntime: Any) -> str | None:
    """Load the libraries that the extra ``cuda`` brings.

    Args:
        onnxruntime: The module; before 1.21 it cannot do so, and finds them by the system's own search.

    Returns:
        The first library that does not load, if there is one.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # it prints what it does not find
        getattr(onnxruntime, "preload_dlls", lambda: None)()
    found = _FAILED.search(printed.getvalue())
    return found and found[1].replace("\\", "/").rpartition("/")[2]


@contextlib.contextmanager
def quiet(onnxruntime: Any) -> Iterator[None]:
    """Keep a provider that does not load from writing to standard error: the reason is told in one line."""
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)


def why_not_loaded(onnxruntime: Any, library: str | None) -> str:
    """Why a session that was to run on CUDA does not.

    Args:
        onnxruntime: The module, which says so in its log only.
        library: What ``preload`` gave.
    """
    if library:
        return f"{library} does not load"
    try:
        ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / _PROVIDER))
    except OSError as error:
        reason = str(error).rpartition(f"{_PROVIDER}: ")[2]
        return f"ONNX Runtime's CUDA provider does not load: {reason}"
    return "ONNX Runtime does not enable its CUDA provider"
