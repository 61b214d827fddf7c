"""Options that several commands share, word for word."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

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
ModelChoice = Annotated[str, _model(metavar="NAME", help="A model that ships, or the path of a bundle.")]
ProviderChoice = Annotated[
    Literal["auto", "cpu", "cuda"], _model(help="What runs it; auto: cuda where it works, else cpu.")
]
Abstention = Annotated[
    float | None,
    _model(
        metavar="BELOW",
        help="Label what scores below this, a probability, as uncertain.",
        show_default="never",
    ),
]
