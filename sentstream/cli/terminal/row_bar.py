"""A progress bar on the terminal for commands that process rows."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sentstream.cli.terminal.recent import Recent
from sentstream.cli.terminal.streams import is_terminal, open_console

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

_RATE_SECONDS = 20.0  # long enough for batches that come every few seconds
_PER_SECOND = 10  # how often it is drawn
_BAR, _LEAST_BAR, _LONGEST_NAME = 40, 8, 40  # columns


class RowBar:
    """The task, the current file, the progress, the speed and the time left.

    The bar pulses until the first rows are done, so that it moves from the start. Rates are over the last
    20 seconds, without rows that were done before the first call. If the number of rows is unknown, bytes
    measure the progress.

    Args:
        words: The task, in words.
        clock: A monotonic time in s.
    """

    def __init__(self, words: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._words, self._clock, self._lock = words, clock, threading.Lock()
        self._start = self._counting = clock()
        self._recent = Recent(_RATE_SECONDS, clock)
        self._recent_bytes = Recent(_RATE_SECONDS, clock)
        self._bytes = self._all_bytes = 0
        #: The file's path, which one it is, and how many there are.
        self._file: tuple[str, int, int] | None = None
        self._done = 0
        self._total: int | None = 0

    def __call__(self, done: int, total: int | None) -> None:
        """Set the rows that are done and the total, None if it is known only at the end."""
        with self._lock:
            if self._total == 0 or done < self._done:  # the first call, or another pass begins
                self._counting, self._recent = self._clock(), Recent(_RATE_SECONDS, self._clock)
            else:
                self._recent.add({"rows": done - self._done})
            self._done, self._total = done, total

    def count_bytes(self, done: int, total: int) -> None:
        """Set the bytes that are done and the total."""
        with self._lock:
            self._recent_bytes.add({"bytes": done - self._bytes})
            self._bytes, self._all_bytes = done, total

    def begin_file(self, name: str, number: int, count: int) -> None:
        """Start another file.

        Args:
            name: Its path.
            number: Its number, from 1.
            count: The number of files.
        """
        with self._lock:
            self._file = name, number, count

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.segment import Segment

        with self._lock:
            title, figures = self._what(), self._figures()
            if figures.cell_len > options.max_width:
                figures = self._figures(bytes_too=False)
            done, total = self._done, self._total
            if total is None:
                done, total = self._bytes, self._all_bytes
        # The figures stay whole as long as they can, then the file's name; the bar takes what is left.
        figures.truncate(options.max_width, overflow="ellipsis")
        room = options.max_width - figures.cell_len - 1
        title.truncate(max(room, 1), overflow="ellipsis")
        bar = min(_BAR, room - title.cell_len - 1)
        title.end = figures.end = ""
        if room > 0:
            yield title
            yield Segment(" ")
        if bar >= _LEAST_BAR:
            drawn = ProgressBar(
                total or None, done, width=bar, pulse=not (done and total), animation_time=self._clock()
            )
            yield from console.render_lines(drawn, options.update_width(bar))[0]
            yield Segment(" ")
        yield figures

    def _shown_file(self) -> str:
        from sentstream.markup import printable

        if self._file is None:
            return ""
        name, number, count = self._file
        short = printable(os.path.basename(name) or name)
        return f"{short} (file {number:,} of {count:,})" if count > 1 else short

    def _what(self) -> Text:
        from rich.text import Text

        name = Text(self._shown_file())
        name.truncate(_LONGEST_NAME, overflow="ellipsis")
        return Text(self._words).append(" " if name else "").append_text(name)

    def _figures(self, *, bytes_too: bool = True) -> Text:
        """``32,768/1,000,000 rows  95,000 rows/s  9.5 MB/s  0:10 left``."""
        from rich.text import Text

        now = self._clock()
        counted = now - self._counting >= 1
        rate = self._recent.rate() if counted else 0.0
        bytes_rate = self._recent_bytes.rate() if counted else 0.0
        whole = "" if self._total is None else f"/{self._total:,}"
        words = ["reading" if self._total == 0 else f"{self._done:,}{whole} rows"]
        if rate:
            words.append(f"{_speed(rate)} rows/s")
        if bytes_rate and bytes_too:
            words.append(f"{_speed(bytes_rate / 1e6)} MB/s")
        if rate and self._total is not None:
            words.append(f"{_time(max(self._total - self._done, 0) / rate)} left")
        elif bytes_rate and self._total is None:
            words.append(f"{_time((self._all_bytes - self._bytes) / bytes_rate)} left")
        else:
            words.append(_time(now - self._start))
        return Text("  ".join(words), style="progress.download")


def _speed(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _time(seconds: float) -> str:
    """
    >>> _time(7.9), _time(3723)
    ('0:07', '1:02:03')
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


@contextmanager
def row_bar(words: str, *, shown: bool = True) -> Iterator[RowBar]:
    """A bar on standard error, removed at the end; drawn only on a terminal.

    CI systems can have a terminal that nobody watches, and log everything drawn on it; they set ``CI``.

    Args:
        words: The task, in words.
        shown: If False, never draw the bar.
    """
    bar = RowBar(words)
    if not shown or not is_terminal(sys.stderr) or os.environ.get("CI", "").lower() not in ("", "0", "false"):
        yield bar
        return
    from rich.live import Live

    with Live(
        bar,
        console=open_console(stderr=True),
        refresh_per_second=_PER_SECOND,
        transient=True,
        redirect_stdout=False,  # data is no message
    ):
        yield bar
