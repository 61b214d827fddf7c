"""``sentstream produce`` as a function: the rows of Parquet files become the records of a topic.

    json    a row is a JSON object of its columns (see ``json_rows``)
    text    a row is its text column, byte for byte; a null text is a record without a value

A null key is no key, a null timestamp the time of sending.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import (
    ColumnClashError,
    ColumnTypeError,
    DeliveryError,
    InputError,
    KafkaError,
    TopicNotFoundError,
    UsageError,
    naming,
)
from sentstream.files.inputs import find_inputs
from sentstream.files.jobs import is_standard_input, spooled
from sentstream.files.reader import Source, open_source, read_piece
from sentstream.files.score import OnFile, Progress
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Cause, Client, Outgoing, Producer
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.messages.codec import Format
from sentstream.kafka.messages.json_rows import as_binary, is_binary, json_objects
from sentstream.kafka.names import ClientName
from sentstream.kafka.topics import create_topic
from sentstream.scorer import TEXT_COLUMN
from sentstream.text import is_text
from sentstream.text.columns import find_column, find_text
from sentstream.text.storage import plain_values, value_type

_BATCH_ROWS = 5000
_STEP = 0.02  # seconds between bursts, at least
_CATCH_UP = 1.0  # seconds of delay that are made up for
_NAP = 0.1  # seconds between looks at whether to stop


@dataclass(frozen=True)
class Shape:
    """What becomes of a row.

    Attributes:
        format: What the value is: a JSON object, or a text.
        columns: Fields of the object, in this order; None for all columns. JSON only.
        text_column: The column that holds the text, or the path of a field in structs; None for ``text``.
            Text only.
        key_column: The key: a column of texts (UTF-8), whole numbers (in decimal) or bytes.
        timestamp_column: The timestamp: a column of timestamps (UTC if they name no zone) or dates.
    """

    format: Format = "json"
    columns: Sequence[str] | None = None
    text_column: str | None = None
    key_column: str | None = None
    timestamp_column: str | None = None

    def check(self) -> None:
        """Find contradictions.

        Raises:
            UsageError: Columns of plain text, a text column of JSON, a duplicate column.
        """
        if self.format == "text" and self.columns is not None:
            raise UsageError("plain text has no --columns", hint="--text-column names the one that is sent")
        if self.format == "json" and self.text_column is not None:
            raise UsageError("--text-column is about plain text", hint="give --format text, or --columns")
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            raise UsageError(f"duplicate column in {', '.join(self.columns)}", hint="name each once")

    @property
    def needed(self) -> list[str] | None:
        """The columns to read; None for all."""
        values = self.columns if self.format == "json" else [self.text_column or TEXT_COLUMN]
        if values is None:
            return None
        others = [name for name in (self.key_column, self.timestamp_column) if name is not None]
        return list(dict.fromkeys([*values, *others]))

    def check_schema(self, schema: pa.Schema) -> None:
        """See that rows of this schema can be sent.

        Raises:
            ColumnNotFoundError: A column that is not there.
            ColumnTypeError: A column that cannot be what it should.
            ColumnClashError: Two columns of one name.
        """
        if self.columns is None and self.format == "json":
            for name in schema.names:
                if schema.names.count(name) > 1:
                    raise ColumnClashError(f"two columns have the name {name!r}", hint="rename one of them")
        self.messages(pa.RecordBatch.from_pylist([], schema=schema), "")

    def messages(self, batch: pa.RecordBatch, topic: str) -> list[Outgoing]:
        """The records of a batch's rows, in their order.

        Raises:
            InputError: As ``check_schema``.
        """
        nothing = [None] * len(batch)
        keys = nothing if self.key_column is None else _keys(batch, self.key_column)
        times = nothing if self.timestamp_column is None else _times(batch, self.timestamp_column)
        return [
            Outgoing(topic, key, value, (), moment)
            for key, value, moment in zip(keys, self._values(batch), times, strict=True)
        ]

    def _values(self, batch: pa.RecordBatch) -> list[bytes | None] | list[bytes]:
        if self.format == "json":
            if self.columns is not None:
                batch = batch.select([find_column(batch.schema, name) for name in self.columns])
            return json_objects(batch)
        return _bytes(find_text(batch.schema, self.text_column or TEXT_COLUMN).values(batch))


def _bytes(column: pa.Array) -> list[bytes | None]:
    values: list[bytes | None] = as_binary(column).to_pylist()
    return values


def _keys(batch: pa.RecordBatch, name: str) -> list[bytes | None]:
    column = batch.column(find_column(batch.schema, name))
    kind = value_type(column.type)
    if is_text(kind) or is_binary(kind):
        return _bytes(column)
    if pa.types.is_integer(kind):
        return _bytes(plain_values(column).cast(pa.string()))
    raise ColumnTypeError(
        f"column {name!r} is of type {column.type}, which cannot be a key",
        hint="text, whole numbers or bytes",
    )


def _times(batch: pa.RecordBatch, name: str) -> list[int | None]:
    column = batch.column(find_column(batch.schema, name))
    if not pa.types.is_timestamp(column.type) and not pa.types.is_date(column.type):
        raise ColumnTypeError(
            f"column {name!r} is of type {column.type}, not timestamps",
            hint="name another --timestamp-column",
        )
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    times = column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64())
    earliest = pc.min(times).as_py()
    if earliest is not None and earliest < 0:
        raise InputError(
            f"column {name!r} holds a time before 1970, which no record can have",
            hint="leave out --timestamp-column",
        )
    found: list[int | None] = times.to_pylist()
    return found


class Pace:
    """So many rows a second: exact on average, in bursts of about 20 ms.

    What is late is made up for, but no more than a second of it: after a stall there is no flood.

    Args:
        rate: Rows a second; None for as fast as it goes.
        clock: A monotonic time in s.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        rate: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._start = self._last = -1.0
        self._sent = 0

    def wait(self, most: int, stopped: Callable[[], bool]) -> int:
        """Wait until a row is due; how many are, at most ``most``; 0 if it stopped."""
        if self._rate is None:
            return 0 if stopped() else most
        now = self._clock()
        if self._start < 0:
            self._start, self._last = now, now - _STEP
        self._start += max(0.0, now - _CATCH_UP - self._start - self._sent / self._rate)
        due = max(self._start + self._sent / self._rate, self._last + _STEP)
        while not stopped():
            now = self._clock()
            if now >= due:
                ready = int((now - self._start) * self._rate) + 1 - self._sent
                count = max(1, min(most, ready))
                self._last, self._sent = now, self._sent + count
                return count
            self._sleep(min(_NAP, due - now))
        return 0


