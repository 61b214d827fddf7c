"""``sentstream report``: a report on scored rows, as a page and tables."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from sentstream.cli.options.columns import names_from
from sentstream.cli.options.common import Json, StorageOptions, parse_storage_options
from sentstream.cli.options.completion import complete_model
from sentstream.cli.score import Format
from sentstream.cli.terminal.reports import deliver
from sentstream.cli.terminal.row_bar import row_bar
from sentstream.cli.terminal.streams import print_message

#: As in ``analyze.timeline``, which loads pyarrow.
BucketName = Literal[
    "second", "10 seconds", "minute", "5 minutes", "15 minutes", "hour", "6 hours",
    "day", "week", "month", "quarter", "year",
]  # fmt: skip

_read = partial(typer.Option, show_envvar=False, rich_help_panel="Input")
_asked = partial(typer.Option, show_envvar=False, rich_help_panel="Analysis")
_written = partial(typer.Option, show_envvar=False, rich_help_panel="Output")

EXAMPLES = """[bold]Examples[/bold]

sentstream report tweets.scored.parquet --output report.html

sentstream report scored/ --time-column created_at --by lang -o report.html

sentstream report scored/ --where 'lang = "en"' --no-texts --json

sentstream report scored/ --time-column created_at --png report.png

sentstream report today/ --compare yesterday/ -o drift.html
"""


def report(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="SCORED",
            help="Output of score: files, directories, quoted globs or URIs (s3://…).",
            show_default=False,
            show_envvar=False,
        ),
    ],
    *,
    format: Annotated[
        Format | None,
        _read(
            "--format",
            metavar="FORMAT",
            help="Input format, as for score.",
            show_default="detected from content and name",
        ),
    ] = None,
    where: Annotated[
        str | None,
        _read(metavar="SQL", help="Report only the rows that match, as for score.", show_default="all"),
    ] = None,
    text_column: Annotated[
        str | None,
        _read(
            metavar="NAME",
            help="Column that holds the tweets, or a nested field such as data.text.",
            show_default="text, if there",
        ),
    ] = None,
    prefix: Annotated[
        str, _read(metavar="NAME", help="Column that holds the labels; prefix of the others.")
    ] = "sentiment",
    time_format: Annotated[
        str | None,
        _read(
            metavar="FORMAT",
            help="Format of the times: e.g. '%d/%m/%Y %H:%M', or unix or unix-ms for numbers.",
            show_default="ISO 8601",
        ),
    ] = None,
    storage_option: StorageOptions = None,
    time_column: Annotated[
        str | None,
        _asked(
            metavar="NAME", help="Column that holds the times, for sentiment over time.", show_default=False
        ),
    ] = None,
    time_zone: Annotated[
        str | None,
        _asked(
            metavar="ZONE",
            help="Time zone of hours and days, e.g. Europe/Lisbon.",
            show_default="the column's",
        ),
    ] = None,
    bucket: Annotated[
        BucketName | None,
        _asked(
            metavar="LENGTH",
            help="Length of a time bucket: second, '10 seconds', minute, '5 minutes', '15 minutes', hour,"
            " '6 hours', day, week, month, quarter or year.",
            show_default="chosen to fit",
        ),
    ] = None,
    by: Annotated[
        list[str],
        _asked(
            metavar="NAME",
            help="Break down by the values of this column. Repeatable.",
            default_factory=names_from("SENTSTREAM_REPORT_BY"),
            allow_from_autoenv=False,
            show_default=False,
        ),
    ],
    top: Annotated[
        int,
        _asked(
            metavar="N",
            min=1,
            max=1000,
            help="Show the N most frequent values per --by column, and group the rest.",
        ),
    ] = 12,
    compare: Annotated[
        str | None,
        _asked(
            metavar="SCORED",
            help="Compare with these scored rows, e.g. of another model or day.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        _asked(
            metavar="MODEL",
            help="Model that scored the rows, for its accuracy and vocabulary.",
            show_default="the shipped one, by name",
            autocompletion=complete_model,
        ),
    ] = None,
    texts: Annotated[
        int,
        _asked(metavar="N", min=1, max=100, help="Show N texts of each kind, with names and links masked."),
    ] = 8,
    no_texts: Annotated[bool, _asked("--no-texts", help="Show no texts.")] = False,
    output: Annotated[
        str | None,
        _written(
            "--output",
            "-o",
            metavar="FILE",
            help="File or URI of the HTML page to write.",
            show_default="no page",
        ),
    ] = None,
    png: Annotated[
        str | None,
        _written(
            metavar="FILE",
            help="Also write the charts as one PNG image (extra: train).",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        str | None,
        _written(
            metavar="DIR",
            help="Also write the figures as CSV files: labels, time, groups and words.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, _written("--overwrite", help="Replace existing output.")] = False,
    json: Json = False,
) -> None:
    """Report on scored rows: sentiment over time and by group, with typical words and texts.

    Shows label shares and mean values with intervals, the strongest and least certain
    texts, the words that set labels apart, data quality, and with --compare, what
    changed. Reads the rows once, in bounded memory.

    The HTML page is self-contained: it loads nothing and runs no scripts.
    """
    from sentstream.analyze.run import analyze
    from sentstream.report.page import check_target, write_page
    from sentstream.report.sentiment.csv_tables import csv_tables
    from sentstream.report.sentiment.page import sentiment_page
    from sentstream.report.sentiment.terminal import sentiment_tables
    from sentstream.storage.open import open_storage

    options = parse_storage_options(storage_option)
    for target in filter(None, (output, png)):
        check_target(target, overwrite=overwrite, options=options)
    if png is not None:  # fail before the rows are read
        from sentstream_train.report.picture import draw_sentiment
    with row_bar("reading") as bar:
        result = analyze(
            inputs,
            compare=compare,
            time_column=time_column,
            time_format=time_format,
            time_zone=time_zone,
            bucket=bucket,
            by=by,
            top=top,
            text_column=text_column,
            texts=0 if no_texts else texts,
            prefix=prefix,
            where=where,
            model=model,
            format=format,
            storage_options=options,
            progress=bar,
            on_file=bar.begin_file,
        ).to_dict()
    if png is not None:
        write_page(png, draw_sentiment(result), overwrite=overwrite, options=options)
        print_message(f"image: {png}")
    if csv is not None:
        storage = open_storage(csv, options)
        for name, text in csv_tables(result):
            write_page(storage.join(csv, name), text, overwrite=overwrite, options=options)
        print_message(f"tables: {csv}")
    deliver(
        result,
        page=sentiment_page,
        tables=sentiment_tables,
        html=output,
        overwrite=overwrite,
        as_json=json,
        options=options,
    )
