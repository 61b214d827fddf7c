"""The environment of a run: CPU, commit, versions. No host name, no path."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sentstream.doctor.machine import parse_cpuinfo, simd
from sentstream.session import usable_cpus

ROOT = Path(__file__).resolve().parents[1]
#: Packages whose version may change a figure.
PACKAGES = (
    *("sentstream", "numpy", "pyarrow", "onnxruntime", "tensorflow", "keras", "tf2onnx"),
    *("vaderSentiment", "fasttext-community", "tokenizers"),
)


def machine() -> dict[str, Any]:
    """Describe the CPU and the number of cores that this process may use."""
    path = Path("/proc/cpuinfo")
    return describe(path.read_text("utf-8", "replace") if path.exists() else "", usable_cpus())


def describe(cpuinfo: str, cores: int) -> dict[str, Any]:
    """Return ``machine`` for the text of a ``/proc/cpuinfo``.

    Different processors may share a name, so the family and model numbers are included.

    >>> describe("model name: A Processor\\ncpu family: 25\\nmodel: 17\\nflags: sse2 avx2\\n", 2)
    {'cpu': 'A Processor', 'family': '25', 'model': '17', 'cores': 2, 'simd': ['AVX2']}
    """
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    name, flags = parse_cpuinfo(cpuinfo)
    return {
        "cpu": name or platform.machine() or "unknown CPU",
        "family": fields.get("cpu family", fields.get("cpu implementer", "")),
        "model": fields.get("model", fields.get("cpu part", "")),
        "cores": cores,
        "simd": [kind for kind, has in simd(flags).items() if has],
    }


def machine_line(info: dict[str, Any] | None = None) -> str:
    """Describe a machine for people, by default this one: ``2 cores of AMD EPYC``.

    >>> machine_line({"cpu": "A Processor", "cores": 1, "family": "25", "model": "17", "simd": ["AVX2"]})
    '1 core of A Processor (family 25, model 17, AVX2)'
    """
    info = machine() if info is None else info
    parts = [f"{name} {info[name]}" for name in ("family", "model") if info[name]] + info["simd"]
    cores = f"{info['cores']} core{'s' * (info['cores'] != 1)} of {info['cpu']}"
    return cores + (f" ({', '.join(parts)})" if parts else "")


def commit() -> str:
    """Return the checked-out commit, with ``+`` if files differ from it; "" without git."""
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/history.jsonl")
    return head + "+" * bool(head and changed)


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of the given packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
