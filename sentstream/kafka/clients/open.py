"""Open a client by its name."""

from __future__ import annotations

from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Client
from sentstream.kafka.clients.patience import Patience
from sentstream.kafka.names import ClientName


def open_client(name: ClientName, settings: Settings, patience: Patience | None = None) -> Client:
    """Return a client; without ``patience``, only its settings limit how long it waits for brokers.

    Raises:
        MissingExtraError: confluent-kafka is not installed.
    """
    if name == "confluent":
        from sentstream.kafka.clients.confluent.client import ConfluentClient

        return ConfluentClient(settings, patience)
    from sentstream.kafka.clients.kafka_python.client import PythonClient

    return PythonClient(settings, patience)
