"""``sentstream fine-tune``: a trained model to new labels or a new domain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.completion import complete_model
from sentstream.cli.options.training import fitting

EXAMPLES = """[bold]Examples[/bold]

sentstream fine-tune runs/mine support.csv --output runs/support

sentstream fine-tune tweets support.parquet --output runs/support --labels negative,neutral,positive
"""


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
    teacher_weight: options.TeacherWeight = 0.5,
    teacher_temperature: options.TeacherTemperature = 1.0,
    batch_size: options.BatchSize = 64,
    optimizer: options.Optimizer = "adam",
    learning_rate: options.LearningRate = 5e-4,
    schedule: options.Schedule = "linear",
    warmup: options.Warmup = 0.02,
    weight_decay: options.WeightDecay = 0.0,
    clip_norm: options.ClipNorm = 1.0,
    patience: options.Patience = 2,
    class_weights: options.ClassWeights = "none",
    max_tokens: options.MaxTokens = 64,
    seed: options.Seed = 1,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    user_column: options.UserColumn = None,
    labels: options.Labels = None,
    validation: options.Validation = 0.1,
    conflicts: options.Conflicts = "majority",
    duplicates: options.Duplicates = "first",
    limit: options.Limit = 0,
    without: options.Without = None,
) -> None:
    """Fine-tune a trained model on labeled tweets of another domain or with other labels.

    The vocabulary and the text rules stay. Where the labels differ the
    classifier is new, but a label that both know keeps what was learned of
    it. Works from a hundred rows.
    """
    with options.tensorflow():
        from sentstream_train.config import DataConfig, FitConfig, override
        from sentstream_train.fit.distill import Teachers
        from sentstream_train.runs.fine_tune import fine_tune as run
        from sentstream_train.runs.train import Columns
    how = override(
        FitConfig(),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        schedule=schedule,
        warmup=warmup,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        patience=patience,
        class_weights=class_weights,
        teacher_weight=teacher_weight,
        teacher_temperature=teacher_temperature,
        max_tokens=max_tokens,
        seed=seed,
    )
    rows = override(
        DataConfig(), validation=validation, conflicts=conflicts, duplicates=duplicates, limit=limit
    )
    with options.progress_bar() as progress:
        result = run(
            model,
            data,
            output,
            fitting=how,
            data=rows,
            columns=Columns(text_column, label_column, user_column),
            labels=options.split_names(labels),
            teachers=Teachers(tuple(teacher or ()), teacher_columns),
            without=without or (),
            thaw=thaw,
            layer_decay=layer_decay,
            resume=resume,
            progress=progress,
        )
    options.show(result, as_json=json)
