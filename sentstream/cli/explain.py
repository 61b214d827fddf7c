"""``sentstream explain``: what each word of a tweet contributes to its label."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sentstream.cli.options.common import (
    Json,
    MaxChars,
    ModelChoice,
    StorageOptions,
    parse_storage_options,
)
from sentstream.cli.terminal.messages import warn
from sentstream.cli.terminal.reports import Html, Overwrite, deliver
from sentstream.errors import UsageError

#: Maximum rows that --where explains.
MOST_ROWS = 5

EXAMPLES = """[bold]Examples[/bold]

sentstream explain "not a good day"

sentstream explain --model sentiment140 "lovely morning" --html why.html

head tweets.txt | sentstream explain - --json

sentstream explain tweets.scored.parquet --row 118 --html why.html

sentstream explain tweets.scored.parquet --where 'id = 77'
"""


def explain(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT",
            help="Tweets; - reads them from standard input, one per line. With --row or --where, a file.",
            show_default=False,
        ),
    ],
    row: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Explain row N of a file, counted from 0 as in report. Repeatable.",
            show_default=False,
            rich_help_panel="Input",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="SQL",
            help=f"Explain the rows of a file that match, as for score; at most the first {MOST_ROWS}.",
            show_default=False,
            rich_help_panel="Input",
        ),
    ] = None,
    text_column: Annotated[
        str, typer.Option(metavar="NAME", help="Column that holds the tweets.", rich_help_panel="Input")
    ] = "text",
    storage_option: StorageOptions = None,
    model: ModelChoice = "tweets",
    max_chars: MaxChars = None,
    html: Html = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Explain the label of a tweet, word by word.

    Shows the probabilities after each word, as if the tweet ended there: what a network
    that reads from left to right knows by then. Next to them, it shows by how much the
    label's probability falls without that word.
    """
    import sentstream
    from sentstream.explanation import explain as run
    from sentstream.model import Model
    from sentstream.report.explanation import explanation_page, explanation_tables
    from sentstream.report.page import check_target

    if html:
        check_target(html, overwrite=overwrite)
    if row and where is not None:
        raise UsageError("--row and --where cannot be combined", hint="leave one of them out")
    if row:
        tweets = _rows(texts, row, text_column, parse_storage_options(storage_option))
    elif where is not None:
        tweets = _rows_where(texts, where, text_column, parse_storage_options(storage_option))
    else:
        if "-" in texts:
            if len(texts) > 1:
                raise UsageError("- must be the only argument: all tweets come from standard input")
            texts = _lines()
        # A text from the command line may contain bytes that are not UTF-8.
        tweets = [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in texts]
    loaded = Model.load(model, provider="cpu", threads=1, max_chars=max_chars)
    deliver(
        {
            "sentstream": sentstream.__version__,
            "model": {"name": loaded.name, "version": loaded.version, "digest": loaded.digest},
            "labels": list(loaded.labels),
            "tweets": [one.to_dict() for one in run(loaded, tweets)],
        },
        page=explanation_page,
        tables=explanation_tables,
        html=html,
        overwrite=overwrite,
        as_json=json,
    )


def _rows(names: list[str], rows: list[int], text_column: str, options: dict[str, str]) -> list[str | None]:
    """The tweets in these rows of a file."""
    from sentstream.dataset.one_row import read_text

    if len(names) > 1 or names == ["-"]:
        raise UsageError("--row needs exactly one file", hint="sentstream explain FILE --row N")
    return [read_text(names[0], row, text_column, options) for row in rows]


def _rows_where(names: list[str], where: str, text_column: str, options: dict[str, str]) -> list[str | None]:
    """The tweets in the first rows of a file that match a condition; prints which rows these are."""
    from sentstream.dataset.one_row import find_texts

    if len(names) > 1 or names == ["-"]:
        raise UsageError("--where needs exactly one file", hint="sentstream explain FILE --where 'id = 77'")
    found, more = find_texts(names[0], where, MOST_ROWS, text_column, options)
    matches = ", ".join(f"{index:,}" for index, _ in found)
    words = f"row {matches}" if len(found) == 1 else f"rows {matches}"
    warn(f"explained: {words}" + (f", the first {len(found)} of more matching rows" if more else ""))
    return [text for _, text in found]


def _lines() -> list[str]:
    """The tweets on standard input. Blank lines are kept, so that a tweet's number is its line."""
    if sys.stdin is None or sys.stdin.isatty():
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"standard input is {state}", hint="pipe tweets in, one per line")
    # Only a line feed ends a line: a tweet may contain other characters at which str.splitlines() splits.
    lines = sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n").split("\n")
    if lines == [""]:
        raise UsageError("no tweets on standard input", hint="pipe tweets in, one per line")
    return [line.removesuffix("\r") for line in lines]
