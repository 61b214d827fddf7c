"""The table of stages that ``score --profile`` prints on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sentstream.cli.terminal.streams import print_message


def show_stages(profile: Mapping[str, Any]) -> None:
    """Print ``Profile.to_dict``: CPU seconds by stage, and wall seconds by thread.

    A thread's seconds add up to its time, including waits.
    """
    threads = profile["threads"]
    head = ["stage", "CPU s", "share", "rows per CPU s", *(f"{_plain(name)}, s" for name in threads)]
    rows = [head]
    for stage, one in profile["stages"].items():
        speed = one["rows_per_cpu_second"]
        waits = stage.startswith("wait")
        cells = ["", "", ""] if waits else [f"{one['cpu_seconds']:.2f}", f"{one['share']:.1%}", ""]
        if speed is not None and not waits:
            cells[2] = f"{speed:,.0f}"
        walls = [thread["wall"].get(stage) for thread in threads.values()]
        rows.append([stage, *cells, *("" if wall is None else f"{wall:.2f}" for wall in walls)])
    whole = [f"{sum(thread['wall'].values()):.2f}" for thread in threads.values()]
    rows.append(["all", f"{profile['cpu_seconds']:.2f}", "", "", *whole])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print_message()
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print_message("  ".join((row[0].ljust(len(first)), *others)).rstrip())
    batches = profile["batches"]
    repeated = f", {batches['repeated']:,} repeated rows" if batches["repeated"] else ""
    print_message(
        f"\n{batches['rows']:,} rows of {batches['tokens_per_row']:.1f} tokens in {batches['runs']:,} runs of"
        f" the graph, {batches['fill']:.0%} full{repeated};"
        f" {profile['elsewhere']:.2f} CPU s in library threads"
    )


def _plain(name: str) -> str:
    """Return the name of a pool's thread, such as ``sentstream_0``, as ``worker 1``."""
    kind, _, number = name.rpartition("_")
    return f"worker {int(number) + 1}" if kind and number.isdigit() else name
