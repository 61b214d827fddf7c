"""A live display on the terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import zip_longest
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sentstream.cli.live.json_log import JsonLog
from sentstream.cli.live.log import LogView
from sentstream.cli.live.watch import MOST_PARTITIONS, RunInfo, Watch, names
from sentstream.cli.terminal.messages import harmless_line
from sentstream.cli.terminal.recent import Recent
from sentstream.cli.terminal.streams import is_terminal, open_console
from sentstream.drift.distances import PSI_LARGE
from sentstream.errors import counted

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from sentstream.kafka.clients.api import Partition
    from sentstream.kafka.watch.events import Committed, Observer, Rebalance, Sample

_RATE_SECONDS, _SHARE_SECONDS = 10.0, 300.0
_MOST_SAMPLES = 5
#: Minimum columns to put labels and lag side by side, and the maximum width of each.
_SIDE_BY_SIDE, _WIDEST = 64, 60


class LiveView(Watch):
    """A display that refreshes four times a second, in its own thread.

    However the run ends, the display is removed and a summary is printed.

    Args:
        run_info: The run.
        console: The terminal; by default that of standard error.
        clock: A monotonic time in s.
        wall: The time in s since 1970 (UTC).
        drift: Gives the drift of the texts from ``run_info.drift_from``.
    """

    def __init__(
        self,
        run_info: RunInfo,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        drift: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        from rich.live import Live

        super().__init__(run_info, clock, drift)
        self._wall, self._lock = wall, threading.Lock()
        self._rate = Recent(_RATE_SECONDS, clock)
        self._labels = Recent(_SHARE_SECONDS, clock)
        self._samples: deque[Sample] = deque(maxlen=_MOST_SAMPLES)
        self._sampled = clock() - _MOST_SAMPLES
        self._event = "waiting for partitions"
        self._console = console or open_console(stderr=True)
        self._live = Live(
            self,
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,  # data is no message
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from rich.text import Text

        with contextlib.suppress(OSError):  # the terminal has gone
            self._live.__exit__(kind, error, trace)
            for name, value in self._summary():
                self._console.print(Text(f"{name:<14}{harmless_line(value)}"), soft_wrap=True)

    def committed(self, done: Committed) -> None:
        with self._lock:
            super().committed(done)
            self._rate.add({"records": done.records})
            self._labels.add(done.labels)
            # About one tweet per second, so that people can follow.
            if room := min(int(self._clock() - self._sampled), _MOST_SAMPLES, len(done.samples)):
                self._samples.extend(done.samples[-room:])
                self._sampled = self._clock()

    def aborted(self, reason: str) -> None:
        with self._lock:
            super().aborted(reason)
            self._set_event(f"aborted: {reason}")

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        with self._lock:
            super().rebalanced(kind, partitions, owned)
            self._set_event(f"{kind} {names(partitions)}")

    def lags(self, lag: Mapping[Partition, int]) -> None:
        with self._lock:
            super().lags(lag)

    def _set_event(self, event: str) -> None:
        self._event = f"{time.strftime('%H:%M:%S', time.localtime(self._wall()))} {event}"

    def _summary(self) -> Iterator[tuple[str, str]]:
        """The summary of the run: names and values."""
        run_info, totals = self.run_info, self.totals
        yield "messages", f"{totals.records:,} in {_hours(totals.seconds)}, {_speed(totals.rate)}/s"
        scored = max(totals.scored, 1)
        labels = (f"{label} {count:,} ({count / scored:.1%})" for label, count in totals.labels.items())
        yield "labels", ", ".join(labels) or "none"
        for name in "unlabeled", "tombstones", "truncated":
            yield name, f"{getattr(totals, name):,}"
        errors = ", ".join(f"{error} {count:,}" for error, count in totals.dead.most_common())
        yield "dead letters", f"{totals.dead.total():,}{f' ({errors})' if errors else ''}"
        if self.owned:
            yield "lag", f"{sum(self.lag.values()):,} in {counted(len(self.owned), 'partition')}"
        yield "model", f"{run_info.model}, {run_info.provider}"
        yield "output", f"{run_info.target}, {run_info.delivery}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width, height = options.max_width, options.size.height - 1
        with self._lock:
            lines = [*self._head(width), *self._body(width, height - 7)]
        for line in lines[:height]:
            line.truncate(width, overflow="ellipsis")
        yield Text("\n", no_wrap=True, overflow="crop").join(lines[:height])

    def _head(self, width: int) -> Iterator[Text]:
        """Seven lines: the run, its speed, its results, and the last event."""
        from rich.text import Text

        run_info, totals = self.run_info, self.totals
        clock = f"  {_hours(totals.seconds)}"
        title = Text(harmless_line(f"{run_info.source} → {run_info.target}"), style="bold")
        title.append(f" · group {harmless_line(run_info.group)}", style="not bold dim")
        title.truncate(max(8, width - len(clock)), overflow="ellipsis", pad=True)
        yield title.append(clock, style="dim")
        parts = (run_info.model, run_info.provider, run_info.client, run_info.delivery)
        yield Text(harmless_line(" · ".join(parts)), style="dim")
        yield Text()
        yield Text.assemble(
            (f"{_speed(self._rate.rate())}/s", "bold"),
            f" over {_RATE_SECONDS:.0f} s · {_speed(totals.rate)}/s since the start",
            f" · {totals.records:,} messages",
        )
        line = Text(
            f"scored {totals.scored:,} · unlabeled {totals.unlabeled:,} · tombstones {totals.tombstones:,}"
            f" · truncated {totals.truncated:,}"
        )
        for index, (name, distance) in enumerate(self._drift().items()):
            line.append(", " if index else f" · drift from {self.run_info.drift_from}: ")
            line.append(f"{name} {distance:.2f}", "red" if distance > PSI_LARGE else "")
        yield line
        age = self._commit_age()
        dead = ", ".join(f"{error} {count:,}" for error, count in totals.dead.most_common())
        yield Text.assemble(
            f"aborts {totals.aborts:,} · rebalances {totals.rebalances:,} · commit ",
            "–" if age is None else f"{age:.1f} s ago",
            " · ",
            (
                f"dead letters {totals.dead.total():,}{f' ({harmless_line(dead)})' if dead else ''}",
                "red" if dead else "",
            ),
        )
        yield Text(harmless_line(self._event), style="dim")

    def _body(self, width: int, height: int) -> Iterator[Text]:
        """Labels and lag, side by side where there is room, then the latest tweets."""
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        recent = self._labels.counts()
        counts = Counter({label: recent[label] for label in self.totals.labels})
        partitions = min(len(self.lag), MOST_PARTITIONS)
        wide = width >= _SIDE_BY_SIDE
        rows = max(len(counts), partitions) if wide else len(counts) + partitions + 1
        # Lines for the tweets and their title; the bars come first, but leave half of the room.
        room = height - 1 - min(rows, max(2, height // 2))
        samples = list(self._samples)[-(room - 1) :] if room > 1 else []
        rows = min(rows, height - 1 - (len(samples) + 1 if samples else 0))
        air = height - 1 - rows - (len(samples) + 1) >= 2
        if air:
            yield Text()
        if wide:
            each = min((width - 4) // 2, _WIDEST)
            left, right = self._shares(counts, each, rows), self._lags(each, rows)
            for one, other in zip_longest(left, right, fillvalue=Text()):
                line = one.copy()
                line.truncate(each, overflow="ellipsis", pad=True)
                yield line.append("    ").append_text(other)
        else:
            left = self._shares(counts, width, min(len(counts), rows // 2))
            yield from (*left, *self._lags(width, rows - len(left)))
        if air:
            yield Text()
        if samples:
            yield Text("latest", style="bold")
        column = max((cell_len(harmless_line(sample.label)) for sample in samples), default=0)
        for sample in samples:
            label = harmless_line(sample.label)
            text = Text.assemble(
                (f"{set_cell_size(label, column)} {sample.score:.2f}", _color(label, counts))
            )
            yield text.append("  ").append(harmless_line(sample.text[: 4 * width]))

    def _shares(self, counts: Counter[str], width: int, rows: int) -> list[Text]:
        """A title and a bar for each label, or for the most frequent if there are too many."""
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        total = counts.total()
        shown = list(counts) if len(counts) <= rows else [name for name, _ in counts.most_common(rows)]
        names = {name: harmless_line(name) for name in shown}
        column = min(max(map(cell_len, names.values()), default=0), width // 3)
        more = f", {rows:,} of {len(counts):,}" if len(counts) > rows else ""
        lines = [Text(f"labels over {_SHARE_SECONDS / 60:.0f} min{more}", style="bold")]
        for name in shown:
            share = counts[name] / total if total else 0.0
            lines.append(
                Text.assemble(
                    set_cell_size(names[name], column),
                    f" {share:6.1%} ",
                    (_bar(share, width - column - 8), _color(name, counts)),
                )
            )
        return lines

    def _lags(self, width: int, rows: int) -> list[Text]:
        """A title with the total lag, and a bar for each of the partitions that lag most."""
        from rich.text import Text

        title = f"lag {sum(self.lag.values()):,} in {counted(len(self.owned), 'partition')}"
        lines = [Text(title if self.owned else "no partitions", style="bold")]
        worst = sorted(self.lag.items(), key=lambda item: (-item[1], item[0]))
        worst = worst[: min(rows, MOST_PARTITIONS)]
        names = [_tail(harmless_line(f"{one.topic}-{one.partition}"), width // 2) for one, _ in worst]
        column = max(map(len, names), default=0)
        figures = max((len(f"{lag:,}") for _, lag in worst), default=0)
        top = max((lag for _, lag in worst), default=0)
        for name, (_, lag) in zip(names, worst, strict=True):
            bar = _bar(lag / top if top else 0.0, width - column - figures - 2)
            lines.append(Text.assemble(f"{name:{column}} {lag:{figures},} ", (bar, "blue")))
        return lines


_COLORS = {"positive": "green", "negative": "red", "neutral": "yellow", "uncertain": "dim"}


def _color(label: str, labels: Iterable[str]) -> str:
    """A label's color: the usual one, or one by its position."""
    others = ("cyan", "magenta", "blue", "yellow", "green", "red")
    index = next((index for index, name in enumerate(labels) if name == label), 0)
    return _COLORS.get(label, others[index % len(others)])


