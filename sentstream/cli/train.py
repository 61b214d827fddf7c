"""``sentstream train``: train a Keras model on labeled tweets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.common import Json
from sentstream.cli.options.fields import Fields, with_fields
from sentstream.cli.options.training import fitting, network, text
from sentstream.errors import UsageError
from sentstream_train.config import ARCHITECTURES, Architecture, Columns, DataConfig, FitConfig, override

EXAMPLES = """[bold]Examples[/bold]

sentstream train tweets.csv --output runs/mine

sentstream train tweets.csv --output runs/mine --resume

sentstream train tweets.csv --output runs/mine --resume --epochs 9

sentstream train tweets.csv -o runs/b --embedding 100 --embeddings glove.txt

sentstream train tweets.csv --output runs/gru --arch bigru --without test.csv
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
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory of the run to write.", show_default=False
        ),
    ],
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Resume the run in --output, with its own settings. With --epochs, a finished run can be"
            " trained further.",
        ),
    ] = False,
    json: Json = False,
    *,
    arch: Annotated[
        Architecture,
        network(
            metavar="NAME",
            help="Architecture to start from, changed by the options below: seed, pairs, bigru or bilstm.",
        ),
    ] = "pairs",
    shape: Annotated[dict[str, Any], options.NETWORK],
    embeddings: Annotated[
        Path | None,
        network(
            metavar="FILE",
            help="Pretrained word vectors as wide as --embedding: GloVe or word2vec text, or .npy.",
            show_default=False,
        ),
    ] = None,
    embeddings_words: Annotated[
        Path | None,
        network(
            metavar="FILE",
            help="Words of an .npy file given to --embeddings, one per line.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        fitting(metavar="N", help="Maximum passes over the rows.", show_default=str(FitConfig.epochs)),
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
            help="Also build the vocabulary of words and pairs from these texts. Repeatable.",
            show_default=False,
        ),
    ] = None,
    read: Annotated[dict[str, Any], Fields(DataConfig, "Text", only=("max_chars",))],
    text_rules: Annotated[
        Literal["tweets", "tweets-3"],
        text(
            metavar="NAME",
            help="Text rules: tweets, or tweets-3 (splits hashtags into words, keeps emoji whole, and more).",
        ),
    ] = "tweets",
    tokenizer: Annotated[
        Literal["tweets", "nltk"],
        text(metavar="NAME", help="Tokenizer: tweets, or nltk (slower; extra: nltk)."),
    ] = "tweets",
    stop_words: Annotated[bool, text("--stop-words", help="Remove stop words (extra: nltk).")] = False,
    stemming: Annotated[bool, text("--stemming", help="Apply the Porter stemmer (extra: nltk).")] = False,
) -> None:
    """Train a recurrent network on labeled tweets.

    Each epoch ends with a checkpoint. A killed run continues with --resume and gives the
    same result. The epoch with the lowest loss on held-out rows is kept.

    --arch seed is exactly Embedding, SimpleRNN, SimpleRNN, Dense(softmax). The table in
    docs/training.md lists the settings of each architecture.
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
            on_epoch=watch.on_epoch,
            on_vectors=options.report_coverage,
        )
    options.show(result, as_json=json)
