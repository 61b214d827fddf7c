"""Sentiment of tweets from recurrent networks: Arrow in, Arrow out.

>>> import sentstream
>>> model = sentstream.load("sentiment140")
>>> model.score(["what a lovely morning", None])["sentiment"].to_pylist()
['positive', None]

Everything that most programs need is here: ``load`` opens a model, which scores texts, tables and record
batches; ``score_files`` scores Parquet files as ``sentstream score`` does; ``explain`` says what each word of
a text does; ``errors`` has all that is raised on purpose. ``sentstream.duckdb``, ``.polars``, ``.pandas`` and
``.spark`` are doors to the same scorer.

Importing the package loads nothing heavy; the first use of one of these brings pyarrow and ONNX Runtime in.
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
_WHERE = {
    "Explanation": "sentstream.explanation",
    "Model": "sentstream.model",
    "Scored": "sentstream.scorer",
    "Scorer": "sentstream.scorer",
    "explain": "sentstream.explanation",
    "score_files": "sentstream.dataset.preparation",
}


#: Loaded when they are first asked for, with the library that each is for.
_DOORS = {"duckdb", "pandas", "polars", "spark"}


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
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where it works, else the CPU.
        threads: Threads that share the work; by default one for each CPU of this process.
        max_chars: Characters of a text that are read, instead of the model's own limit.
        device: The number of the CUDA device, 0 by default.
        gpu_memory: The most bytes that ONNX Runtime's arena takes of the GPU's memory; no limit by default.

    Raises:
        BundleError: There is no such model, or it is not sound.
        ProviderError: ``"cuda"`` was asked for and cannot run here, or not on this device.
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

    if name in _DOORS:
        return import_module(f"{__name__}.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
