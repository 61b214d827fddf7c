"""Load the CUDA libraries from their wheels, before ONNX Runtime looks for them."""

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
    """Load the libraries that the extra ``cuda`` installs.

    Args:
        onnxruntime: The module. Before 1.21 it cannot preload them, so the system's search path applies.

    Returns:
        The first library that does not load; None if all do.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # it prints the libraries it does not find
        getattr(onnxruntime, "preload_dlls", lambda: None)()
    match = _FAILED.search(printed.getvalue())
    return match and match[1].replace("\\", "/").rpartition("/")[2]


@contextlib.contextmanager
def quiet(onnxruntime: Any) -> Iterator[None]:
    """Keep a provider that does not load from writing to standard error: we report the reason in one line."""
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)


def why_not_loaded(onnxruntime: Any, library: str | None) -> str:
    """Return why a session does not run on CUDA.

    Args:
        onnxruntime: The module, which reports the reason only in its log.
        library: The result of ``preload``.
    """
    if library:
        return f"{library} does not load"
    try:
        ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / _PROVIDER))
    except OSError as error:
        reason = str(error).rpartition(f"{_PROVIDER}: ")[2]
        return f"ONNX Runtime's CUDA provider does not load: {reason}"
    return "ONNX Runtime does not enable its CUDA provider"
