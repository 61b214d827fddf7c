"""``sentstream dead-letters``: inspect and replay messages that could not be scored."""

from __future__ import annotations

import base64
import heapq
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentstream.cli.options.common import Json
from sentstream.cli.options.kafka import BootstrapServers, ClientChoice, ClientConfig, load_settings
from sentstream.cli.terminal.messages import warn
from sentstream.cli.terminal.row_bar import row_bar
from sentstream.cli.terminal.signals import finishing_on_signals
from sentstream.cli.terminal.streams import (
    flush_data,
    is_terminal,
    open_console,
    print_data,
    print_json,
    print_message,
)
from sentstream.errors import DeliveryError, UsageError, counted

if TYPE_CHECKING:
    from sentstream.kafka.dead_letters.queue import QueuedDeadLetter
    from sentstream.kafka.dead_letters.replay import Outcome, ReplayPlan

dead_letters = typer.Typer(no_args_is_help=True, help="Inspect and replay dead letters.")

_which = partial(typer.Option, show_envvar=False, rich_help_panel="Selection")
_how = partial(typer.Option, show_envvar=False, rich_help_panel="Operation")

SHOW_EXAMPLES = """[bold]Examples[/bold]

sentstream dead-letters show --topic tweets

sentstream dead-letters show --topic tweets --json | jq .value
"""
REPLAY_EXAMPLES = """[bold]Examples[/bold]

sentstream dead-letters replay --topic tweets --dry-run

sentstream dead-letters replay --topic tweets --error MessageFieldError --yes
"""

Topic = Annotated[
    str | None, _which(metavar="NAME", help="Topic that the failed messages came from.", show_default=False)
]
DeadLetterTopic = Annotated[
    str | None, _which(metavar="NAME", help="Topic that holds the dead letters.", show_default="TOPIC.dlq")
]
Group = Annotated[str, _which(metavar="NAME", help="Consumer group that replays the dead letters.")]
Errors = Annotated[
    list[str] | None,
    _which(
        "--error",
        metavar="CLASS",
        help="Select only errors of this class. Repeatable.",
        show_default=False,
    ),
]
_SHOWN = 50
_LONGEST = 120  # maximum characters of a value in a line


@dead_letters.callback()
def _dead_letters() -> None:
    """Inspect and replay dead letters."""


