"""The installed packages: versions, Kafka clients, and the distribution of ONNX Runtime."""

from __future__ import annotations

from typing import Any

import sentstream
from sentstream.cuda.placement import CUDA
from sentstream.doctor.findings import Finding, Section, problem
from sentstream.errors import MissingExtraError, how_to_install, one_line
from sentstream.session import import_runtime
from sentstream.versions import RUNTIMES, installed, python, system

_ALWAYS = ("numpy", "pyarrow")
_KAFKA = ("kafka-python", "confluent-kafka")
#: Optional packages, and the extra that installs each.
_EXTRAS = {
    "confluent-kafka": "fast-kafka",
    "obstore": "cloud",
    "fsspec": "fsspec",
    "deltalake": "delta",
    "pyiceberg": "iceberg",
    "ray": "ray",
    "pyspark": "spark",
    "duckdb": "duckdb",
    "polars": "polars",
    "pandas": "pandas",
    "nltk": "nltk",
    "keras": "train",
    "tensorflow": "train",
}


def packages() -> Section:
    """The versions of sentstream, Python, and sentstream's dependencies."""
    found = {name: installed(name) for name in dict.fromkeys((*_ALWAYS, *_KAFKA, *_EXTRAS))}
    base = [
        f"sentstream {sentstream.__version__}",
        python(),
        *(_words(name, found[name]) for name in _ALWAYS),
    ]
    lacking = [name for name in (*_ALWAYS, "kafka-python") if found[name] is None]
    findings = [
        Finding(
            "versions",
            "note" if lacking else "ok",
            f"{', '.join(base)}, on {system()}",
            f"pip install {' '.join(lacking)}" if lacking else None,
        ),
        Finding("Kafka", "ok", ", ".join(_words(name, found[name]) for name in _KAFKA)),
    ]
    others = [_words(name, found[name]) for name in _EXTRAS if name not in _KAFKA]
    findings.append(Finding("extras", "ok", ", ".join(others)))
    return Section(
        "packages",
        {"sentstream": sentstream.__version__, "python": python(), "system": system(), **found},
        findings,
    )


def _words(name: str, found: str | None) -> str:
    if found is not None:
        return f"{name} {found}"
    extra = _EXTRAS.get(name)
    return f"no {name} (extra {extra})" if extra else f"no {name}"


def runtime() -> Section:
    """Which ONNX Runtime is installed, and whether it can be imported."""
    distributions = {name: found for name in RUNTIMES if (found := installed(name)) is not None}
    named = " and ".join(f"{name} {found}" for name, found in distributions.items())
    facts: dict[str, Any] = {"distributions": distributions, "version": None, "providers": []}
    try:
        module = import_runtime()
        facts["version"], facts["providers"] = module.__version__, module.get_available_providers()
    except MissingExtraError as error:
        return Section("onnxruntime", facts, [_absent(error, named)])
    except Exception as error:  # from its native library, or an incompatible NumPy
        words = one_line(f"{type(error).__name__}: {error}")
        wrapped = MissingExtraError(
            f"ONNX Runtime cannot be imported: {words}",
            hint=how_to_install("cpu").replace("pip install", "pip install --force-reinstall", 1),
        )
        return Section("onnxruntime", facts, [_absent(wrapped, named)])
    if len(distributions) > 1:
        which = "with" if CUDA in facts["providers"] else "without"
        finding = Finding(
            "ONNX Runtime",
            "note",
            f"{named} are both installed and overwrite each other's files; {module.__version__} runs, "
            f"{which} CUDA",
            f"pip uninstall {' '.join(distributions)}, then {how_to_install('cpu')}, or [cuda]",
        )
    elif named:
        finding = Finding("ONNX Runtime", "ok", named)
    else:
        finding = Finding("ONNX Runtime", "ok", f"{module.__version__}, not installed by pip")
    return Section("onnxruntime", facts, [finding])


def _absent(error: MissingExtraError, named: str) -> Finding:
    """The finding if ONNX Runtime cannot be imported; it may still be listed as installed."""
    if not named:
        return problem("ONNX Runtime", error)
    text = f"{error.message}; {named} {'are' if ' and ' in named else 'is'} listed as installed"
    hint = f"pip uninstall onnxruntime onnxruntime-gpu, then {how_to_install('cpu')}, or [cuda]"
    return Finding("ONNX Runtime", "problem", text, hint, error.exit_code)
