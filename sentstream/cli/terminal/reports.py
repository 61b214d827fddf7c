"""Output of a result as JSON, tables or an HTML page, for ``report``, ``evaluate`` and others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sentstream.cli.terminal.streams import open_console, print_json, print_message

REPORT = "Report"

Html = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write a self-contained HTML page.",
        show_default=False,
        rich_help_panel=REPORT,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing output.", rich_help_panel=REPORT)
]


def deliver(
    result: dict[str, Any],
    *,
    page: Callable[[dict[str, Any]], str],
    tables: Callable[[dict[str, Any]], Iterable[Any]],
    html: Path | str | None,
    overwrite: bool,
    as_json: bool,
    options: Mapping[str, str] | None = None,
) -> None:
    """Write the page if requested, and print the result.

    Args:
        result: JSON-ready data.
        page: Makes the page from a result.
        tables: Makes the tables to print.
        html: Path or URI of the page.
        overwrite: Replace an existing page.
        as_json: Print JSON instead of tables.
        options: Object store settings.

    Raises:
        OutputError: The page cannot be written.
    """
    from sentstream.report.page import write_page

    if html:
        write_page(html, page(result), overwrite=overwrite, options=options)
        print_message(f"page: {html}")
    if as_json:
        print_json(result)
        return
    console = open_console()
    for part in tables(result):
        console.print(part)