def _bar(share: float, width: int) -> str:
    """A bar of blocks, in eighths; a share above 0 is always visible."""
    eighths = max(round(8 * share * max(width, 0)), 1 if share > 0 and width > 0 else 0)
    full, rest = divmod(eighths, 8)
    return "█" * full + " ▏▎▍▌▋▊▉"[rest].strip()


def _hours(seconds: float) -> str:
    """
    >>> _hours(3723.4)
    '1:02:03'
    """
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _speed(rate: float) -> str:
    return f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}"


def _tail(name: str, width: int) -> str:
    """The end of a name, which holds the partition number."""
    return name if len(name) <= width else f"…{name[len(name) - width + 1 :]}"


@contextlib.contextmanager
def view(
    run_info: RunInfo,
    *,
    every: float = 30.0,
    drift: Callable[[], Mapping[str, float]] = dict,
    as_json: bool = False,
) -> Iterator[Observer]:
    """The view for standard error: live on a terminal that supports it, else log lines.

    Args:
        run_info: The run.
        every: Seconds between log lines.
        drift: Gives the drift of the texts from ``run_info.drift_from``.
        as_json: Log JSON objects, even on a terminal.
    """
    live: LiveView | LogView
    if as_json:
        live = JsonLog(run_info, every=every, drift=drift)
    elif is_terminal(sys.stderr):
        console = open_console(stderr=True)
        able = not console.is_dumb_terminal and console.encoding.startswith("utf")
        if able:
            live = LiveView(run_info, console=console, drift=drift)
        else:
            live = LogView(run_info, every=every, drift=drift)
    else:
        live = LogView(run_info, every=every, drift=drift)
    with live:
        yield live
