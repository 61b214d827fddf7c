"""Options that several commands share, with the same wording."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from sentstream.cli.options.completion import complete_model
from sentstream.cli.options.kafka import parse_size
from sentstream.errors import UsageError

#: Help of the inputs of ``score`` and of other commands that read the same ones.
INPUTS_HELP = "Files, directories, quoted globs or URIs (s3://…); - reads standard input."

_model = partial(typer.Option, show_envvar=False, rich_help_panel="Model")

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help=INPUTS_HELP,
        show_default=False,
        show_envvar=False,
    ),
]
StorageOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="KEY=VALUE",
        help="Object store setting, e.g. region=eu-central-1. Repeatable.",
        show_default=False,
        show_envvar=False,
        rich_help_panel="Input",
    ),
]
ModelChoice = Annotated[
    str,
    _model(
        metavar="MODEL",
        help="Name of a shipped model, or path of a bundle.",
        autocompletion=complete_model,
    ),
]
ProviderChoice = Annotated[
    Literal["auto", "cpu", "cuda"], _model(help="Execution provider; auto picks CUDA if it works.")
]
Device = Annotated[
    int | None,
    _model(metavar="N", min=0, help="Index of the CUDA device to use.", show_default="0"),
]
GpuMemory = Annotated[
    str | None,
    _model(
        metavar="SIZE",
        help="Limit of ONNX Runtime's GPU memory arena, e.g. 4GB.",
        show_default="no limit",
    ),
]
Abstention = Annotated[
    float | None,
    _model(
        metavar="BELOW",
        help="Label rows whose probability is below this value as uncertain.",
        show_default="never",
    ),
]
MaxChars = Annotated[
    int | None,
    _model(
        metavar="N",
        min=1,
        help="Read at most N characters of each tweet.",
        show_default="the model's limit (1000)",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", show_envvar=False)]


def parse_storage_options(values: list[str] | None) -> dict[str, str]:
    """Parse ``--storage-option KEY=VALUE`` into a mapping.

    >>> parse_storage_options(["region=eu-central-1", "s3.endpoint=http://localhost:9000/?a=b"])
    {'region': 'eu-central-1', 's3.endpoint': 'http://localhost:9000/?a=b'}

    Raises:
        UsageError: An option has no equals sign, or is given more than once.
    """
    options: dict[str, str] = {}
    for one in values or ():
        key, equals, value = one.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--storage-option {key}: no value", hint="write KEY=VALUE")
        if key.strip() in options:
            raise UsageError(f"--storage-option {key} is given twice", hint="give it once")
        options[key.strip()] = value
    return options


def parse_gpu_memory(text: str | None) -> int | None:
    """Parse ``--gpu-memory`` into bytes; None if it is not given.

    >>> parse_gpu_memory("4GB")
    4294967296

    Raises:
        UsageError: Not a size, or not more than 0.
    """
    return None if text is None else parse_size(text, "--gpu-memory")
