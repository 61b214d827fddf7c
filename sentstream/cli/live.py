"""What a person sees while ``sentstream consume`` runs: a live view on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from sentstream.cli.terminal.messages import counted
from sentstream.cli.terminal.recent import Recent
from sentstream.cli.terminal.streams import is_terminal, open_console

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from sentstream.kafka.clients.api import Partition
    from sentstream.kafka.watch.events import Committed, Observer, Rebalance, Sample

_RATE_SECONDS, _SHARE_SECONDS = 10.0, 300.0
_MOST_PARTITIONS, _MOST_SAMPLES = 8, 5
#: Columns from which labels and lag stand side by side, and the most that each of them takes.
_SIDE_BY_SIDE, _WIDEST = 64, 60


@dataclass(frozen=True)
class About:
    """What runs, in words.

    Attributes:
        source: The topic or topics.
        target: The topic or directory that results go to.
        group: The consumer group.
        model: Name and version of the model.
        provider: What runs it.
        client: The Kafka client.
        delivery: ``exactly-once`` or ``at-least-once``.
    """

    source: str
    target: str
    group: str
    model: str
    provider: str
    client: str
    delivery: str


class Totals:
    """Sums of everything since it was made.

    Args:
        clock: A monotonic time in s.

    Attributes:
        rebalances: Times that partitions came or went.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()
        self.records = self.unlabeled = self.tombstones = self.truncated = self.replicas = 0
        self.aborts = self.rebalances = 0
        self.labels: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()

    @property
    def scored(self) -> int:
        """Messages with a label."""
        return sum(self.labels.values())

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return self._clock() - self._start

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.records / max(self.seconds, 1e-9)

    def committed(self, done: Committed) -> None:
        self.records += done.records
        self.unlabeled += done.unlabeled
        self.tombstones += done.tombstones
        self.truncated += done.truncated
        self.replicas += done.replicas
        self.labels.update(done.labels)
        self.dead.update(done.dead)

    def aborted(self, reason: str) -> None:
        self.aborts += 1

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        self.rebalances += 1

    def lags(self, lag: Mapping[Partition, int]) -> None:
        """A lag is no sum."""

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        seconds = self.seconds
        return {
            "records": self.records,
            "scored": self.scored,
            "labels": dict(self.labels),
            "unlabeled": self.unlabeled,
            "tombstones": self.tombstones,
            "truncated": self.truncated,
            "dead_letters": dict(self.dead),
            "replicas": self.replicas,
            "aborts": self.aborts,
            "rebalances": self.rebalances,
            "seconds": round(seconds, 3),
            "records_per_second": round(self.records / max(seconds, 1e-9), 1),
        }


class _Watch:
    """What both views know."""

    def __init__(self, about: About, clock: Callable[[], float]) -> None:
        self.about, self._clock = about, clock
        self.totals = Totals(clock)
        self.owned: frozenset[Partition] = frozenset()
        self.lag: dict[Partition, int] = {}
        self._last_commit: float | None = None

    def committed(self, done: Committed) -> None:
        self.totals.committed(done)
        self._last_commit = self._clock()

    def aborted(self, reason: str) -> None:
        self.totals.aborted(reason)

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        self.totals.rebalanced(kind, partitions, owned)
        self.owned = frozenset(owned)
        self.lag = {partition: lag for partition, lag in self.lag.items() if partition in self.owned}

    def lags(self, lag: Mapping[Partition, int]) -> None:
        self.lag = dict(lag)

    def _commit_age(self) -> float | None:
        return None if self._last_commit is None else self._clock() - self._last_commit


