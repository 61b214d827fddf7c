"""What must be the same on every machine of a cluster, or outputs could differ by who wrote them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

#: The versions of what makes an output's bytes; "" for what is not installed.
Versions: TypeAlias = "dict[str, str]"


def version_probe() -> Callable[[], Versions]:
    """A function that says what is installed.

    cloudpickle sends it whole, for it is no module's: so it runs also where sentstream is not installed, or
    is another one.

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


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """In what two machines differ, as one would say it.

    >>> differences({"pyarrow": "18.0.0", "numpy": ""}, {"pyarrow": "26.0.1", "numpy": "2.4.6"})
    ['pyarrow 18.0.0, not 26.0.1', 'no numpy']
    """
    return [
        f"{name} {there[name]}, not {version}" if there.get(name) else f"no {name}"
        for name, version in here.items()
        if there.get(name) != version
    ]
