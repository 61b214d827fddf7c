"""``sentstream verify``: verify outputs against the manifest of the run that wrote them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from sentstream.cli.options.common import Json, StorageOptions, parse_storage_options
from sentstream.cli.terminal.messages import harmless_line
from sentstream.cli.terminal.streams import print_data, print_json
from sentstream.errors import VerificationError, counted

_option = partial(typer.Option, show_envvar=False)
_MOST = 1000  # findings to print

EXAMPLES = """[bold]Examples[/bold]

sentstream verify scored/

sentstream verify scored/ --inputs bucket/ --sample 1000

sentstream verify s3://tweets/scored/ --json
"""


def verify(
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="Output of the run: a directory, a URI, or a file scored with --resume.",
            show_default=False,
            show_envvar=False,
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        _option(metavar="INPUT", help="Inputs of the run, to compare as well. Repeatable."),
    ] = None,
    sample: Annotated[
        int, _option(metavar="N", min=0, help="Score N random rows again and compare the results.")
    ] = 0,
    seed: Annotated[
        int | None,
        _option(metavar="N", help="Random seed of --sample.", show_default="random"),
    ] = None,
    model: Annotated[
        str | None,
        _option(
            metavar="MODEL",
            help="Model that scored the rows, for --sample.",
            show_default="the shipped one, by name",
        ),
    ] = None,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Verify outputs against the manifest of the run that wrote them.

    Each file must hold the bytes that were written; no file may be missing or extra.
    With --sample, rows are scored again and must give bit-identical results on the same
    kind of CPU.
    """
    from sentstream.dataset.verify import verify as compare

    result = compare(
        output,
        inputs=inputs,
        sample=sample,
        seed=seed,
        model=model,
        storage_options=parse_storage_options(storage_option),
    )
    if json:
        print_json(result.to_dict())
    else:
        for finding in result.findings[:_MOST]:
            print_data(harmless_line(f"{finding.name}: {finding.problem}"))
        print_data(
            f"{counted(result.outputs, 'output')}, {counted(result.rows, 'row')}, {result.bytes:,} bytes"
            + (f", {counted(result.skipped, 'input')} skipped" if result.skipped else "")
            + (f", {counted(result.sampled, 'row')} scored again" if result.sampled else "")
            + ("" if result.findings else ": matches the manifest")
        )
    if result.findings:
        first = result.findings[0]
        raise VerificationError(
            f"{output}: {counted(len(result.findings), 'finding')}, the first {first.name}: {first.problem}",
            hint="remove the files that are wrong and run score with --resume to write them again",
        )
