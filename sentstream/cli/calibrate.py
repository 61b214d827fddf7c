"""``sentstream calibrate``: fit a temperature to labeled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.common import Json
from sentstream.cli.terminal.messages import warn
from sentstream.cli.terminal.reports import Html, Overwrite, deliver
from sentstream.cli.terminal.row_bar import row_bar
from sentstream.cli.terminal.streams import print_data

EXAMPLES = """[bold]Examples[/bold]

sentstream calibrate runs/mine validation.csv --output runs/calibrated

sentstream calibrate tweets held-out.csv -o runs/calibrated --html page.html

sentstream calibrate tweets news.csv games.csv --balance -o runs/calibrated
"""


def calibrate(
    model: options.TrainedModel,
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA",
            help="Labeled rows that the model was not trained on: CSV or Parquet. Each file counts the same,"
            " whatever its size.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory of the run to write.", show_default=False
        ),
    ],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    balance: Annotated[
        bool,
        typer.Option(
            "--balance",
            help="Also add an offset per label to the logits, so that labels that were rare in training are"
            " predicted as readily as others. Raises macro-recall; changes labels.",
        ),
    ] = False,
    html: Html = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Calibrate a trained model: fit a temperature to labeled rows and divide its logits by it.

    Changes the probabilities; labels only with --balance. Each file needs at least 100
    rows with labels that the model knows; others are left out and counted, as in evaluate.

    Several files from different domains give a temperature that generalizes: the result
    for each file is also measured at the temperature fitted to the others.
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
            balance=balance,
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