@dataclass(frozen=True)
class Report:
    """What a run came to.

    Attributes:
        production: What was done.
        rows: Rows that the broker has acknowledged.
        passes: How often the inputs were sent to their end.
        seconds: How long it took.
    """

    production: Production
    rows: int
    passes: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """How fast the rows went."""
        return self.rows / max(self.seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "rows": self.rows,
            "passes": self.passes,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            **self.production.to_dict(),
        }


@dataclass(frozen=True)
class Production:
    """Checked inputs and a topic for them.

    Attributes:
        sources: The files, in their order.
        topic: The topic.
        partitions: How many partitions it has.
        shape: What becomes of a row.
        client: The client.
    """

    sources: Sequence[Source]
    topic: str
    partitions: int
    shape: Shape
    client: Client

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(sum(source.rows) for source in self.sources)

    def to_dict(self) -> dict[str, Any]:
        """Topic, client and files, ready for JSON."""
        return {
            "topic": self.topic,
            "partitions": self.partitions,
            "format": self.shape.format,
            "client": self.client.name,
            "inputs": [{"input": source.name, "rows": sum(source.rows)} for source in self.sources],
        }

    def first(self) -> Outgoing | None:
        """The record of the first row, if there is one."""
        with contextlib.closing(self._messages(1)) as batches:
            return next((messages[0] for _, _, messages in batches), None)

    def run(
        self,
        *,
        rate: float | None = None,
        loop: bool = False,
        progress: Progress | None = None,
        on_file: OnFile | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Report:
        """Send every row.

        Retries make no doubles, a second run does: it sends the rows again.

        Args:
            rate: Rows a second; None for as fast as it goes.
            loop: Begin again at the end, until stopped.
            progress: Is told how far it is.
            on_file: Called when a file begins.
            stopped: Whether to stop; asked between batches, so that what is sent is acknowledged.

        Raises:
            InputError: A file is corrupt, or holds what cannot be sent.
            DeliveryError: The broker refuses a row, or does not acknowledge in time.
            KafkaError: It cannot go on.
        """
        producer = self.client.producer(None)
        try:
            return self._run(
                producer,
                Pace(rate),
                loop,
                progress or (lambda done, total: None),
                on_file or (lambda name, number, count: None),
                stopped,
            )
        finally:
            producer.close()

    def _run(
        self,
        producer: Producer,
        pace: Pace,
        loop: bool,
        progress: Progress,
        on_file: OnFile,
        stopped: Callable[[], bool],
    ) -> Report:
        begun = time.monotonic()
        sent = passes = 0
        progress(0, self.rows)
        while not stopped():
            with contextlib.closing(self._messages(_BATCH_ROWS, on_file)) as batches:
                for source, row, messages in batches:
                    done = 0
                    while done < len(messages) and (count := pace.wait(len(messages) - done, stopped)):
                        _send(producer, messages[done : done + count], source.name, row + done, sent)
                        done += count
                        sent += count
                        progress(sent, self.rows * (passes + 1))
                    if done < len(messages):
                        break
                else:
                    passes += 1
                    if loop and self.rows:
                        continue
            break
        return Report(self, sent, passes, time.monotonic() - begun)

    def _messages(
        self, most: int, on_file: OnFile = lambda name, number, count: None
    ) -> Generator[tuple[Source, int, list[Outgoing]], None, None]:
        """Batches of records, with their file and the place of the first one in it, from 0."""
        for number, source in enumerate(self.sources, start=1):
            on_file(source.name, number, len(self.sources))
            row = 0
            for piece in source.pieces():
                for batch in read_piece(piece, self.shape.needed, most):
                    with naming(source.name):
                        messages = self.shape.messages(batch, self.topic)
                    yield source, row, messages
                    row += len(batch)


def _send(producer: Producer, messages: Sequence[Outgoing], name: str, row: int, sent: int) -> None:
    """Send consecutive rows of a file, from ``row`` on, after ``sent`` others."""
    try:
        refusals = producer.send(messages)
    except KafkaError as error:
        text = f"{name}, from row {row:,} on: {error.message}; {sent:,} rows before are sent"
        raise type(error)(text, hint=error.hint) from error
    for place, reason, cause in refusals:
        size = len(messages[place].value or b"")
        raise DeliveryError(
            f"{name}, row {row + place:,} (from 0), {size:,} bytes: the broker refuses it: {reason}",
            hint=_REMEDIES[cause],
        )


#: What to do about a row that the broker refuses.
_REMEDIES: Mapping[Cause, str] = {
    "size": "leave columns out with --columns, or raise the topic's max.message.bytes",
    "time": "leave out --timestamp-column, or raise the topic's message.timestamp.after.max.ms",
    "other": "where it is for a missing key: --key-column gives each row one",
}


@contextlib.contextmanager
def prepare(
    inputs: Sequence[str],
    topic: str,
    shape: Shape,
    settings: Settings,
    *,
    client: ClientName = "kafka-python",
    partitions: int | None = None,
    dry: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> Iterator[Production]:
    """Check all that can be known before the first row is sent.

    Args:
        inputs: Parquet files, globs, directories; or ``-``, standard input, alone.
        topic: Where to.
        shape: What becomes of a row.
        settings: The client's settings.
        client: Which client.
        partitions: Create the topic with so many partitions if it is missing; None if it has to be there.
        dry: Do not create it.
        warn: Is given lines for the operator.

    Raises:
        UsageError: Options that contradict each other.
        InputError: Files that are not there or not sound, columns that are missing or of the wrong type.
        KafkaError: No cluster, not logged in, no topic.
    """
    shape.check()
    if not topic:
        raise UsageError("no topic", hint="--topic NAME")
    with _sources(inputs, warn) as sources:
        for source in sources:
            with naming(source.name):
                shape.check_schema(source.schema)
        kafka = open_client(client, settings)
        kafka.check()
        admin = kafka.admin()
        try:
            there = admin.partitions([topic]).get(topic)
            if there is None and partitions is None:
                raise TopicNotFoundError(
                    f"no topic {topic!r}", hint="create it, let --partitions N do it, or check --topic"
                )
            if there is None and not dry:
                assert partitions is not None
                create_topic(admin, topic, partitions, warn=warn)
            if there is not None and partitions not in (None, there):
                warn(f"topic {topic} already exists, with {there} partition{'' if there == 1 else 's'}")
        finally:
            admin.close()
        yield Production(sources, topic, there or partitions or 0, shape, kafka)


@contextlib.contextmanager
def _sources(inputs: Sequence[str], warn: Callable[[str], None]) -> Iterator[list[Source]]:
    """The files that were given, found as ``sentstream score`` finds them."""
    if is_standard_input(inputs):
        with spooled() as path:
            yield [open_source(path, "standard input")]
    else:
        found = find_inputs(inputs)
        for line in found.left_out:
            warn(line)
        yield [open_source(item.path) for item in found.files]
