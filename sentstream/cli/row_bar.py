"""A bar on the terminal for what goes through rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sentstream.cli.streams import is_terminal, open_console


@contextmanager
def row_bar(words: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar; gives the function that moves it to (rows done, rows in all), or None where nobody would see it.

    Args:
        words: What is being done.
    """
    if not is_terminal(sys.stderr):
        yield None
        return
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rows(TextColumn):
        """``32,768/1,000,000 rows  95,000 rows/s``."""

        def __init__(self) -> None:
            super().__init__("", style="progress.download")

        def render(self, task: Task) -> Text:
            total = "?" if task.total is None else f"{task.total:,.0f}"
            speed = f"  {task.speed:,.0f} rows/s" if task.speed else ""
            return Text(f"{task.completed:,.0f}/{total} rows{speed}", style="progress.download")

    columns = (TextColumn("{task.description}"), BarColumn(), Rows(), TimeRemainingColumn())
    with Progress(*columns, console=open_console(stderr=True), transient=True) as display:
        task = display.add_task("reading", total=None)

        def move(done: int, total: int) -> None:
            display.update(task, description=words, completed=done, total=total)

        yield move
