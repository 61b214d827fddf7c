"""``sentstream reference``: the baseline that drift of a stream is measured against."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sentstream.cli.options.common import (
    Abstention,
    Inputs,
    Json,
    ModelChoice,
    ProviderChoice,
    StorageOptions,
    parse_storage_options,
)
from sentstream.cli.terminal.messages import harmless_line
from sentstream.cli.terminal.row_bar import row_bar
from sentstream.cli.terminal.streams import print_data, print_json
from sentstream.errors import OutputExistsError, counted

_option = partial(typer.Option, show_envvar=False)

EXAMPLES = """[bold]Examples[/bold]

sentstream reference last-month/ --output reference.json

sentstream reference 's3://tweets/2026-11/*.parquet' --output reference.json
"""


def reference(
    inputs: Inputs,
    output: Annotated[
        Path, _option("--output", "-o", metavar="FILE", help="File to write.", show_default=False)
    ],
    text_column: Annotated[
        str, _option(metavar="NAME", help="Column that holds the tweets.", rich_help_panel="Input")
    ] = "text",
    model: ModelChoice = "tweets",
    provider: ProviderChoice = "auto",
    abstain: Abstention = None,
    storage_option: StorageOptions = None,
    overwrite: Annotated[bool, _option("--overwrite", help="Replace existing output.")] = False,
    json: Json = False,
) -> None:
    """Record a baseline of labels, scores and unknown words from typical tweets, to measure drift.

    `consume --reference` compares a stream with it. The file holds counts, not texts. It
    needs at least 1,000 texts; a few hundred thousand from a typical week are plenty.
    """
    from sentstream.model import Model
    from sentstream.reference import measure

    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} already exists", hint="give --overwrite, or another --output")
    loaded = Model.load(model, provider=provider)
    with row_bar("scoring") as progress:
        result = measure(
            inputs,
            loaded,
            text_column=text_column,
            abstain=abstain,
            storage_options=parse_storage_options(storage_option),
            progress=progress,
        )
    result.save(output, overwrite=overwrite)
    if json:
        print_json(result.to_dict())
        return
    texts = result.texts
    shares = ", ".join(f"{label} {count / texts.texts:.1%}" for label, count in texts.labels.items())
    unknown = "" if texts.unknown_share is None else f", unknown words {texts.unknown_share:.1%}"
    print_data(
        harmless_line(
            f"{output}: {counted(texts.texts, 'text')}, {shares}, mean score {texts.mean_score:.3f}{unknown}"
        )
    )
