"""``sentstream train``: labeled tweets to a Keras model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.training import fitting, network, text

EXAMPLES = """[bold]Examples[/bold]

sentstream train tweets.csv --output runs/mine

sentstream train tweets.csv --output runs/mine --resume

sentstream train 2025.parquet 2026.parquet --output runs/gru --arch bigru --without test.parquet
"""


def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA",
            help="Labeled rows: the official Sentiment140 CSV, or any CSV or Parquet.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the run.", show_default=False)
    ],
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in --output, with its own settings."),
    ] = False,
    json: options.Json = False,
    arch: Annotated[
        Literal["seed", "pairs", "bigru", "bilstm"],
        network(metavar="NAME", help="seed, pairs, bigru or bilstm; the options below change it."),
    ] = "pairs",
    words: Annotated[int | None, network(metavar="N", help="Words in the vocabulary.")] = None,
    pairs: Annotated[
        int | None, network(metavar="N", help="Word pairs with a row of their own; 0: none.")
    ] = None,
    min_count: Annotated[int | None, network(metavar="N", help="A rarer word or pair gets no row.")] = None,
    embedding: Annotated[int | None, network(metavar="N", help="Width of the embedding.")] = None,
    units: Annotated[
        str | None, network(metavar="N,…", help="Units of each recurrent layer, e.g. 128,128.")
    ] = None,
    cell: Annotated[
        Literal["simple", "gru", "lstm"] | None,
        network(metavar="NAME", help="Kind of the recurrent layers: simple, gru or lstm."),
    ] = None,
    bidirectional: Annotated[
        bool | None, network("--bidirectional/--one-way", help="Read in both directions, or in one.")
    ] = None,
    pooling: Annotated[
        Literal["last", "mean", "max", "mean-max"] | None,
        network(metavar="NAME", help="What the classifier sees of the states: last, mean, max or mean-max."),
    ] = None,
    dropout: Annotated[float | None, network(metavar="X", help="Dropout before the classifier.")] = None,
    embedding_dropout: Annotated[
        float | None, network(metavar="X", help="Dropout of embedding columns.")
    ] = None,
    recurrent_dropout: Annotated[
        float | None, network(metavar="X", help="Dropout of the recurrent state (slow).")
    ] = None,
    word_dropout: Annotated[
        float | None, network(metavar="X", help="Share of the words read as unknown.")
    ] = None,
    pair_dropout: Annotated[float | None, network(metavar="X", help="Share of the pairs left out.")] = None,
    l2: Annotated[float | None, network(metavar="X", help="L2 penalty on the kernels.")] = None,
    epochs: Annotated[int, fitting(metavar="N", help="Most passes over the rows.")] = 2,
    teacher: options.Teacher = None,
    teacher_columns: options.TeacherColumns = None,
    teacher_weight: options.TeacherWeight = 0.5,
    teacher_temperature: options.TeacherTemperature = 1.0,
    batch_size: options.BatchSize = 512,
    optimizer: options.Optimizer = "adam",
    learning_rate: options.LearningRate = 2e-3,
    schedule: options.Schedule = "cosine",
    warmup: options.Warmup = 0.02,
    weight_decay: options.WeightDecay = 0.0,
    clip_norm: options.ClipNorm = 1.0,
    patience: options.Patience = 0,
    class_weights: options.ClassWeights = "none",
    max_tokens: options.MaxTokens = 64,
    seed: options.Seed = 1,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    user_column: options.UserColumn = None,
    labels: options.Labels = None,
    validation: options.Validation = 0.02,
    conflicts: options.Conflicts = "majority",
    duplicates: options.Duplicates = "first",
    limit: options.Limit = 0,
    without: options.Without = None,
    vocabulary_text: Annotated[
        list[Path] | None,
        options.rows(
            metavar="FILE",
            help="Learn words and pairs from these texts, too; may be given again.",
            show_default=False,
        ),
    ] = None,
    max_chars: Annotated[int, text(metavar="N", help="Characters of a tweet that are read.")] = 1000,
    tokenizer: Annotated[
        Literal["tweets", "nltk"],
        text(metavar="NAME", help="tweets, or nltk (slower; needs the extra nltk)."),
    ] = "tweets",
    stop_words: Annotated[bool, text("--stop-words", help="Leave frequent empty words out (nltk).")] = False,
    stemming: Annotated[bool, text("--stemming", help="Porter's stemmer (nltk).")] = False,
) -> None:
    """Train a recurrent network on labeled tweets.

    Each epoch ends with a checkpoint; a run that was killed goes on with
    --resume and comes to the same result. --arch seed is exactly
    Embedding, SimpleRNN, SimpleRNN, Dense(softmax).

    The settings that --arch brings are in the table of docs/training.md.
    """
    with options.tensorflow():
        from sentstream.text import TextRules
        from sentstream_train.config import ARCHITECTURES, DataConfig, FitConfig, override
        from sentstream_train.fit.distill import Teachers
        from sentstream_train.runs.train import Columns
        from sentstream_train.runs.train import train as run
    shape = override(
        ARCHITECTURES[arch],
        words=words,
        pairs=pairs,
        min_count=min_count,
        embedding=embedding,
        units=None if units is None else options.numbers(units, "--units"),
        cell=cell,
        bidirectional=bidirectional,
        pooling=pooling,
        dropout=dropout,
        embedding_dropout=embedding_dropout,
        recurrent_dropout=recurrent_dropout,
        word_dropout=word_dropout,
        pair_dropout=pair_dropout,
        l2=l2,
    )
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
    rules = override(TextRules(), tokenizer=tokenizer)
    if stop_words or stemming:
        from sentstream.text.nltk_tokens import STOP_WORDS

        rules = override(
            rules, stop_words=STOP_WORDS if stop_words else None, stemmer="porter" if stemming else None
        )
    rows = override(
        DataConfig(),
        validation=validation,
        conflicts=conflicts,
        duplicates=duplicates,
        limit=limit,
        max_chars=max_chars,
        rules=rules,
    )
    with options.progress_bar() as progress:
        result = run(
            data,
            output,
            network=shape,
            fitting=how,
            data=rows,
            columns=Columns(text_column, label_column, user_column),
            labels=options.split_names(labels),
            teachers=Teachers(tuple(teacher or ()), teacher_columns),
            without=without or (),
            vocabulary_text=vocabulary_text or (),
            resume=resume,
            progress=progress,
        )
    options.show(result, as_json=json)
