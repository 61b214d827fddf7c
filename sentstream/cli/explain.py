"""``sentstream explain``: what the network thinks after each word, and what each word changes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sentstream.cli.options.common import ModelChoice
from sentstream.cli.terminal.reports import Html, Overwrite, deliver
from sentstream.errors import UsageError

EXAMPLES = """[bold]Examples[/bold]

sentstream explain "not a good day"

sentstream explain --model sentiment140 "what a lovely morning" --html why.html

head tweets.txt | sentstream explain - --json
"""


def explain(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT",
            help="Tweets; - reads them from standard input, one a line.",
            show_default=False,
        ),
    ],
    model: ModelChoice = "tweets",
    max_chars: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Characters of a tweet that are read.", show_default="the model's: 1000"
        ),
    ] = None,
    html: Html = None,
    overwrite: Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Explain the label of a tweet.

    After each word: the probabilities if the tweet ended there, which is what
    a network that reads from left to right knows by then. Beside it, what the
    word changes: how much the label's probability falls without it.
    """
    import sentstream
    from sentstream.explanation import explain as run
    from sentstream.model import Model
    from sentstream.report.explanation import explanation_page, explanation_tables
    from sentstream.report.page import check_target

    if html:
        check_target(html, overwrite=overwrite)
    if "-" in texts:
        if len(texts) > 1:
            raise UsageError("- stands alone: all tweets come from standard input")
        texts = _lines()
    # A text from the command line may hold what was not UTF-8.
    sound = [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in texts]
    loaded = Model.load(model, provider="cpu", threads=1, max_chars=max_chars)
    deliver(
        {
            "sentstream": sentstream.__version__,
            "model": {"name": loaded.name, "version": loaded.version, "digest": loaded.digest},
            "labels": list(loaded.labels),
            "tweets": [one.to_dict() for one in run(loaded, sound)],
        },
        page=explanation_page,
        tables=explanation_tables,
        html=html,
        overwrite=overwrite,
        as_json=json,
    )


def _lines() -> list[str]:
    """The tweets of standard input. Blank ones stay, so that a tweet has the number of its line."""
    if sys.stdin is None or sys.stdin.isatty():
        what = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"standard input is {what}", hint="pipe tweets in, one a line")
    # Only a line feed ends a line: a tweet may hold what str.splitlines() also takes for an end.
    lines = sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n").split("\n")
    if lines == [""]:
        raise UsageError("there is no tweet on standard input", hint="pipe tweets in, one a line")
    return [line.removesuffix("\r") for line in lines]
