"""``sentstream train``: labeled tweets to a Keras model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sentstream.cli import training_options as options
from sentstream.errors import UsageError


def train(
    data: Annotated[
        list[Path],
        typer.Argument(help="Labeled rows: the official Sentiment140 CSV, or any CSV or Parquet.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.", show_default=False)],
    arch: Annotated[
        str, typer.Option(help="seed, pairs, bigru or bilstm; the options below change it.", rich_help_panel=options.NETWORK)
    ] = "pairs",
    words: Annotated[int | None, typer.Option(help="Words in the vocabulary.", rich_help_panel=options.NETWORK)] = None,
    pairs: Annotated[
        int | None, typer.Option(help="Word pairs with a row of their own; 0: none.", rich_help_panel=options.NETWORK)
    ] = None,
    min_count: Annotated[
        int | None, typer.Option(help="A rarer word or pair gets no row.", rich_help_panel=options.NETWORK)
    ] = None,
    embedding: Annotated[int | None, typer.Option(help="Width of the embedding.", rich_help_panel=options.NETWORK)] = None,
    units: Annotated[
        str | None, typer.Option(help="Units of each recurrent layer, e.g. 128,128.", rich_help_panel=options.NETWORK)
    ] = None,
    cell: Annotated[str | None, typer.Option(help="simple, gru or lstm.", rich_help_panel=options.NETWORK)] = None,
    bidirectional: Annotated[
        bool | None, typer.Option("--bidirectional/--unidirectional", help="Read both ways.", rich_help_panel=options.NETWORK)
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="last, mean, max or mean-max.", rich_help_panel=options.NETWORK)] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Dropout before the classifier.", rich_help_panel=options.NETWORK)
    ] = None,
    embedding_dropout: Annotated[
        float | None, typer.Option(help="Dropout of embedding columns.", rich_help_panel=options.NETWORK)
    ] = None,
    recurrent_dropout: Annotated[
        float | None, typer.Option(help="Dropout of the recurrent state (slow).", rich_help_panel=options.NETWORK)
    ] = None,
    word_dropout: Annotated[
        float | None, typer.Option(help="Share of the words read as unknown.", rich_help_panel=options.NETWORK)
    ] = None,
    pair_dropout: Annotated[
        float | None, typer.Option(help="Share of the pairs left out.", rich_help_panel=options.NETWORK)
    ] = None,
    l2: Annotated[float | None, typer.Option(help="L2 penalty on the kernels.", rich_help_panel=options.NETWORK)] = None,
    epochs: Annotated[int, typer.Option(help="Most passes over the rows.", rich_help_panel=options.FITTING)] = 2,
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
    max_chars: Annotated[int, typer.Option(help="Characters of a tweet that are read.", rich_help_panel=options.TEXT)] = 1000,
    tokenizer: Annotated[
        str, typer.Option(help="tweets, or nltk (slower; needs the extra nltk).", rich_help_panel=options.TEXT)
    ] = "tweets",
    stop_words: Annotated[
        bool, typer.Option("--stop-words", help="Leave frequent empty words out (nltk).", rich_help_panel=options.TEXT)
    ] = False,
    stemming: Annotated[
        bool, typer.Option("--stemming", help="Porter's stemmer (nltk).", rich_help_panel=options.TEXT)
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --output, with the settings it began with.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Train a recurrent network on labeled tweets.

    Each epoch ends with a checkpoint; a run that was killed goes on with --resume and comes to the
    same result. --arch seed is exactly Embedding, SimpleRNN, SimpleRNN, Dense(softmax).
    """
    with options.training_extra():
        from sentstream.text import TextRules
        from sentstream_train.config import ARCHITECTURES, DataConfig, FitConfig, override
        from sentstream_train.run import Columns
        from sentstream_train.run import train as run
    if arch not in ARCHITECTURES:
        raise UsageError(f"--arch must be one of {', '.join(ARCHITECTURES)}, not {arch!r}")
    network = override(
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
    fitting = override(
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
            network=network,
            fitting=fitting,
            data=rows,
            columns=Columns(text_column, label_column, user_column),
            labels=options.split_names(labels),
            resume=resume,
            progress=progress,
        )
    options.show(result, as_json=json)
