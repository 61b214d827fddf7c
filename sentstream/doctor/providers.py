"""What can run a model here: the CPU, CUDA, and why not.

CUDA is tried in a process of its own: its libraries are large, print to standard error what they lack,
and may take the process with them.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sentstream.bundle import DEFAULT_MODEL, Bundle, load_bundle
from sentstream.doctor.findings import Finding, Section, problem
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.errors import BundleError, SentstreamError
from sentstream.session import CPU, CUDA, ON_CPU, ON_CUDA, Provider, Session, create, import_runtime

_SHORT = {CPU: "the CPU", CUDA: "CUDA"}
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: Of the CUDA driver (CUresult).
_NO_DEVICE = 100
_PATIENCE = 120  # seconds; a first start of CUDA compiles for a while
#: What ONNX Runtime says when it cannot load a library of CUDA: on Linux, and on Windows.
_LACKING = re.compile(r"with error: ([^\s:]+): cannot open shared object|which depends on \"([^\"]+)\"")
_LENGTHS = [length for length in range(4, 20) for _ in range(8)]


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver.

    Attributes:
        devices: GPUs that it offers to this process.
        problem: Why there is none.
    """

    devices: int
    problem: str | None


def providers() -> Section:
    """What ONNX Runtime lists, and what of it runs the default model."""
    try:
        listed: list[str] = import_runtime().get_available_providers()
    except Exception:  # which the section about packages tells
        return Section("providers", None)
    cpu, cpu_finding = _cpu()
    cuda, cuda_finding = _cuda(listed)
    findings = [cpu_finding, cuda_finding]
    if others := [name for name in listed if name not in (CPU, CUDA)]:
        words = ", ".join(name.removesuffix("ExecutionProvider") for name in others)
        findings.append(Finding("other providers", "ok", f"{words}: listed, never used by sentstream"))
    return Section("providers", {"listed": listed, "cpu": cpu, "cuda": cuda}, findings)


def _cpu() -> tuple[dict[str, Any], Finding]:
    try:
        found = probe("cpu")
    except BundleError as error:  # whose own line says it, too
        return {"usable": None, "reason": error.message}, Finding(
            "CPU", "note", f"not tried: {error.message}"
        )
    except SentstreamError as error:
        return {"usable": False, "reason": error.message}, problem("CPU", error)
    return {"usable": True, **found}, Finding("CPU", "ok", _ran(found["nodes"]))


def _cuda(listed: list[str]) -> tuple[dict[str, Any], Finding]:
    found_driver = driver()
    if CUDA not in listed:
        reason = "this ONNX Runtime is built without it"
        fact = {"usable": False, "reason": reason, "driver": asdict(found_driver)}
        if not found_driver.devices:
            return fact, Finding("CUDA", "ok", f"not used: {reason}; {found_driver.problem}")
        text = f"not used: {reason}, but there is a GPU"
        hint = "pip uninstall onnxruntime, then pip install 'sentstream[cuda]'"
        return fact, Finding("CUDA", "note", text, hint)
    found, error, log = _probe_apart("cuda")
    if found is not None:
        text = f"{_ran(found['nodes'])}; at most {found['difference']:.0e} from the CPU's probabilities"
        return {"usable": True, "driver": asdict(found_driver), **found}, Finding("CUDA", "ok", text)
    reason, hint = why_not(found_driver, error, log)
    fact = {"usable": False, "reason": reason, "driver": asdict(found_driver)}
    return fact, Finding("CUDA", "note", f"not used: {reason}", hint)


def _ran(nodes: dict[str, int]) -> str:
    parts = [f"{count} nodes on {_SHORT.get(name, name)}" for name, count in nodes.items()]
    return f"runs {DEFAULT_MODEL}: {', '.join(parts)}"


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
    return Driver(count.value, None)


def why_not(found: Driver, error: str, log: str) -> tuple[str, str]:
    """Why CUDA does not run though ONNX Runtime is built for it, and what to do.

    Args:
        found: The driver.
        error: What the session said.
        log: What ONNX Runtime wrote to standard error.
    """
    match = _LACKING.search(log)
    library = match and (match[1] or match[2])
    reasons = [reason for reason in (found.problem, library and f"{library} does not load") if reason]
    if found.problem:
        return "; ".join(reasons), "nothing to do on a machine without an NVIDIA GPU: the CPU runs it"
    if library:
        return reasons[0], "pip install 'sentstream[cuda]' brings the libraries of CUDA and cuDNN"
    return error, "its driver may be too old for this CUDA: see nvidia-smi"


def probe(provider: Provider) -> dict[str, Any]:
    """Run the default model, and count which provider its nodes ran on.

    Returns:
        ``nodes``: for each provider, how many nodes of the graph it ran; for ``cuda`` also ``difference``,
        the largest one to the CPU's probabilities.

    Raises:
        ProviderError: It cannot run here.
        SentstreamError: The model cannot be loaded or run.
    """
    bundle = load_bundle(DEFAULT_MODEL)
    session = Session(bundle, provider)
    found: dict[str, Any] = {"nodes": _nodes(bundle, ON_CPU if provider == "cpu" else ON_CUDA)}
    if provider != "cpu":
        encoded = bundle.text.encode(synthetic_tweets(bundle.text.vocabulary, _LENGTHS))
        first, second = (one.probabilities(encoded) for one in (session, Session(bundle, "cpu")))
        found["difference"] = float(np.abs(first - second).max())
    return found


def _nodes(bundle: Bundle, on: list[Any]) -> dict[str, int]:
    """Nodes a provider, by ONNX Runtime's own profile of a run."""
    rows = {name: np.ones((2, 3), np.int32) for name in bundle.config["graph"]["inputs"]}
    with tempfile.TemporaryDirectory() as folder:
        session = create(import_runtime(), bundle.model, on, profile=os.path.join(folder, "profile"))
        session.run(None, rows)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    ran = {
        (event["name"], event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    return dict(Counter(provider for _, provider in sorted(ran)).most_common())


def _probe_apart(provider: Provider) -> tuple[dict[str, Any] | None, str, str]:
    """``probe`` in a process of its own: what it found, else its error, and its standard error."""
    program = f"from sentstream.doctor.providers import print_probe; print_probe({provider!r})"
    try:
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"it does not answer within {_PATIENCE} seconds", ""
    lines = run.stdout.splitlines()
    if run.returncode or not lines:
        return None, f"the process that tried it ended with code {run.returncode}", run.stderr
    answer: dict[str, Any] = json.loads(lines[-1])
    error = answer.pop("error", None)
    return (None, error, run.stderr) if error is not None else (answer, "", run.stderr)


def print_probe(provider: Provider) -> None:
    """What the other process does: ``probe``, as one line of JSON."""
    try:
        print(json.dumps(probe(provider)))
    except SentstreamError as error:
        print(json.dumps({"error": error.message}))