class LogView(_Watch):
    """One line of ``name=value`` every so often, and one for every rebalance and abort.

    ``rate`` and the labels' shares are those since the line before (``-`` where nothing was scored), counts
    those since the start. What drives it is the loop's reports, so it needs no thread.

    Args:
        about: What runs.
        every: Seconds from line to line.
        stream: Where to write; by default standard error.
        clock: A monotonic time in s.
        wall: The time in s since 1970 (UTC).
    """

    def __init__(
        self,
        about: About,
        *,
        every: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(about, clock)
        self._every, self._wall = every, wall
        self._stream = stream or sys.stderr
        self._before, self._records, self._labels = clock(), 0, Counter[str]()

    def __enter__(self) -> Self:
        self._write("started", vars(self.about).items())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._report("stopped")

    def committed(self, done: Committed) -> None:
        super().committed(done)
        self._tick()

    def aborted(self, reason: str) -> None:
        super().aborted(reason)
        self._write("aborted", [("reason", reason)])

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        super().rebalanced(kind, partitions, owned)
        self._write(kind, [("partitions", _names(partitions)), ("owned", len(owned))])

    def lags(self, lag: Mapping[Partition, int]) -> None:
        super().lags(lag)
        self._tick()

    def _tick(self) -> None:
        if self._clock() - self._before >= self._every:
            self._report("")

    def _report(self, event: str) -> None:
        now, totals = self._clock(), self.totals
        fresh = totals.labels - self._labels
        scored = fresh.total()
        age = self._commit_age()
        self._write(
            event,
            [
                ("rate", f"{(totals.records - self._records) / max(now - self._before, 1e-9):.1f}/s"),
                ("records", totals.records),
                ("scored", totals.scored),
                *((label, f"{fresh[label] / scored:.1%}" if scored else "-") for label in totals.labels),
                ("unlabeled", totals.unlabeled),
                ("tombstones", totals.tombstones),
                ("truncated", totals.truncated),
                ("dead_letters", totals.dead.total()),
                *((f"dead_letters.{error}", count) for error, count in totals.dead.items()),
                ("lag", sum(self.lag.values())),
                ("lag_max", max(self.lag.values(), default=0)),
                ("partitions", len(self.owned)),
                ("aborts", totals.aborts),
                ("rebalances", totals.rebalances),
                ("commit_age", "-" if age is None else f"{age:.1f}s"),
            ],
        )
        self._before, self._records, self._labels = now, totals.records, totals.labels.copy()

    def _write(self, event: str, fields: Iterable[tuple[str, object]]) -> None:
        if self._stream is None:  # as where standard error was closed
            return
        words = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._wall())), "sentstream consume"]
        words += [event] if event else []
        words += [f"{_NOT_A_NAME.sub('_', name)}={_logfmt(str(value))}" for name, value in fields]
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: no reason to stop the loop
            print(" ".join(words), file=self._stream, flush=True)


_NOT_A_NAME = re.compile(r"[^\w.-]")


def _logfmt(value: str) -> str:
    """A value as it is, or in double quotes if it holds what would end or hide it."""
    value = _one_line(value)
    return value if re.fullmatch(r'[^\s"=\\]+', value) else json.dumps(value, ensure_ascii=False)


def _names(partitions: Collection[Partition]) -> str:
    """``tweets-0,tweets-1``; of many, the first and how many more."""
    first = [f"{one.topic}-{one.partition}" for one in sorted(partitions)[:_MOST_PARTITIONS]]
    more = len(partitions) - len(first)
    return ",".join([*first, *([f"…{more}_more"] if more else [])]) or "-"


def _one_line(text: str) -> str:
    """Text that can stand in a line: no line ends, and nothing that moves cursors or hides text."""
    from sentstream.report.markup import printable

    return printable(" ".join(text.split()))


