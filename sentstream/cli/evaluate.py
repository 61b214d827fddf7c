"""``sentstream evaluate``: how good is a model on labeled rows?"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.completion import complete_model
from sentstream.cli.terminal.reports import Html, Overwrite, deliver
from sentstream.cli.terminal.row_bar import row_bar

_beside = partial(typer.Option, rich_help_panel="What it is compared with")
_look = partial(typer.Option, rich_help_panel="A closer look")

EXAMPLES = """[bold]Examples[/bold]

sentstream evaluate tweets heldout.csv

sentstream evaluate runs/mine heldout.parquet --label-column mood --baselines --html report.html

sentstream evaluate tweets test.parquet --compare sentiment140 --labels negative,positive

sentstream evaluate tweets test.parquet --without train.parquet
"""


def evaluate(
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
        list[str],
        typer.Argument(metavar="DATA", help="Labeled rows: CSV or Parquet.", show_default=False),
    ],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    labels: Annotated[
        str | None,
        options.rows(
            metavar="NAMES",
            help="Judge only rows with these labels, e.g. negative,positive.",
            show_default="all that the model knows",
        ),
    ] = None,
    choose_among: Annotated[
        Literal["all", "judged"],
        options.rows(
            metavar="HOW",
            help="What a model chooses among: all of its labels, or judged, those of --labels.",
        ),
    ] = "all",
    without: Annotated[
        list[str] | None,
        options.rows(
            metavar="FILE",
            help="Leave out rows whose text stands in this file, what was trained on, say; may be given"
            " again.",
            show_default=False,
        ),
    ] = None,
    baselines: Annotated[
        bool,
        _beside(
            "--baselines",
            help="Judge VADER, TextBlob, and TF-IDF with logistic regression on the same rows.",
        ),
    ] = False,
    baseline_train: Annotated[
        list[str] | None,
        _beside(
            metavar="DATA",
            help="What TF-IDF learns from, with columns of the same names; may be given again. Implies"
            " --baselines.",
            show_default="the judged rows, cross-validated",
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        _look(
            "--slice",
            metavar="NAME",
            help="Figures for each value of this column, too; may be given again.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        _beside(
            metavar="MODEL",
            help="Judge this model on the same rows, too; may be given again.",
            show_default=False,
            autocompletion=complete_model,
        ),
    ] = None,
    worst: Annotated[
        int,
        _look(metavar="N", help="Name the N wrong rows that it was surest of.", min=0),
    ] = 20,
    show_texts: Annotated[bool, _look("--show-texts", help="Show the texts of those rows.")] = False,
    html: Html = None,
    overwrite: Overwrite = False,
    json: options.Json = False,
) -> None:
    """Judge a model on labeled tweets: how often it is right, where, and how well it knows.

    Accuracy and macro-recall with their intervals, figures of each label,
    calibration, slices, what abstaining gains, the worst errors.

    Left out and counted: rows without a text, without a label, or with a label
    that the model does not know, as neutral is for a model of two labels; with
    --without also rows that repeat a text, whatever its marks and capitals. With
    --choose-among judged the probabilities of labels that --labels leaves out
    are set aside and the rest renormalized.
    """
    from sentstream.report.page import check_target
    from sentstream_train.evaluate.run import evaluate as run
    from sentstream_train.report.evaluation import evaluation_page
    from sentstream_train.report.terminal import evaluation_tables

    if html:
        check_target(html, overwrite=overwrite)
    with row_bar("judging") as progress, options.training_extra():
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
