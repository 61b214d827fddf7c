"""The versions of Python and of installed packages, without importing them."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

#: Each of these installs the module ``onnxruntime``, in the same folder.
RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")


def installed(name: str) -> str | None:
    """The version of a distribution, or None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def python() -> str:
    """The implementation and version of Python: ``CPython 3.11.7``."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def system() -> str:
    """The operating system and the kind of processor: ``Linux x86_64``."""
    return f"{platform.system()} {platform.machine()}"
