"""``sentstream calibrate``: probabilities that mean what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.completion import complete_model
from sentstream.cli.terminal.messages import warn
from sentstream.cli.terminal.reports import Html, Overwrite, deliver
from sentstream.cli.terminal.row_bar import row_bar
from sentstream.cli.terminal.streams import print_data

EXAMPLES = """[bold]Examples[/bold]

sentstream calibrate runs/mine validation.csv --output runs/calibrated

sentstream calibrate tweets validation.parquet --output runs/calibrated --html calibration.html

sentstream calibrate tweets news.csv games.csv phones.csv --output runs/calibrated
"""


def calibrate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Folder of a finished run, its model.keras, or a bundle (a name that ships, or a path).",
            show_default=False,
            autocompletion=complete_model,
        ),
    ],
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA",
            help="Labeled rows that the model has not learned: CSV or Parquet. Of several files, each counts"
            " the same, whatever its size.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the new run.", show_default=False)
    ],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    html: Html = None,
    overwrite: Overwrite = False,
    json: options.Json = False,
) -> None:
    """Calibrate a trained model: fit one temperature to labeled rows and divide its logits by it.

    No label changes, only how sure the model says it is. Needs a hundred rows
    a file with labels that the model knows; the others are left out and
    counted, as in an evaluation.

    Files of several kinds, each of which counts the same, give a temperature
    that travels: what it does to each of them is told at the temperature that
    the other files give.
    """
    from sentstream.report.page import check_target
    from sentstream_train.report.calibration import calibration_page, calibration_tables

    if html:
        check_target(html, overwrite=overwrite)
    with options.tensorflow():
        from sentstream_train.config import Columns
        from sentstream_train.runs.calibrate import calibrate as run
    with row_bar("scoring") as progress:
        result = run(
            model,
            data,
            output,
            columns=Columns(text_column, label_column),
            labels=options.split_names(labels),
            progress=progress,
        )
    for warning in result.warnings:
        warn(warning)
    deliver(
        result.to_dict(),
        page=calibration_page,
        tables=calibration_tables,
        html=html,
        overwrite=overwrite,
        as_json=json,
    )
    if not json:
        print_data(f"model: {result.folder.model}")
        print_data(f"next:  sentstream export-onnx {result.folder.path} --output BUNDLE")
