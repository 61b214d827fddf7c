"""``sentstream evaluate``: how good a model is on labeled rows."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.common import Json
from sentstream.cli.options.completion import complete_model
from sentstream.cli.terminal.reports import Html, Overwrite, deliver
from sentstream.cli.terminal.row_bar import row_bar

_beside = partial(typer.Option, rich_help_panel="Comparison")
_look = partial(typer.Option, rich_help_panel="Details")

EXAMPLES = """[bold]Examples[/bold]

sentstream evaluate tweets heldout.csv

sentstream evaluate runs/mine heldout.parquet --baselines --html report.html

sentstream evaluate tweets test.parquet --compare sentiment140

sentstream evaluate tweets test.parquet --without train.parquet
"""


def evaluate(
    model: options.TrainedModel,
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA", help="Labeled rows: CSV or Parquet.", show_default=False),
    ],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    labels: Annotated[
        str | None,
        options.rows(
            metavar="NAMES",
            help="Use only rows with these labels, e.g. negative,positive.",
            show_default="all that the model knows",
        ),
    ] = None,
    choose_among: Annotated[
        Literal["all", "judged"],
        options.rows(
            metavar="HOW",
            help="Labels a model can predict: all (its own) or judged (those of --labels).",
        ),
    ] = "all",
    without: Annotated[
        list[str] | None,
        options.rows(
            metavar="FILE",
            help="Leave out rows whose text is in this file, such as a training set. Repeatable.",
            show_default=False,
        ),
    ] = None,
    baselines: Annotated[
        bool,
        _beside(
            "--baselines",
            help="Evaluate VADER, TextBlob, and TF-IDF with logistic regression on the same rows.",
        ),
    ] = False,
    baseline_train: Annotated[
        list[str] | None,
        _beside(
            metavar="DATA",
            help="Rows to train TF-IDF on, with the same column names. Implies --baselines. Repeatable.",
            show_default="the evaluated rows, cross-validated",
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        _look(
            "--slice",
            metavar="NAME",
            help="Break the figures down by the values of this column. Repeatable.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        _beside(
            metavar="MODEL",
            help="Evaluate this model on the same rows, too. Repeatable.",
            show_default=False,
            autocompletion=complete_model,
        ),
    ] = None,
    worst: Annotated[
        int,
        _look(metavar="N", help="List the N errors that the model was most confident of.", min=0),
    ] = 20,
    show_texts: Annotated[bool, _look("--show-texts", help="Show the texts of the listed errors.")] = False,
    html: Html = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Evaluate a model on labeled tweets: accuracy, calibration, slices and worst errors.

    Reports accuracy and macro-recall with intervals, figures per label, calibration,
    slices, the gain from abstaining, and the worst errors.

    Rows without a text, without a label, or with a label unknown to the model (neutral
    for a two-label model) are left out and counted. --without compares texts regardless
    of punctuation and case. --choose-among judged drops the probabilities of labels not
    in --labels and renormalizes the rest.
    """
    from sentstream.report.page import check_target
    from sentstream_train.evaluate.run import evaluate as run
    from sentstream_train.report.evaluation.page import evaluation_page
    from sentstream_train.report.terminal import evaluation_tables

    if html:
        check_target(html, overwrite=overwrite)
    with row_bar("evaluating") as progress, options.training_extra():
        result = run(
            model,
            data,
            text_column=text_column,
            label_column=label_column,
            labels=options.split_names(labels),
            choose_among=choose_among,
            without=without or (),
            baselines=baselines,
            baseline_paths=baseline_train or (),
            slices=slices or (),
            compare=compare or (),
            worst=worst,
            show_texts=show_texts,
            progress=progress,
        ).to_dict()
    deliver(
        result, page=evaluation_page, tables=evaluation_tables, html=html, overwrite=overwrite, as_json=json
    )
