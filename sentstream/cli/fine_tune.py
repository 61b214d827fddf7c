"""``sentstream fine-tune``: a trained model to new labels or a new domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.completion import complete_model
from sentstream.cli.options.fields import with_fields
from sentstream.cli.options.training import fitting
from sentstream_train.config import Columns, DataConfig, FitConfig, override

EXAMPLES = """[bold]Examples[/bold]

sentstream fine-tune runs/mine support.csv --output runs/support

sentstream fine-tune tweets support.parquet --output runs/support --labels negative,neutral,positive
"""

#: A model that has learned already learns more from small steps.
_FITTING = replace(options.FITTING, defaults={"batch_size": 64, "learning_rate": 5e-4, "schedule": "linear"})
_EXAMPLES = replace(options.EXAMPLES, defaults={"validation": 0.1})


@with_fields
def fine_tune(
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
        typer.Argument(metavar="DATA", help="Labeled rows: CSV or Parquet.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the new run.", show_default=False)
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the fine-tuning in --output, with its own settings.")
    ] = False,
    json: options.Json = False,
    *,
    thaw: Annotated[
        Literal["chain", "gradual", "head", "all"],
        fitting(
            metavar="HOW",
            help="chain: the head, then each layer alone, then all. gradual: from the head down, one layer"
            " more at a time. head: only the head. all: everything at once.",
        ),
    ] = "chain",
    layer_decay: Annotated[
        float, fitting(metavar="X", help="A layer's learning rate is the next one's times this (adam).")
    ] = 0.8,
    epochs: Annotated[int, fitting(metavar="N", help="Most passes over the rows in each stage.")] = 10,
    teacher: options.Teacher = None,
    teacher_columns: options.TeacherColumns = None,
    how: Annotated[dict[str, Any], _FITTING],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    user_column: options.UserColumn = None,
    labels: options.Labels = None,
    rows: Annotated[dict[str, Any], _EXAMPLES],
    without: options.Without = None,
) -> None:
    """Fine-tune a trained model on labeled tweets of another domain or with other labels.

    The vocabulary and the text rules stay. Where the labels differ the
    classifier is new, but a label that both know keeps what was learned of
    it. Works from a hundred rows. A stage that makes the model no better on
    the held-out rows changes nothing.
    """
    with options.tensorflow():
        from sentstream_train.fit.distill import Teachers
        from sentstream_train.runs.fine_tune import fine_tune as run
    with options.watching() as watch:
        result = run(
            model,
            data,
            output,
            fitting=override(FitConfig(), epochs=epochs, **how),
            data=override(DataConfig(), **rows),
            columns=Columns(text_column, label_column, user_column),
            labels=options.split_names(labels),
            teachers=Teachers(tuple(teacher or ()), teacher_columns),
            without=without or (),
            thaw=thaw,
            layer_decay=layer_decay,
            resume=resume,
            progress=watch.progress,
            told=watch.told,
        )
    options.show(result, as_json=json)
