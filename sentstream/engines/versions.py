"""Package versions that must match on all machines of a cluster, because they can affect the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

#: Versions by package; "" if it is not installed.
Versions: TypeAlias = "dict[str, str]"


def version_probe() -> Callable[[], Versions]:
    """Return a function that reports the installed versions.

    It is nested, so cloudpickle sends its code and not a reference to a module. It therefore also runs where
    sentstream is not installed or has a different version.

    >>> sorted(version_probe()())
    ['Python', 'numpy', 'onnxruntime', 'pyarrow', 'sentstream']
    """

    def probe() -> dict[str, str]:
        import importlib
        import platform

        found = {"Python": platform.python_version()}
        for name in ("sentstream", "pyarrow", "numpy", "onnxruntime"):
            try:
                found[name] = str(importlib.import_module(name).__version__)
            except ImportError:
                found[name] = ""
        return found

    return probe


def differences(remote: Mapping[str, str], local: Mapping[str, str]) -> list[str]:
    """Describe the differences between two machines' versions, one text each.

    >>> differences({"pyarrow": "18.0.0", "numpy": ""}, {"pyarrow": "26.0.1", "numpy": "2.4.6"})
    ['pyarrow 18.0.0, not 26.0.1', 'no numpy']
    """
    return [
        f"{name} {remote[name]}, not {version}" if remote.get(name) else f"no {name}"
        for name, version in local.items()
        if remote.get(name) != version
    ]
