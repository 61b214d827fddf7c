"""Options that several commands share, word for word."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from sentstream.cli.options.completion import complete_model
from sentstream.cli.options.kafka import parse_size

_model = partial(typer.Option, show_envvar=False, rich_help_panel="What scores it")

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Parquet: files, directories, quoted globs; or - for standard input.",
        show_default=False,
        show_envvar=False,
    ),
]
ModelChoice = Annotated[
    str,
    _model(
        metavar="NAME",
        help="A model that ships, or the path of a bundle.",
        autocompletion=complete_model,
    ),
]
ProviderChoice = Annotated[
    Literal["auto", "cpu", "cuda"], _model(help="What runs it; auto: cuda where it works, else cpu.")
]
Device = Annotated[
    int | None,
    _model(metavar="N", min=0, help="Number of the GPU, with CUDA.", show_default="0"),
]
GpuMemory = Annotated[
    str | None,
    _model(
        metavar="SIZE",
        help="Most memory of the GPU that ONNX Runtime's arena takes, e.g. 4GB.",
        show_default="no limit",
    ),
]
Abstention = Annotated[
    float | None,
    _model(
        metavar="BELOW",
        help="Label what scores below this, a probability, as uncertain.",
        show_default="never",
    ),
]


def parse_gpu_memory(text: str | None) -> int | None:
    """``--gpu-memory`` in bytes; None where it is not given.

    >>> parse_gpu_memory("4GB")
    4294967296

    Raises:
        UsageError: Not a size, or not more than 0.
    """
    return None if text is None else parse_size(text, "--gpu-memory")