class LiveView(_Watch):
    """A display that renews itself four times a second, from a thread of its own.

    However it ends, the display goes and a summary of the run stays.

    Args:
        about: What runs.
        console: The terminal; by default that of standard error.
        clock: A monotonic time in s.
        wall: The time in s since 1970 (UTC).
    """

    def __init__(
        self,
        about: About,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        from rich.live import Live

        super().__init__(about, clock)
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
                self._console.print(Text(f"{name:<14}{_one_line(value)}"), soft_wrap=True)

    def committed(self, done: Committed) -> None:
        with self._lock:
            super().committed(done)
            self._rate.add({"records": done.records})
            self._labels.add(done.labels)
            # About one tweet a second, so that eyes can follow.
            if room := min(int(self._clock() - self._sampled), _MOST_SAMPLES, len(done.samples)):
                self._samples.extend(done.samples[-room:])
                self._sampled = self._clock()

    def aborted(self, reason: str) -> None:
        with self._lock:
            super().aborted(reason)
            self._tell(f"aborted: {reason}")

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        with self._lock:
            super().rebalanced(kind, partitions, owned)
            self._tell(f"{kind} {_names(partitions)}")

    def lags(self, lag: Mapping[Partition, int]) -> None:
        with self._lock:
            super().lags(lag)

    def _tell(self, event: str) -> None:
        self._event = f"{time.strftime('%H:%M:%S', time.localtime(self._wall()))} {event}"

    def _summary(self) -> Iterator[tuple[str, str]]:
        """What it came to: names and values."""
        about, totals = self.about, self.totals
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
        yield "model", f"{about.model}, {about.provider}"
        yield "output", f"{about.target}, {about.delivery}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width, height = options.max_width, options.size.height - 1
        with self._lock:
            lines = [*self._head(width), *self._body(width, height - 7)]
        for line in lines[:height]:
            line.truncate(width, overflow="ellipsis")
        yield Text("\n", no_wrap=True, overflow="crop").join(lines[:height])

    def _head(self, width: int) -> Iterator[Text]:
        """Seven lines: what runs, how fast, what became of it, and what happened last."""
        from rich.text import Text

        about, totals = self.about, self.totals
        clock = f"  {_hours(totals.seconds)}"
        title = Text(_one_line(f"{about.source} → {about.target}"), style="bold")
        title.append(f" · group {_one_line(about.group)}", style="not bold dim")
        title.truncate(max(8, width - len(clock)), overflow="ellipsis", pad=True)
        yield title.append(clock, style="dim")
        what = (about.model, about.provider, about.client, about.delivery)
        yield Text(_one_line(" · ".join(what)), style="dim")
        yield Text()
        yield Text.assemble(
            (f"{_speed(self._rate.rate())}/s", "bold"),
            f" over {_RATE_SECONDS:.0f} s · {_speed(totals.rate)}/s since the start",
            f" · {totals.records:,} messages",
        )
        yield Text(
            f"scored {totals.scored:,} · unlabeled {totals.unlabeled:,} · tombstones {totals.tombstones:,}"
            f" · truncated {totals.truncated:,}"
        )
        age = self._commit_age()
        dead = ", ".join(f"{error} {count:,}" for error, count in totals.dead.most_common())
        yield Text.assemble(
            f"aborts {totals.aborts:,} · rebalances {totals.rebalances:,} · commit ",
            "–" if age is None else f"{age:.1f} s ago",
            " · ",
            (
                f"dead letters {totals.dead.total():,}{f' ({_one_line(dead)})' if dead else ''}",
                "red" if dead else "",
            ),
        )
        yield Text(_one_line(self._event), style="dim")

    def _body(self, width: int, height: int) -> Iterator[Text]:
        """Labels and lag, side by side where there is room, then the latest tweets."""
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        recent = self._labels.counts()
        counts = Counter({label: recent[label] for label in self.totals.labels})
        partitions = min(len(self.lag), _MOST_PARTITIONS)
        wide = width >= _SIDE_BY_SIDE
        rows = max(len(counts), partitions) if wide else len(counts) + partitions + 1
        # What the tweets may have, with their title; bars come first, but leave half of the room.
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
        column = max((cell_len(_one_line(sample.label)) for sample in samples), default=0)
        for sample in samples:
            label = _one_line(sample.label)
            text = Text.assemble(
                (f"{set_cell_size(label, column)} {sample.score:.2f}", _color(label, counts))
            )
            yield text.append("  ").append(_one_line(sample.text[: 4 * width]))

    def _shares(self, counts: Counter[str], width: int, rows: int) -> list[Text]:
        """A title and a bar for each label; where there are too many, for the most frequent."""
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        total = counts.total()
        shown = list(counts) if len(counts) <= rows else [name for name, _ in counts.most_common(rows)]
        names = {name: _one_line(name) for name in shown}
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
        """A title with the sum, and a bar for each of the partitions that lag most."""
        from rich.text import Text

        title = f"lag {sum(self.lag.values()):,} in {counted(len(self.owned), 'partition')}"
        lines = [Text(title if self.owned else "no partitions", style="bold")]
        worst = sorted(self.lag.items(), key=lambda item: (-item[1], item[0]))
        worst = worst[: min(rows, _MOST_PARTITIONS)]
        names = [_tail(_one_line(f"{one.topic}-{one.partition}"), width // 2) for one, _ in worst]
        column = max(map(len, names), default=0)
        figures = max((len(f"{lag:,}") for _, lag in worst), default=0)
        top = max((lag for _, lag in worst), default=0)
        for name, (_, lag) in zip(names, worst, strict=True):
            bar = _bar(lag / top if top else 0.0, width - column - figures - 2)
            lines.append(Text.assemble(f"{name:{column}} {lag:{figures},} ", (bar, "blue")))
        return lines


_COLORS = {"positive": "green", "negative": "red", "neutral": "yellow", "uncertain": "dim"}


def _color(label: str, labels: Iterable[str]) -> str:
    """A label's color: the one that people expect, or one by its place."""
    others = ("cyan", "magenta", "blue", "yellow", "green", "red")
    place = next((place for place, name in enumerate(labels) if name == label), 0)
    return _COLORS.get(label, others[place % len(others)])


def _bar(share: float, width: int) -> str:
    """Blocks, to the eighth; a share above 0 is always seen."""
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
    """A name's end, where a partition's number stands."""
    return name if len(name) <= width else f"…{name[len(name) - width + 1 :]}"


@contextlib.contextmanager
def view(about: About, *, every: float = 30.0) -> Iterator[Observer]:
    """The view that fits standard error: live on a terminal that can show it, lines elsewhere.

    Args:
        about: What runs.
        every: Seconds from line to line, where it is lines.
    """
    made: LiveView | LogView
    if is_terminal(sys.stderr):
        console = open_console(stderr=True)
        able = not console.is_dumb_terminal and console.encoding.startswith("utf")
        made = LiveView(about, console=console) if able else LogView(about, every=every)
    else:
        made = LogView(about, every=every)
    with made:
        yield made