@dead_letters.command(epilog=SHOW_EXAMPLES)
def show(
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    group: Group = "sentstream",
    error: Errors = None,
    everything: Annotated[bool, _which("--all", help="Include dead letters that were replayed.")] = False,
    limit: Annotated[
        int | None,
        _which(
            metavar="N",
            min=1,
            help="Show only the newest N, by message time.",
            show_default="50; all with --json",
        ),
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    client_config: ClientConfig = None,
    client: ClientChoice = "kafka-python",
    json: Json = False,
) -> None:
    """Show the pending dead letters: the error, the source offset and the message.

    Prints a table to a terminal, newest last. Elsewhere, prints tab-separated lines:
    time, topic, partition, offset, error class, error message, value.

    --json prints one object per line with complete keys, values and headers, as text or
    {"base64": …}; without --limit, they are ordered by partition and offset.
    """
    from sentstream.kafka.clients.open import open_client
    from sentstream.kafka.dead_letters.queue import DeadLetterQueue, Filter, QueuedDeadLetter, letters

    queue = DeadLetterQueue(topic, dead_letter_topic, group)
    queue.check()
    criteria = Filter(errors=error or ())
    kafka = open_client(client, load_settings(client_config, bootstrap_servers))
    kafka.check()
    admin = kafka.admin()
    classes, others = Counter[str](), Counter[str]()

    def matching() -> Iterator[QueuedDeadLetter]:
        for found in letters(admin, queue, everything=everything):
            if not isinstance(found, QueuedDeadLetter):
                others["other records"] += 1
            elif criteria.matches(found, queue.topic):
                classes[found.letter.error_class] += 1
                yield found
            else:
                others["other letters"] += 1

    try:
        shown: Iterable[QueuedDeadLetter] = matching()
        if limit is None and not json:
            limit = _SHOWN
        if limit is not None:
            shown = sorted(heapq.nlargest(limit, shown, key=_age), key=_age)
        if json:
            for dead in shown:
                print_json(_as_dict(dead))
        elif is_terminal(sys.stdout):
            _print_table(shown)
        else:
            for dead in shown:
                print_data("\t".join(_cells(dead)))
        flush_data()
    finally:
        admin.close()
    kind = "dead letter" if everything else "pending dead letter"
    words = [f"{queue.name}: {counted(sum(classes.values()), kind)}{_listed(classes)}"]
    words += [f"{count:,} {name} left out" for name, count in sorted(others.items())]
    print_message("; ".join(words))


@dead_letters.command(epilog=REPLAY_EXAMPLES)
def replay(
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    group: Group = "sentstream",
    error: Errors = None,
    stage: Annotated[
        str | None,
        _which(
            metavar="STAGE",
            help="Select only failures of this stage: read, decode, score or produce.",
            show_default=False,
        ),
    ] = None,
    offset: Annotated[
        list[str] | None,
        _which(
            metavar="P:O",
            help="Select the dead letter at this partition and offset of its topic. Repeatable.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, _which(metavar="N", min=1, help="Replay only the first N.", show_default=False)
    ] = None,
    to_topic: Annotated[
        str | None,
        _how(metavar="NAME", help="Topic to replay to.", show_default="the one they came from"),
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    client_config: ClientConfig = None,
    client: ClientChoice = "kafka-python",
    yes: Annotated[bool, _how("--yes", help="Replay without asking for confirmation.")] = False,
    dry_run: Annotated[bool, _how("--dry-run", help="Print what would be done, but do nothing.")] = False,
    json: Json = False,
) -> None:
    """Replay dead letters unchanged to the topic they came from, each exactly once.

    Replayed messages and the group's offsets are committed in one transaction: a killed
    replay can be resumed, and a second one replays only what is new. Starting a replay
    fences off any other replay of the same topic.

    Dead letters that are not selected stay pending: they move to the end of the dead
    letter topic. So do those with an incomplete message that its topic no longer has.
    """
    from sentstream.kafka.clients.open import open_client
    from sentstream.kafka.dead_letters.queue import DeadLetterQueue, Filter
    from sentstream.kafka.dead_letters.replay import Replay, dry_plan

    queue = DeadLetterQueue(topic, dead_letter_topic, group)
    queue.check()
    criteria = Filter(error or (), stage, frozenset(map(_offset, offset or ())))
    if not yes and not dry_run and not is_terminal(sys.stdin):
        raise UsageError("there is no terminal to ask for confirmation", hint="give --yes, or --dry-run")
    kafka = open_client(client, load_settings(client_config, bootstrap_servers))
    kafka.check()
    if dry_run:
        plan = dry_plan(kafka, queue, criteria, to_topic=to_topic, limit=limit)
        if json:
            print_json({"dry_run": True, **plan.to_dict()})
        else:
            print_data(_planned(plan))
            print_data("dry run: nothing was done")
        return
    work = Replay(kafka, queue, warn=warn)
    try:
        plan = work.plan(criteria, to_topic=to_topic, limit=limit)
        if plan.count and not yes:
            print_message(_planned(plan))
            typer.confirm("replay them?", abort=True, err=True)
        with finishing_on_signals() as signals:
            with row_bar("replaying") as bar:
                outcome = work.run(plan, progress=bar, stopped=lambda: bool(signals))
            if json:
                print_json({**plan.to_dict(), **outcome.to_dict()}, flush=True)
            else:
                _show_outcome(plan, outcome)
    finally:
        work.close()
    if outcome.kept:
        raise DeliveryError(
            f"{counted(outcome.kept, 'dead letter')} could not be replayed and stay in {queue.name}",
            hint="see above for the reasons",
        )


def _offset(text: str) -> tuple[int, int]:
    """``3:1234`` as partition and offset."""
    match = re.fullmatch(r"(\d{1,9}):(\d{1,18})", text.strip())
    if not match:
        raise UsageError(f"--offset takes PARTITION:OFFSET, not {text!r}", hint="e.g. 3:1234")
    return int(match[1]), int(match[2])


def _age(dead: QueuedDeadLetter) -> tuple[int, int, int]:
    return dead.letter.timestamp, dead.record.partition, dead.record.offset


def _as_dict(dead: QueuedDeadLetter) -> dict[str, Any]:
    """A dead letter with all its parts, ready for JSON."""
    record, letter = dead.record, dead.letter
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "pending": dead.pending,
        "error": {"class": letter.error_class, "message": letter.message, "stage": letter.stage},
        "source": {
            "topic": letter.source.topic,
            "partition": letter.source.partition,
            "offset": letter.offset,
            "timestamp": letter.timestamp,
        },
        "key": _text(letter.key),
        "value": _text(letter.value),
        "headers": [
            [name.encode(errors="backslashreplace").decode(), _text(value)] for name, value in letter.headers
        ],
        "left_out": dict(letter.left_out),
        "replays": letter.replays,
    }


def _text(value: bytes | None) -> str | dict[str, str] | None:
    """Bytes for JSON."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value or b"").decode()}


def _cells(dead: QueuedDeadLetter) -> tuple[str, ...]:
    """A dead letter as the cells of a line."""
    from sentstream.markup import printable

    letter = dead.letter
    if "value" in letter.left_out:
        value = letter.left_out["value"]
    elif letter.value is None:
        value = ""
    else:
        value = letter.value[: 4 * _LONGEST].decode(errors="replace")
    cells = (
        _time(letter.timestamp),
        letter.source.topic,
        str(letter.source.partition),
        str(letter.offset),
        letter.error_class,
        letter.message,
        value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…",
    )
    return tuple(printable(cell) for cell in cells)


def _time(milliseconds: int) -> str:
    """``2026-11-25T10:00:00Z``; empty if there is no timestamp or it is out of range."""
    if milliseconds < 0:
        return ""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""


def _print_table(shown: Iterable[QueuedDeadLetter]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("time", no_wrap=True)
    table.add_column("from", overflow="fold", max_width=30)
    table.add_column("error, value", overflow="fold")
    for dead in shown:
        time, topic, partition, offset, error, message, value = _cells(dead)
        cell = Text.assemble((error, "bold"), f": {message}", "\n" if value else "", (value, "dim"))
        table.add_row(Text(time), Text(f"{topic}-{partition} @ {offset}"), cell)
    open_console().print(table)


def _planned(plan: ReplayPlan) -> str:
    """The plan in words."""
    target = plan.to_topic or ", ".join(plan.sources) or "their topic"
    words = [
        f"{counted(plan.count, 'dead letter')} of {plan.pending:,} pending in {plan.queue.name}"
        f" → {target}{_listed(plan.letters)}"
    ]
    if plan.passed_over:
        words.append(f"{plan.passed_over:,} others move to the end of {plan.queue.name} and stay pending")
    if plan.foreign:
        words.append(f"{plan.foreign:,} records are not dead letters or cannot be read")
    return "\n".join(words)


def _show_outcome(plan: ReplayPlan, outcome: Outcome) -> None:
    """Print the final summary on standard error."""
    target = plan.to_topic or ", ".join(plan.sources)
    lines = {
        "replayed": f"{outcome.count:,}{f' → {target}' if target else ''}{_listed(outcome.replayed)}",
        "pending": f"{max(0, plan.pending - outcome.count):,}",
    }
    if outcome.kept:
        lines["failed"] = f"{outcome.kept:,} of the pending"
    if outcome.foreign:
        lines["skipped"] = f"{outcome.foreign:,} records that are not dead letters or cannot be read"
    for name, value in lines.items():
        print_message(f"{name:<10}{value}")


def _listed(classes: Counter[str]) -> str:
    """``: MessageFieldError 7, MessageDecodeError 5``."""
    if not classes:
        return ""
    from sentstream.markup import printable

    return ": " + ", ".join(f"{printable(name)} {count:,}" for name, count in classes.most_common())
