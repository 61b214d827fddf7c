"""``sentstream consume`` as a function: run the checks, then the loop."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sentstream.errors import BrokerUnreachableError, UsageError
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Admin, Client, Partition, StartAt
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.clients.patience import Patience
from sentstream.kafka.consume.instance import claimed_name
from sentstream.kafka.consume.loop import Loop, Until
from sentstream.kafka.consume.positions import Positions
from sentstream.kafka.dead_letters.letter import dead_letter_topic
from sentstream.kafka.messages.codec import Codec, Format
from sentstream.kafka.names import GROUP, ClientName
from sentstream.kafka.scoring.process import Scoring, in_child_process, in_this_process
from sentstream.kafka.scoring.work import Worker
from sentstream.kafka.sinks.api import Sink
from sentstream.kafka.sinks.dataset import Dataset, PartitionColumn, Rolling
from sentstream.kafka.sinks.delivery import DeadLetterTarget, Delivery
from sentstream.kafka.sinks.parquet import ParquetSink
from sentstream.kafka.sinks.provenance import Provenance
from sentstream.kafka.sinks.rows import rows_schema
from sentstream.kafka.sinks.topic import TopicSink
from sentstream.kafka.topics import ensure_topics, partitions_of
from sentstream.kafka.watch.events import Observer
from sentstream.model import ModelOptions
from sentstream.scorer.added_columns import PREFIX, check_abstain
from sentstream.session import usable_cpus
from sentstream.storage.names import check_local

Guarantee: TypeAlias = Literal["exactly-once", "at-least-once"]
_SESSION_MS = 45_000  # Kafka's default
#: A dead letter keeps its record's timestamp in a header. Its own timestamp is the time of writing, so that
#: retention does not delete letters of old records immediately.
_LETTERS = {"message.timestamp.type": "LogAppendTime"}


@dataclass(frozen=True)
class Options:
    """What to consume, and how.

    Attributes:
        topics: Topics to read.
        group: The consumer group.
        to_topic: Topic for the results; None is ``{topic}.scored``.
        to_parquet: Directory for the results, instead of a topic.
        guarantee: ``"exactly-once"`` commits results and offsets in one transaction; or ``"at-least-once"``.
        dead_letter_topic: Topic for messages that cannot be scored; None is ``{topic}.dlq``.
        format: The format of the message values.
        text_field: The text field in a JSON value; None detects it.
        prefix: Name of the label field and prefix of the other added fields.
        abstain: Messages with a score below this value get the label ``uncertain``.
        start: Where to start in a partition for which the group has no committed offset.
        until_end: Stop at the current end of the topics.
        max_messages: Stop after this many records.
        seconds: Stop after this many seconds.
        max_batch: Maximum records per batch, and so per transaction.
        linger: Seconds to wait for a batch to fill.
        retry_for: Seconds to keep retrying while no broker answers.
        instance: Name of this instance: its group.instance.id (static membership) and the suffix of its
            transactional.id. None picks one that a restart on this machine uses again.
        create_topics: Create missing result and dead letter topics, with as many partitions as the input.
        rolling: When a Parquet file ends.
        partition_by: Columns of the Hive directories of the Parquet files.
    """

    topics: Sequence[str]
    group: str = GROUP
    to_topic: str | None = None
    to_parquet: Path | None = None
    guarantee: Guarantee = "exactly-once"
    dead_letter_topic: str | None = None
    format: Format = "json"
    text_field: str | None = None
    prefix: str = PREFIX
    abstain: float | None = None
    start: StartAt = "earliest"
    until_end: bool = False
    max_messages: int | None = None
    seconds: float | None = None
    max_batch: int = 5000
    linger: float = 0.05
    retry_for: float = 120.0
    instance: str | None = None
    create_topics: bool = True
    rolling: Rolling = field(default_factory=Rolling)
    partition_by: Sequence[PartitionColumn] = ()

    def check(self) -> None:
        """Check that the options are valid together.

        Raises:
            UsageError: Options that cannot be combined, a topic that would be both read and written, or an
                ``abstain`` that is not in (0, 1].
            OutputWriteError: ``to_parquet`` is a URI.
        """
        check_abstain(self.abstain)
        if not self.topics or not all(self.topics):
            raise UsageError("no topic", hint="give --topic NAME")
        if self.to_topic is not None and self.to_parquet is not None:
            raise UsageError(
                "results go to a topic or to Parquet, not both",
                hint="run two instances with different groups",
            )
        if self.to_parquet is not None:
            check_local(self.to_parquet)
        if self.partition_by and self.to_parquet is None:
            raise UsageError("--partition-by applies only to Parquet files", hint="give --to-parquet DIR")
        outputs = {self.target(topic) for topic in self.topics} if self.to_parquet is None else set()
        letters = {self.letters(topic) for topic in self.topics}
        for kind, names in ("results", outputs), ("dead letters", letters):
            for name in sorted(names & set(self.topics)):
                raise UsageError(
                    f"topic {name} is the input and cannot get the {kind}",
                    hint="name another topic, or the run would never end",
                )
        for name in sorted(outputs & letters):
            raise UsageError(
                f"topic {name} would get both results and dead letters",
                hint="name another topic for one of them",
            )

    def target(self, topic: str) -> str:
        """Return the results topic of an input topic."""
        return self.to_topic or f"{topic}.scored"

    def letters(self, topic: str) -> str:
        """Return the dead letter topic of an input topic."""
        return dead_letter_topic(topic, self.dead_letter_topic)

    def written(self) -> set[str]:
        """Return the topics that are written to."""
        results = set() if self.to_parquet is not None else set(map(self.target, self.topics))
        return results | set(map(self.letters, self.topics))


@dataclass(frozen=True)
class Consumption:
    """A checked setup, ready to run.

    Attributes:
        options: The options.
        scoring: The model.
        codec: Decodes and encodes messages.
        client: The Kafka client.
        instance: The name of this instance.
        settings: The client's settings.
        without_offsets: The partitions that ``options.start`` applies to.
        limits: The largest record of each dead letter topic, in bytes.
        shared: The number of partitions of each topic whose results topic has as many; 0 for others.
        ends: The offsets to stop at; None to continue.
        patience: The client's patience; its ``stop`` ends a run.
    """

    options: Options
    scoring: Scoring
    codec: Codec
    client: Client
    instance: str
    settings: Settings
    without_offsets: Collection[Partition]
    limits: Mapping[str, int]
    shared: Mapping[str, int]
    ends: Mapping[Partition, int] | None
    patience: Patience

    def to_dict(self) -> dict[str, Any]:
        """Return the topics, client, model and options of the run as JSON-compatible values."""
        options, model = self.options, self.scoring.model_info
        return {
            "topics": list(options.topics),
            "target": self.target,
            "group": options.group,
            "delivery": options.guarantee,
            "instance": self.instance,
            "client": self.client.name,
            "model": {"name": model.name, "version": model.version, "digest": model.digest},
            "provider": model.provider,
            "fallback": model.fallback,
            "placement": None if model.placement is None else model.placement.to_dict(),
            "threads": model.threads,
            "abstain": options.abstain,
        }

    @property
    def target(self) -> str:
        """The destination of the results, for people."""
        if self.options.to_parquet is not None:
            return str(self.options.to_parquet)
        return ", ".join(dict.fromkeys(map(self.options.target, self.options.topics)))

    def run(
        self,
        observer: Observer,
        *,
        warn: Callable[[str], None],
    ) -> None:
        """Consume until told to stop with ``patience.stop()``, for example from a signal handler.

        Args:
            observer: Is notified of events.
            warn: Receives messages for the operator.

        Raises:
            BrokerUnreachableError: No broker for ``options.retry_for``, or none to commit the batches in
                flight when it was told to stop.
            KafkaError: It cannot continue.
            OutputError: A file cannot be written.
        """
        options, model = self.options, self.scoring.model_info
        exactly = options.guarantee == "exactly-once"
        transactional_id = self.settings.text("transactional.id") or f"{options.group}-{self.instance}"
        member = self.settings.text("group.instance.id") or self.instance
        leave = options.instance is None and self.settings.text("group.instance.id") is None
        letters = DeadLetterTarget(options.dead_letter_topic, dict(self.limits))
        with contextlib.ExitStack() as stack:
            try:
                producer = self.client.producer(transactional_id if exactly else None)
                stack.callback(producer.close)
                consumer = self.client.consumer(options.group, instance=member, limit=options.max_batch)
                stack.callback(lambda: consumer.close(leave=leave))
            except BrokerUnreachableError:
                if self.patience.stopping:
                    return  # before anything has begun
                raise

            @functools.cache
            def admin() -> Admin:
                opened = self.client.admin()
                stack.callback(opened.close)
                return opened

            def identify(topics: Collection[str]) -> Mapping[str, str]:
                found = admin().origins(topics)
                letters.topic_ids.update({topic: origin.topic for topic, origin in found.items()})
                notes = {topic: origin.note() for topic, origin in found.items()}
                consumer.notes.update(notes)
                producer.notes.update(notes)
                return notes

            def partitions(topics: Collection[str]) -> list[Partition]:
                found = admin().partitions(topics)
                return [Partition(topic, number) for topic, count in found.items() for number in range(count)]

            delivery = Delivery(producer, consumer, letters, exactly_once=exactly)
            sink: Sink
            if options.to_parquet is not None:
                schema = rows_schema(model.schema)
                dataset = Dataset(
                    options.to_parquet, schema, rolling=options.rolling, partition_by=options.partition_by
                )
                dataset.check()
                provenance = Provenance(dataset, admin, options.letters, warn)
                sink = ParquetSink(dataset, provenance, delivery, consumer, observer)
            else:
                targets = {topic: (options.target(topic), self.shared[topic]) for topic in options.topics}
                stamp = model.schema.metadata
                sink = TopicSink(delivery, consumer, self.codec, targets, stamp, observer)
            budget = self.settings.integer("session.timeout.ms", _SESSION_MS) / 2000
            positions = Positions(
                consumer,
                sink,
                topics=options.topics,
                start=options.start,
                without_offsets=self.without_offsets,
                identify=identify,
                settle=lambda: producer.settle(options.group, partitions(options.written())),
                everywhere=lambda: partitions(options.topics),
                budget=budget,
                warn=warn,
            )
            loop = Loop(
                consumer,
                sink,
                Worker(self.scoring, self.codec),
                observer,
                positions,
                topics=options.topics,
                max_batch=options.max_batch,
                linger=options.linger,
                budget=budget,
                until=Until(self.ends, options.max_messages, options.seconds),
                patience=self.patience,
                warn=warn,
            )
            loop.run()


@contextlib.contextmanager
def prepare(
    options: Options,
    settings: Settings,
    *,
    client: ClientName = "kafka-python",
    model: ModelOptions,
    own_process: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> Generator[Consumption, None, None]:
    """Check everything that can be checked before the first record is read.

    Args:
        options: What to consume, and how.
        settings: The client's settings.
        client: Which client.
        model: Which model, and what runs it; ``threads`` of None means one per two CPUs, since the client
            needs some.
        own_process: Whether to run the model in its own process, which is faster but slower to start.
        warn: Receives messages for the operator, such as topics that were created.

    Raises:
        UsageError: Options that contradict each other.
        BundleError: The model cannot be used.
        ProviderError: The provider cannot run here.
        KafkaError: No cluster, not logged in, no topic.
    """
    options.check()
    with contextlib.ExitStack() as stack:
        patience = Patience(options.retry_for)
        kafka = open_client(client, settings, patience)
        kafka.check()
        admin = kafka.admin()
        try:
            partitions = partitions_of(admin, options.topics)  # before the model, which takes time to load
            open_: Callable[..., contextlib.AbstractContextManager[Scoring]] = (
                in_child_process if own_process else in_this_process
            )
            if model.threads is None:
                model = replace(model, threads=max(1, usable_cpus() // 2))
            scoring = stack.enter_context(open_(model, options.prefix, options.abstain))
            labels = scoring.model_info.labels
            codec = Codec(options.format, field=options.text_field, prefix=options.prefix, labels=labels)
            written = {options.letters(topic): partitions[topic] for topic in options.topics}
            if options.to_parquet is None:
                for topic in options.topics:
                    target = options.target(topic)
                    written[target] = max(written.get(target, 0), partitions[topic])
            configs = {options.letters(topic): _LETTERS for topic in options.topics}
            counts = ensure_topics(admin, written, configs, create=options.create_topics, warn=warn)
            limits = {topic: admin.largest_record(topic) for topic in map(options.letters, options.topics)}
            shared = {
                topic: count if counts.get(options.target(topic)) == count else 0
                for topic, count in partitions.items()
            }
            every = [Partition(topic, number) for topic in partitions for number in range(partitions[topic])]
            without_offsets = (
                _without_offsets(admin, options.group, every) if options.start != "earliest" else every
            )
            ends = admin.end_offsets(every) if options.until_end else None
        finally:
            admin.close()
        cluster = settings.text("bootstrap.servers", "")
        instance = options.instance or stack.enter_context(claimed_name(cluster, options.group))
        yield Consumption(
            options,
            scoring,
            codec,
            kafka,
            instance,
            settings,
            without_offsets,
            limits,
            shared,
            ends,
            patience,
        )


def _without_offsets(admin: Admin, group: str, partitions: Collection[Partition]) -> set[Partition]:
    """Return the partitions of topics for which the group has no offset at all.

    In a topic that the group reads already, a partition without an offset was added while nobody ran.
    """
    begun = {one.topic for one in admin.committed(group, partitions)}
    return {one for one in partitions if one.topic not in begun}
