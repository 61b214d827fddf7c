"""``sentstream produce`` as a function: send the rows of files as records of a topic."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentstream.dataset.formats.api import Source, total
from sentstream.dataset.formats.open import open_source, read_piece
from sentstream.dataset.inputs import find_inputs
from sentstream.dataset.jobs import is_standard_input, spooled, standard_input
from sentstream.dataset.plan import OnFile, Progress
from sentstream.errors import (
    DeliveryError,
    KafkaError,
    TopicNotFoundError,
    UsageError,
    naming,
)
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Cause, Client, Outgoing, Producer
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.names import ClientName
from sentstream.kafka.produce.pace import Pace
from sentstream.kafka.produce.rows import Shape
from sentstream.kafka.topics import create_topic

_BATCH_ROWS = 5000


@dataclass(frozen=True)
class Report:
    """The result of a run.

    Attributes:
        production: The work that was done.
        rows: Number of rows that the broker acknowledged.
        passes: How many times the inputs were sent completely.
        seconds: Duration in seconds.
    """

    production: Production
    rows: int
    passes: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """The rows sent per second."""
        return self.rows / max(self.seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-compatible values."""
        return {
            "rows": self.rows,
            "passes": self.passes,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            **self.production.to_dict(),
        }


@dataclass(frozen=True)
class Production:
    """Checked inputs and their topic.

    Attributes:
        sources: The files, in order.
        topic: The topic.
        partitions: Its number of partitions.
        shape: How a row becomes a record.
        client: The Kafka client.
    """

    sources: Sequence[Source]
    topic: str
    partitions: int
    shape: Shape
    client: Client

    @property
    def rows(self) -> int | None:
        """The number of rows in all files; None if it is known only after reading them."""
        return total([source.total for source in self.sources])

    def to_dict(self) -> dict[str, Any]:
        """Return topic, client and files as JSON-compatible values."""
        return {
            "topic": self.topic,
            "partitions": self.partitions,
            "format": self.shape.format,
            "client": self.client.name,
            "inputs": [{"input": source.name, "rows": source.total} for source in self.sources],
        }

    def first(self) -> Outgoing | None:
        """Return the record of the first row, if there is one."""
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

        Retries do not create duplicates, but a second run sends all rows again.

        Args:
            rate: Rows per second; None sends as fast as possible.
            loop: Start over at the end, until stopped.
            progress: Called with the progress.
            on_file: Called when a file begins.
            stopped: Returns whether to stop; checked between batches, so that sent rows are acknowledged.

        Raises:
            InputError: A file is corrupt, or has rows that cannot be sent.
            DeliveryError: The broker refuses a row, or does not acknowledge in time.
            KafkaError: It cannot continue.
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
        sent = passes = before = 0
        progress(0, self.rows)
        while not stopped():
            with contextlib.closing(self._messages(_BATCH_ROWS, on_file)) as batches:
                for source, row, messages in batches:
                    done = 0
                    while done < len(messages) and (count := pace.wait(len(messages) - done, stopped)):
                        _send(producer, messages[done : done + count], source.name, row + done, sent)
                        done += count
                        sent += count
                        progress(sent, None if self.rows is None else self.rows * (passes + 1))
                    if done < len(messages):
                        break
                else:
                    passes += 1
                    if loop and sent > before:
                        before = sent
                        continue
            break
        return Report(self, sent, passes, time.monotonic() - begun)

    def _messages(
        self, limit: int, on_file: OnFile = lambda name, number, count: None
    ) -> Generator[tuple[Source, int, list[Outgoing]], None, None]:
        """Yield batches of records, with their file and the row number of the first one in it, from 0."""
        for number, source in enumerate(self.sources, start=1):
            on_file(source.name, number, len(self.sources))
            row = 0
            for piece in source.pieces():
                for batch in read_piece(piece, self.shape.needed, limit):
                    with naming(source.name):
                        messages = self.shape.messages(batch, self.topic)
                    yield source, row, messages
                    row += len(batch)


def _send(producer: Producer, messages: Sequence[Outgoing], name: str, row: int, sent: int) -> None:
    """Send consecutive rows of a file, from ``row`` on, after ``sent`` others.

    Raises:
        DeliveryError: The broker refuses a row.
        KafkaError: As the producer's, with the file and row added.
    """
    try:
        refusals = producer.send(messages)
    except KafkaError as error:
        text = f"{name}, from row {row:,} on: {error.message}; the {sent:,} rows before were sent"
        raise type(error)(text, hint=error.hint) from error
    for index, reason, cause in refusals:
        size = len(messages[index].value or b"")
        raise DeliveryError(
            f"{name}, row {row + index:,} (from 0), {size:,} bytes: the broker rejects it: {reason}",
            hint=_REMEDIES[cause],
        )


#: Hints for a row that the broker refuses.
_REMEDIES: Mapping[Cause, str] = {
    "size": "leave columns out with --columns, or raise the topic's max.message.bytes",
    "time": "leave out --timestamp-column, or raise the topic's message.timestamp.after.max.ms",
    "other": "if the key is missing, give each row one with --key-column",
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
    """Check everything that can be checked before the first row is sent.

    Args:
        inputs: Files, globs, directories; or only ``-``, standard input.
        topic: The topic to send to.
        shape: How a row becomes a record.
        settings: The client's settings.
        client: Which client.
        partitions: Create a missing topic with this many partitions; None if it must exist.
        dry: Do not create it.
        warn: Receives messages for the operator.

    Raises:
        UsageError: Options that contradict each other.
        InputError: Files are missing or corrupt, or columns are missing or of the wrong type.
        KafkaError: No cluster, not logged in, no topic.
    """
    shape.check()
    if not topic:
        raise UsageError("no topic", hint="give --topic NAME")
    with _sources(inputs, warn) as sources:
        for source in sources:
            with naming(source.name):
                shape.check_schema(source.schema)
        kafka = open_client(client, settings)
        kafka.check()
        admin = kafka.admin()
        try:
            existing = admin.partitions([topic]).get(topic)
            if existing is None and partitions is None:
                raise TopicNotFoundError(
                    f"no topic {topic!r}",
                    hint="create it, add --partitions N to have it created, or check --topic",
                )
            if existing is None and not dry:
                assert partitions is not None
                create_topic(admin, topic, partitions, warn=warn)
            if existing is not None and partitions not in (None, existing):
                warn(f"topic {topic} already exists, with {existing} partition{'' if existing == 1 else 's'}")
        finally:
            admin.close()
        yield Production(sources, topic, existing or partitions or 0, shape, kafka)


@contextlib.contextmanager
def _sources(inputs: Sequence[str], warn: Callable[[str], None]) -> Iterator[list[Source]]:
    """Open the input files, found as in ``sentstream score``."""
    if is_standard_input(inputs):
        with spooled(standard_input()[0]) as file:
            yield [open_source(file)]
    else:
        found = find_inputs(inputs)
        for line in found.left_out:
            warn(line)
        yield [open_source(item.file, view=item.view) for item in found.files]
