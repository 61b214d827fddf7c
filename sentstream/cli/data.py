"""``sentstream data``: inspect data before training."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.common import Json
from sentstream.cli.terminal.reports import Html, Overwrite, deliver
from sentstream.cli.terminal.row_bar import row_bar

data = typer.Typer(no_args_is_help=True, help="Inspect data before training.")

_words = partial(typer.Option, rich_help_panel="Words")

EXAMPLES = """[bold]Examples[/bold]

sentstream data inspect train.csv

sentstream data inspect train.parquet --label-column mood --html data.html
"""

OVERLAP_EXAMPLES = """[bold]Examples[/bold]

sentstream data overlap test.parquet --with train.parquet

sentstream data overlap test.csv --with train.csv --with more.csv --json
"""


@data.callback()
def _data() -> None:
    """Inspect data before training."""


@data.command(epilog=EXAMPLES)
def inspect(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA", help="Rows with or without labels: CSV or Parquet.", show_default=False
        ),
    ],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    user_column: options.UserColumn = None,
    labels: options.Labels = None,
    vocabulary_sizes: Annotated[
        str | None,
        _words(
            metavar="N,…",
            help="Vocabulary sizes to measure the coverage of.",
            show_default="5000, 10000, … 320000",
        ),
    ] = None,
    tokenizer: Annotated[
        str, _words(metavar="NAME", help="Tokenizer: tweets, or nltk (slower; extra: nltk).")
    ] = "tweets",
    nltk: Annotated[
        bool,
        _words("--nltk", help="Also compute collocations and lexical diversity of a sample (extra: nltk)."),
    ] = False,
    html: Html = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Describe a data set before training, without showing its texts.

    Reports size, class balance, lengths, vocabulary, duplicates, users, contents, and the
    words typical of each label.
    """
    from sentstream.cli.terminal.streams import print_message
    from sentstream.report.page import check_target
    from sentstream.text import DEFAULT_MAX_CHARS, TextRules
    from sentstream_train.config import override
    from sentstream_train.data.files import find_files, why_unlabeled
    from sentstream_train.data.labeled import read_labeled
    from sentstream_train.inspect.collocations import inspect_with_nltk
    from sentstream_train.inspect.run import VOCABULARY_SIZES, inspect_data
    from sentstream_train.report.inspection import inspection_page
    from sentstream_train.report.terminal import inspection_tables

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
    if not rows.labels and (why := why_unlabeled(find_files(files)[0], text_column)):
        print_message(f"no labels: {why}")
    with row_bar("inspecting") as progress:
        result = inspect_data(rows, vocabulary_sizes=sizes, rules=rules, progress=progress)
    if nltk:
        result["nltk"] = inspect_with_nltk(rows, rules=rules, max_chars=DEFAULT_MAX_CHARS)
    deliver(
        result, page=inspection_page, tables=inspection_tables, html=html, overwrite=overwrite, as_json=json
    )


@data.command(epilog=OVERLAP_EXAMPLES)
def overlap(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA", help="Rows with or without labels: CSV or Parquet.", show_default=False
        ),
    ],
    others: Annotated[
        list[str],
        typer.Option(
            "--with",
            metavar="FILE",
            help="File to look for the texts in. Repeatable.",
            show_default=False,
            rich_help_panel=options.ROWS,
        ),
    ],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    json: Json = False,
) -> None:
    """Count the rows of a data set whose text also occurs in other files.

    Compares letters and digits only, and ignores punctuation, case, mentions and links.
    To leave such rows out, use --without of evaluate, train, tune or fine-tune.
    """
    from sentstream.cli.terminal.streams import open_console, print_json
    from sentstream_train.data.labeled import read_labeled
    from sentstream_train.inspect.overlap import find_overlap
    from sentstream_train.report.terminal import overlap_tables

    own_data = read_labeled(files, text_column=text_column, label_column=label_column, keep_unlabeled=True)
    other_data = read_labeled(others, text_column=text_column, label_column=label_column, keep_unlabeled=True)
    result = find_overlap(own_data, other_data)
    if json:
        print_json(result)
        return
    console = open_console()
    for part in overlap_tables(result):
        console.print(part)
