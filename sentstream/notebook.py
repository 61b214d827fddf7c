"""Notebook displays of models, results and explanations, and a progress bar.

The markup inherits the colors of its page, light or dark, and loads no external resources.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from sentstream.markup import Html, tag

#: Maximum rows and columns of a table, and characters of a cell, that are shown.
_MOST_ROWS, _MOST_COLUMNS, _LONGEST = 10, 12, 120
#: Minimum seconds between two updates of the progress bar, so that they cost the run almost nothing.
_BETWEEN = 0.2
_STYLE = """
.sentstream { font: 14px/1.5 system-ui, sans-serif; max-width: 60rem; overflow-wrap: anywhere }
.sentstream p { margin: .3rem 0 }
.sentstream table { border-collapse: collapse; margin: .3rem 0; font-variant-numeric: tabular-nums }
.sentstream caption { text-align: left; font-weight: 600; padding: .2rem 0 }
.sentstream th, .sentstream td { padding: .2rem .6rem; text-align: left; vertical-align: top;
  font-weight: 400; unicode-bidi: isolate;
  border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent) }
.sentstream thead th { font-weight: 600 }
.sentstream td.number { text-align: right }
.sentstream td.share { min-width: 8rem; background: linear-gradient(to right,
  color-mix(in srgb, #2f6fb2 30%, transparent) calc(var(--share) * 100%), transparent 0) }
.sentstream .for, .sentstream .against { border-radius: .2rem; padding: 0 .15rem }
.sentstream .for { background: color-mix(in srgb, #2f6fb2 calc(var(--share) * 55%), transparent) }
.sentstream .against { background: color-mix(in srgb, #c8553d calc(var(--share) * 55%), transparent);
  text-decoration: underline dotted }
.sentstream progress { width: 16rem; vertical-align: middle }
"""


def show(*parts: str) -> str:
    """Return standalone markup for a notebook cell.

    Args:
        parts: Its contents; text that is not ``Html`` is escaped.
    """
    return tag("div", tag("style", Html(_STYLE)), *parts, class_="sentstream")


def facts(title: str, rows: Sequence[tuple[str, str]]) -> Html:
    """Return a table of names and values.

    Args:
        title: The caption.
        rows: Pairs (name, value).
    """
    body = (tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows)
    return tag("table", tag("caption", title), tag("tbody", *body))


def shares(title: str, counts: Mapping[str, int]) -> Html:
    """Return a table of counts, with bars for their shares.

    Args:
        title: The caption.
        counts: Counts by name.
    """
    total = max(1, sum(counts.values()))
    body = [
        tag(
            "tr",
            tag("th", name, scope="row", dir="auto"),
            tag("td", f"{count:,}", class_="number"),
            tag("td", f"{count / total:.1%}", class_="share", style=f"--share: {count / total:.4f}"),
        )
        for name, count in counts.items()
    ]
    return tag("table", tag("caption", title), tag("tbody", *body))


def rows(batch: pa.RecordBatch | pa.Table) -> Html:
    """Return the first rows of a table, with long texts shortened.

    Args:
        batch: The table; if it has many columns, only the first and the last are shown.
    """
    names = batch.schema.names
    indices = list(range(len(names)))
    if len(names) > _MOST_COLUMNS:
        half = _MOST_COLUMNS // 2
        indices = [*indices[:half], *indices[-half:]]
    first = batch.slice(0, _MOST_ROWS)
    columns = [first.column(index) for index in indices]
    body = [tag("tr", *(_cell(_plain(column[row])) for column in columns)) for row in range(first.num_rows)]
    head = tag("tr", *(tag("th", names[index], scope="col") for index in indices))
    left_out = len(names) - len(indices)
    shown = f"{first.num_rows:,} of {batch.num_rows:,} rows"
    more = f", without {left_out:,} of {len(names):,} columns" if left_out else ""
    return tag("table", tag("caption", shown + more), tag("thead", head), tag("tbody", *body))


def words(steps: Sequence[tuple[str, float | None]]) -> Html:
    """Return words colored by their effect on the label's probability; negative ones are underlined.

    Args:
        steps: Each word with its effect, a difference of probabilities; None for the only word.
    """
    parts: list[Html] = []
    for word, effect in steps:
        share = min(1.0, abs(effect or 0.0))
        kind = None if share < 0.01 else "for" if (effect or 0.0) > 0 else "against"
        text = "the only word" if effect is None else f"{100 * effect:+.1f} points"
        style = None if kind is None else f"--share: {share:.4f}"
        parts += [tag("span", word, class_=kind, style=style, title=text), Html(" ")]
    return tag("p", *parts, dir="auto")


def _plain(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError):  # a time that no Python type can represent
        return value.cast(pa.string()).as_py()


def _cell(value: Any) -> Html:
    if isinstance(value, float):
        return tag("td", f"{value:.3f}", class_="number")
    if isinstance(value, int) and not isinstance(value, bool):
        return tag("td", str(value), class_="number")
    text = "" if value is None else shortened(str(value))
    return tag("td", text, dir="auto")


def shortened(text: str) -> str:
    """Return a text as one line, cut if it is long.

    >>> shortened("two\\nlines"), len(shortened("long " * 5000))
    ('two lines', 120)
    """
    line = " ".join(text[: 4 * _LONGEST].split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


class Bar:
    """A progress bar, for ``progress=`` of ``score_files`` and ``analyze``.

    Args:
        title: The bar's label.
        draw: Shows markup in place of the previous one.
        clock: Returns a monotonic time in seconds.
    """

    def __init__(
        self, title: str, draw: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._draw, self._clock, self._lock = title, draw, clock, threading.Lock()
        self._start, self._drawn = clock(), float("-inf")
        self._done: int = 0
        self._total: int | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Update the number of rows done, and the total; None if it is unknown."""
        with self._lock:
            self._done, self._total = done, total
            now = self._clock()
            if now - self._drawn >= _BETWEEN:
                self._drawn = now
                self._draw(self.picture())

    def picture(self) -> str:
        """Return the markup to show."""
        seconds = max(self._clock() - self._start, 1e-9)
        whole = "" if self._total is None else f" of {self._total:,}"
        status = f" {self._done:,}{whole} rows, {self._done / seconds:,.0f} rows/s"
        attributes = {} if self._total is None else {"value": self._done, "max": max(1, self._total)}
        bar = tag("progress", aria_label=self._title, **attributes)
        return show(tag("p", f"{self._title} ", bar, status))

    def end(self) -> None:
        """Show the final state."""
        with self._lock:
            self._draw(self.picture())


@contextmanager
def progress(title: str = "rows") -> Iterator[Bar]:
    """Show a progress bar in a notebook; outside of a notebook, nothing is shown.

    Args:
        title: The bar's label.

    Example:
        >>> import sentstream, tempfile
        >>> from sentstream.notebook import progress
        >>> with tempfile.TemporaryDirectory() as folder, progress("scoring") as bar:
        ...     made = f"{folder}/scored.parquet"
        ...     done = sentstream.score_files("examples/tweets.parquet", made, progress=bar)
    """
    bar = Bar(title, _drawing())
    try:
        yield bar
    finally:
        bar.end()


def _drawing() -> Callable[[str], None]:
    """Return a function that shows markup in the current cell; it does nothing outside of a notebook."""
    ipython: Any = sys.modules.get("IPython")  # always loaded in a notebook
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is None:  # no IPython, or IPython in a terminal
        return lambda markup: None
    handle = ipython.display.DisplayHandle()
    handle.display(ipython.display.HTML(""))
    return lambda markup: handle.update(ipython.display.HTML(markup))
