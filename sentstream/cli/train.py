"""``sentstream train``: labeled tweets to a Keras model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.fields import Fields, with_fields
from sentstream.cli.options.training import fitting, network, text
from sentstream.errors import UsageError
from sentstream_train.config import ARCHITECTURES, Architecture, Columns, DataConfig, FitConfig, override

EXAMPLES = """[bold]Examples[/bold]

sentstream train tweets.csv --output runs/mine

sentstream train tweets.csv --output runs/mine --resume

sentstream train tweets.csv --output runs/mine --resume --epochs 9

sentstream train tweets.csv --output runs/glove --embedding 100 --embeddings glove.twitter.27B.100d.txt

sentstream train 2025.parquet 2026.parquet --output runs/gru --arch bigru --without test.parquet
"""


@with_fields
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
        typer.Option(
            "--resume",
            help="Go on with the run in --output, with its own settings; to more epochs with --epochs, also"
            " after its end.",
        ),
    ] = False,
    json: options.Json = False,
    *,
    arch: Annotated[
        Architecture,
        network(metavar="NAME", help="seed, pairs, bigru or bilstm; the options below change it."),
    ] = "pairs",
    shape: Annotated[dict[str, Any], options.NETWORK],
    embeddings: Annotated[
        Path | None,
        network(
            metavar="FILE",
            help="Vectors that words begin with: text of GloVe or word2vec, or .npy; as wide as --embedding.",
            show_default=False,
        ),
    ] = None,
    embeddings_words: Annotated[
        Path | None,
        network(metavar="FILE", help="The words of a .npy of --embeddings, one a line.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None,
        fitting(metavar="N", help="Most passes over the rows.", show_default=str(FitConfig.epochs)),
    ] = None,
    teacher: options.Teacher = None,
    teacher_columns: options.TeacherColumns = None,
    how: Annotated[dict[str, Any], options.FITTING],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    user_column: options.UserColumn = None,
    labels: options.Labels = None,
    rows: Annotated[dict[str, Any], options.EXAMPLES],
    without: options.Without = None,
    vocabulary_text: Annotated[
        list[Path] | None,
        options.rows(
            metavar="FILE",
            help="Learn words and pairs from these texts, too; may be given again.",
            show_default=False,
        ),
    ] = None,
    read: Annotated[dict[str, Any], Fields(DataConfig, "Text", only=("max_chars",))],
    text_rules: Annotated[
        Literal["tweets", "tweets-3"],
        text(metavar="NAME", help="tweets, or tweets-3: hashtags by words, emoji by sequence and more."),
    ] = "tweets",
    tokenizer: Annotated[
        Literal["tweets", "nltk"],
        text(metavar="NAME", help="tweets, or nltk (slower; needs the extra nltk)."),
    ] = "tweets",
    stop_words: Annotated[bool, text("--stop-words", help="Leave frequent empty words out (nltk).")] = False,
    stemming: Annotated[bool, text("--stemming", help="Porter's stemmer (nltk).")] = False,
) -> None:
    """Train a recurrent network on labeled tweets.

    Each epoch ends with a checkpoint; a run that was killed goes on with
    --resume and comes to the same result. The epoch with the lowest loss on
    held-out rows is kept. --arch seed is exactly Embedding, SimpleRNN,
    SimpleRNN, Dense(softmax).

    The settings that --arch brings are in the table of docs/training.md.
    """
    with options.tensorflow():
        from sentstream.text import TextRules
        from sentstream_train.data.embeddings import open_embeddings
        from sentstream_train.fit.distill import Teachers
        from sentstream_train.runs.train import train as run
    if embeddings_words is not None and embeddings is None:
        raise UsageError("--embeddings-words needs --embeddings")
    rules = override(TextRules.preset(text_rules), tokenizer=tokenizer)
    if stop_words or stemming:
        from sentstream.text.nltk_tokens import STOP_WORDS

        rules = override(
            rules, stop_words=STOP_WORDS if stop_words else None, stemmer="porter" if stemming else None
        )
    with options.watching() as watch:
        result = run(
            data,
            output,
            network=override(ARCHITECTURES[arch], **shape),
            fitting=override(FitConfig(), epochs=epochs, **how),
            data=override(DataConfig(), rules=rules, **rows, **read),
            columns=Columns(text_column, label_column, user_column),
            labels=options.split_names(labels),
            teachers=Teachers(tuple(teacher or ()), teacher_columns),
            without=without or (),
            vocabulary_text=vocabulary_text or (),
            embeddings=None if embeddings is None else open_embeddings(embeddings, embeddings_words),
            resume=resume,
            epochs=epochs,
            progress=watch.progress,
            told=watch.told,
            told_of_vectors=options.tell_coverage,
        )
    options.show(result, as_json=json)
