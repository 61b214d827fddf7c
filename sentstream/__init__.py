"""Sentiment of tweets from recurrent networks: Arrow in, Arrow out.

>>> import sentstream
>>> model = sentstream.load("sentiment140")
>>> model.score(["what a lovely morning", None])["sentiment"].to_pylist()
['positive', None]

This module has what most programs need: ``load`` opens a model that scores texts, tables and record batches;
``score_files`` scores files as ``sentstream score`` does; ``explain`` shows the effect of each word of a
text; ``errors`` has every exception that is raised deliberately. ``sentstream.duckdb``, ``.polars``,
``.pandas`` and ``.spark`` run the same scorer in those libraries.

Importing the package loads nothing heavy: pyarrow and ONNX Runtime are imported on first use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sentstream import errors

if TYPE_CHECKING:
    from sentstream.dataset.preparation import score_files
    from sentstream.explanation import Explanation, explain
    from sentstream.model import Model
    from sentstream.scorer import Scored, Scorer
    from sentstream.session import Provider

__version__ = "0.1.0"
__all__ = [
    "Explanation",
    "Model",
    "Scored",
    "Scorer",
    "__version__",
    "errors",
    "explain",
    "load",
    "score_files",
]
_MODULES = {
    "Explanation": "sentstream.explanation",
    "Model": "sentstream.model",
    "Scored": "sentstream.scorer",
    "Scorer": "sentstream.scorer",
    "explain": "sentstream.explanation",
    "score_files": "sentstream.dataset.preparation",
}


#: Imported on first use, together with the library of that name.
_INTEGRATIONS = {"duckdb", "pandas", "polars", "spark"}


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    provider: Provider = "auto",
    threads: int | None = None,
    max_chars: int | None = None,
    device: int | None = None,
    gpu_memory: int | None = None,
) -> Model:
    """Load and verify a model.

    Args:
        name_or_path: The name of a model that ships, or the path of a bundle; by default the model
            that ``sentstream score`` uses.
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA if it works, otherwise the CPU.
        threads: Number of scoring threads; by default one per CPU available to this process.
        max_chars: Number of characters to read of each text, instead of the model's own limit.
        device: The CUDA device number; 0 by default.
        gpu_memory: Maximum size in bytes of ONNX Runtime's arena in GPU memory; no limit by default.

    Raises:
        BundleError: The model does not exist or is not valid.
        UsageError: An option has an invalid value.
        ProviderError: ``"cuda"`` was requested but cannot run here, or not on this device.
        MissingExtraError: ONNX Runtime is not installed.
    """
    from sentstream.model import Model

    return Model.load(
        name_or_path,
        provider=provider,
        threads=threads,
        max_chars=max_chars,
        device=device,
        gpu_memory=gpu_memory,
    )


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _INTEGRATIONS:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
