"""confluent-kafka (librdkafka) as a ``Client``: less CPU per record than kafka-python."""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sentstream.errors import MissingExtraError
from sentstream.kafka.access.probe import reach
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Admin, Consumer, Outgoing, Producer
from sentstream.kafka.clients.patience import Patience

if TYPE_CHECKING:
    from sentstream.kafka.clients.confluent.errors import Cluster
    from sentstream.kafka.clients.confluent.reader import Reader
    from sentstream.kafka.clients.kafka_python.transactions import Coordinator

_READER = "sentstream-reader"  # the library requires a group.id even outside any group
_SOON_MS = 4000
_BACKOFF = 0.1  # seconds
_WAIT_MS = 20  # that a broker delays the answer at the end of a partition


class ConfluentClient:
    """confluent-kafka as an ``api.Client``.

    Raises:
        MissingExtraError: confluent-kafka is not installed.
    """

    name = "confluent-kafka"

    def __init__(self, settings: Settings, patience: Patience | None = None) -> None:
        try:
            import confluent_kafka  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "the confluent client needs confluent-kafka", extra="fast-kafka"
            ) from error
        from sentstream.kafka.clients.confluent import settings as confluent_settings

        self._settings, self._patience = settings, patience or Patience()
        self._configs = confluent_settings
        self._configs.common(settings)  # fail early: all handles need it
        self._seconds = settings.integer("default.api.timeout.ms", 60_000) / 1000
        self._verify = functools.partial(reach, settings)

    def check(self) -> None:
        reach(self._settings)

    def consumer(self, group: str, *, instance: str | None, limit: int) -> Consumer:
        from sentstream.kafka.clients.confluent.consumer import ConfluentConsumer

        return ConfluentConsumer(
            self._configs.consumer(self._settings, group, instance),
            cluster=self._cluster,
            clear=None if instance is None else functools.partial(self._remove_predecessor, group, instance),
            leave=None if instance is None else functools.partial(self._leave, group, instance),
            reader=self._reader,
        )

    def producer(self, transactional_id: str | None) -> Producer:
        from sentstream.kafka.clients.confluent.producer import ConfluentProducer

        seconds = self._settings.integer("max.block.ms", 60_000) / 1000
        return ConfluentProducer(
            self._configs.producer(self._settings, transactional_id),
            seconds=seconds,
            coordinator=None if transactional_id is None else self._coordinator(transactional_id),
            reasons=functools.partial(self._reasons, transactional_id),
            cluster=self._cluster,
        )

    def admin(self) -> Admin:
        from sentstream.kafka.clients.confluent.admin import ConfluentAdmin

        config = self._configs.common(self._settings)
        return ConfluentAdmin(config, self._reader, self._cluster)

    def _reader(self) -> Reader:
        from sentstream.kafka.clients.confluent.reader import Reader

        config = self._configs.reader(self._settings, _READER) | {"fetch.wait.max.ms": _WAIT_MS}
        return Reader(config, self._cluster)

    def _fresh(self) -> Any:
        """Open another of the library's clients, for a few requests."""
        from confluent_kafka import Producer as LibraryProducer

        from sentstream.kafka.clients.confluent.errors import ErrorCollector, opened

        return opened(LibraryProducer, self._configs.common(self._settings), ErrorCollector(self._verify))

    @property
    def _cluster(self) -> Cluster:
        from sentstream.kafka.clients.confluent.errors import Cluster

        return Cluster(self._patience, self._seconds, self._fresh, self._verify)

    # Requests that librdkafka does not have

    def _remove_predecessor(self, group: str, instance: str, topics: Collection[str]) -> None:
        """Remove our predecessor from the group if needed; see ``succession``."""
        from kafka.errors import KafkaError

        from sentstream.kafka.clients.kafka_python.errors import retried, translated
        from sentstream.kafka.clients.kafka_python.succession import remove_predecessor

        def attempt() -> None:
            with self._other_admin() as admin:
                remove_predecessor(admin, group, instance, topics)

        try:
            retried(attempt, self._patience.deadline(self._seconds), _BACKOFF)
        except KafkaError as error:
            raise translated(error, f"group {group}, subscribe") from error

    def _leave(self, group: str, instance: str) -> None:
        from sentstream.kafka.clients.kafka_python.succession import remove

        with self._other_admin() as admin:
            remove(admin, group, instance)

    def _coordinator(self, transactional_id: str) -> Coordinator:
        from sentstream.kafka.clients.kafka_python.transactions import Coordinator

        return Coordinator(
            transactional_id, self._other_admin, lambda: self._patience.deadline(self._seconds)
        )

    def _reasons(self, transactional_id: str | None, messages: Sequence[Outgoing]) -> Sequence[str | None]:
        """Return why the broker refuses each of these records; see ``refusals``."""
        from sentstream.kafka.clients.confluent.refusals import reasons

        name = transactional_id or f"{_READER}-{uuid.uuid4().hex}"
        return reasons(self._settings, f"{name}-reasons", messages)

    @contextlib.contextmanager
    def _other_admin(self) -> Iterator[Any]:
        """Open kafka-python's admin client."""
        from kafka import KafkaAdminClient

        from sentstream.kafka.clients.kafka_python.client import connection, opened

        config = connection(self._settings) | {"bootstrap_timeout_ms": _SOON_MS}
        admin = opened(KafkaAdminClient, self._settings, config)
        try:
            yield admin
        finally:
            admin.close()
