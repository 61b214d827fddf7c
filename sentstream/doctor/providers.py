"""Which providers can run a model here, and why others cannot.

CUDA is tried in a separate process: its libraries are large, print missing dependencies to standard error,
and may crash the process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sentstream.bundle import DEFAULT_MODEL, Bundle, load_bundle
from sentstream.cuda.driver import Driver, driver
from sentstream.cuda.placement import CPU, CUDA, Placement, read_profile
from sentstream.doctor.findings import Finding, Section, Verdict, problem
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.errors import BundleError, SentstreamError, how_to_install
from sentstream.session import ON_CPU, Provider, Session, create, import_runtime

_PATIENCE = 120  # seconds; the first start of CUDA may compile for a while
_LACKING = re.compile(r"\S+\.(?:so|dll)\S* does not load")
#: The text around the reason in a ``ProviderError``.
_AROUND = re.compile(r"^CUDA cannot run here: |; available: .*$")
_LENGTHS = [length for length in range(4, 20) for _ in range(8)]


def providers() -> Section:
    """The providers that ONNX Runtime lists, and which of them run the default model."""
    try:
        available: list[str] = import_runtime().get_available_providers()
    except Exception:  # reported in the section about packages
        return Section("providers", None)
    cpu, cpu_finding = _cpu()
    cuda, cuda_finding = _cuda(available)
    findings = [cpu_finding, cuda_finding]
    if others := [name for name in available if name not in (CPU, CUDA)]:
        words = ", ".join(name.removesuffix("ExecutionProvider") for name in others)
        findings.append(Finding("other providers", "ok", f"{words}: listed, never used by sentstream"))
    return Section("providers", {"listed": available, "cpu": cpu, "cuda": cuda}, findings)


def _cpu() -> tuple[dict[str, Any], Finding]:
    try:
        found = probe("cpu")
    except BundleError as error:  # also reported in the model's own line
        return {"usable": None, "reason": error.message}, Finding(
            "CPU", "note", f"not tried: {error.message}"
        )
    except SentstreamError as error:
        return {"usable": False, "reason": error.message}, problem("CPU", error)
    return {"usable": True, **found}, Finding("CPU", "ok", _ran(found))


def _cuda(available: list[str]) -> tuple[dict[str, Any], Finding]:
    found_driver = driver()
    if CUDA not in available:
        reason = "this ONNX Runtime is built without CUDA"
        fact = {"usable": False, "reason": reason, "driver": asdict(found_driver)}
        if not found_driver.devices:
            return fact, Finding("CUDA", "ok", f"not used: {reason}; {found_driver.problem}")
        text = f"not used: {reason}, but there is a GPU"
        hint = f"pip uninstall onnxruntime, then {how_to_install('cuda')}"
        return fact, Finding("CUDA", "note", text, hint)
    found, error = _probe_apart("cuda")
    if found is not None:
        text = f"{_ran(found)}; at most {found['difference']:.0e} from the CPU's probabilities"
        # It is slow if nodes other than shape computations run on the CPU.
        verdict: Verdict = "note" if found["compute_on_cpu"] else "ok"
        return {"usable": True, "driver": asdict(found_driver), **found}, Finding("CUDA", verdict, text)
    reason, hint = why_not(found_driver, error)
    fact = {"usable": False, "reason": reason, "driver": asdict(found_driver)}
    return fact, Finding("CUDA", "note", f"not used: {reason}", hint)


def _ran(found: dict[str, Any]) -> str:
    return f"runs {DEFAULT_MODEL}: {found['summary']}"


def why_not(found: Driver, error: str) -> tuple[str, str]:
    """Return why CUDA does not work although ONNX Runtime is built for it, and what to do.

    Args:
        found: The driver.
        error: The session's error message.
    """
    if found.problem:
        return found.problem, "no action is needed without an NVIDIA GPU: the CPU is used"
    if library := _LACKING.search(error):
        return library[0], f"install the CUDA and cuDNN libraries: {how_to_install('cuda')}"
    return _AROUND.sub("", error), "the driver may be too old for this CUDA version: see nvidia-smi"


def probe(provider: Provider) -> dict[str, Any]:
    """Run the default model, and count the nodes that each provider ran.

    Returns:
        ``nodes``: the number of nodes that each provider ran; ``summary``: the same in words; for ``cuda``
        also ``compute_on_cpu`` and ``shapes_on_cpu``, the nodes that the CPU ran, and ``difference``, the
        largest difference from the CPU's probabilities.

    Raises:
        ProviderError: The provider cannot run here.
        SentstreamError: The model cannot be loaded or run.
    """
    bundle = load_bundle(DEFAULT_MODEL)
    session = Session(bundle, provider)
    placement = session.placement
    if placement is None:
        placement = _on_cpu(bundle)
        return {"nodes": placement.counts, "summary": str(placement)}
    encoded = bundle.text.encode(synthetic_tweets(bundle.text.vocabulary, _LENGTHS))
    first, second = (one.probabilities(encoded) for one in (session, Session(bundle, "cpu")))
    difference = float(np.abs(first - second).max())
    return {**placement.to_dict(), "summary": str(placement), "difference": difference}


def _on_cpu(bundle: Bundle) -> Placement:
    """The placement on the CPU, which a CPU session does not record itself."""
    rows = {name: np.ones((2, 1), np.int32) for name in bundle.config["graph"]["inputs"]}
    with tempfile.TemporaryDirectory() as folder:
        session = create(import_runtime(), bundle.model, ON_CPU, profile=os.path.join(folder, "profile"))
        session.run(None, rows)
        return read_profile(json.loads(Path(session.end_profiling()).read_text("utf-8")))


def _probe_apart(provider: Provider) -> tuple[dict[str, Any] | None, str]:
    """``probe`` in a separate process: its result, or None and the error."""
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
        return None, f"it did not answer within {_PATIENCE} seconds"
    lines = run.stdout.splitlines()
    if run.returncode or not lines:
        return None, f"the process that tried it exited with code {run.returncode}"
    answer: dict[str, Any] = json.loads(lines[-1])
    error = answer.pop("error", None)
    return (None, error) if error is not None else (answer, "")


def print_probe(provider: Provider) -> None:
    """Print the result of ``probe`` as one line of JSON; called in the separate process."""
    try:
        print(json.dumps(probe(provider)))
    except SentstreamError as error:
        print(json.dumps({"error": error.message}))
