"""``sentstream fine-tune``: adapt a trained model to new labels or a new domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.common import Json
from sentstream.cli.options.fields import with_fields
from sentstream.cli.options.training import fitting
from sentstream_train.config import Columns, DataConfig, FitConfig, override

EXAMPLES = """[bold]Examples[/bold]

sentstream fine-tune runs/mine support.csv --output runs/support

sentstream fine-tune tweets support.parquet --output runs/support --thaw head
"""

#: A trained model learns more from small steps.
_FITTING = replace(options.FITTING, defaults={"batch_size": 64, "learning_rate": 5e-4, "schedule": "linear"})
_EXAMPLES = replace(options.EXAMPLES, defaults={"validation": 0.1})


@with_fields
def fine_tune(
    model: options.TrainedModel,
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DATA", help="Labeled rows: CSV or Parquet.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory of the run to write.", show_default=False
        ),
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in --output, with its own settings.")
    ] = False,
    json: Json = False,
    *,
    thaw: Annotated[
        Literal["chain", "gradual", "head", "all"],
        fitting(
            metavar="HOW",
            help="Layers to train: chain (the head, then each layer alone, then all), gradual (from the head"
            " down, one more layer at a time), head, or all at once.",
        ),
    ] = "chain",
    layer_decay: Annotated[
        float,
        fitting(
            metavar="X", help="Factor of a layer's learning rate relative to the layer above (adam only)."
        ),
    ] = 0.8,
    epochs: Annotated[int, fitting(metavar="N", help="Maximum passes over the rows in each stage.")] = 10,
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

    Keeps the vocabulary and the text rules. If the labels differ, the classifier is new,
    but labels known to both keep their weights. Works with as few as 100 rows. A stage
    that does not improve the model on held-out rows is undone.
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
            on_epoch=watch.on_epoch,
        )
    options.show(result, as_json=json)
