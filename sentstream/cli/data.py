"""``sentstream data``: look into data before a model learns from it."""

from __future__ import annotations

from typing import Annotated

import typer

from sentstream.cli import training_options as options
from sentstream.cli.reports import Html, Overwrite, deliver
from sentstream.cli.row_bar import row_bar

data = typer.Typer(no_args_is_help=True, help="Look into data before a model learns from it.")

WORDS = "Words"


@data.callback()
def _data() -> None:
    """Look into data before a model learns from it."""


@data.command()
def inspect(
    files: Annotated[
        list[str],
        typer.Argument(metavar="DATA...", help="CSV or Parquet, with or without labels.", show_default=False),
    ],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    user_column: options.UserColumn = None,
    labels: options.Labels = None,
    vocabulary_sizes: Annotated[
        str | None,
        typer.Option(help="Vocabulary sizes whose coverage to give, e.g. 5000,40000.", rich_help_panel=WORDS),
    ] = None,
    tokenizer: Annotated[
        str, typer.Option(help="tweets, or nltk (slower; needs the extra nltk).", rich_help_panel=WORDS)
    ] = "tweets",
    nltk: Annotated[
        bool,
        typer.Option(
            "--nltk",
            help="Add collocations and lexical diversity of a sample, by NLTK (extra nltk).",
            rich_help_panel=WORDS,
        ),
    ] = False,
    html: Html = None,
    overwrite: Overwrite = False,
    json: options.Json = False,
) -> None:
    """Describe a data set: size, balance, lengths, vocabulary, duplicates, users, contents, frequent words.

    The result holds words of the data, but no text.
    """
    from sentstream.report import check_target, inspection_page, inspection_tables
    from sentstream.text import DEFAULT_MAX_CHARS, TextRules
    from sentstream_train.config import override
    from sentstream_train.inspect_nltk import inspect_with_nltk
    from sentstream_train.inspection import VOCABULARY_SIZES, inspect_data
    from sentstream_train.labeled import read_labeled

    sizes: tuple[int, ...] = VOCABULARY_SIZES
    if vocabulary_sizes is not None:
        sizes = options.numbers(vocabulary_sizes, "--vocabulary-sizes")
    rules = override(TextRules(), tokenizer=tokenizer)
    if html:
        check_target(html, overwrite=overwrite)
    rows = read_labeled(
        files,
        text_column=text_column,
        label_column=label_column,
        user_column=user_column,
        labels=options.split_names(labels),
        unlabeled_ok=True,
    )
    with row_bar("inspecting") as progress:
        result = inspect_data(rows, vocabulary_sizes=sizes, rules=rules, progress=progress)
    if nltk:
        result["nltk"] = inspect_with_nltk(rows, rules=rules, max_chars=DEFAULT_MAX_CHARS)
    deliver(
        result, page=inspection_page, tables=inspection_tables, html=html, overwrite=overwrite, as_json=json
    )
