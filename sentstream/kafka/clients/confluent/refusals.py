"""Find out why a broker refuses records, in its own words (KIP-467), which librdkafka does not pass on.

librdkafka's Python binding passes on only the error code: "failed to validate record". kafka-python passes
on the reason, so it sends the records again, in a transaction that is always aborted: if the broker accepts
them this time, nobody reads them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kafka import errors as kafka

from sentstream.errors import SentstreamError
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Outgoing, StaleGenerationError
from sentstream.kafka.clients.kafka_python.client import connection, opened
from sentstream.kafka.clients.kafka_python.producer import PythonProducer, producer_config

T = TypeVar("T")

_BRIEFLY = {"max_block_ms": 5000, "delivery_timeout_ms": 5000, "request_timeout_ms": 4000}


def reasons(settings: Settings, transactional_id: str, messages: Sequence[Outgoing]) -> list[str | None]:
    """Return why the broker refuses each of these records; None if it does not say or cannot be asked.

    Args:
        settings: The client's settings.
        transactional_id: An id that no other producer uses.
        messages: Records that were just refused.
    """
    config = producer_config(settings, transactional_id) | _BRIEFLY
    found: dict[int, str] = {}

    def open_(kind: Callable[..., T], own: dict[str, Any]) -> T:
        return opened(kind, settings, connection(settings) | own)

    with contextlib.suppress(SentstreamError, StaleGenerationError, kafka.KafkaError):
        producer = PythonProducer(open_, config, settings)
        with contextlib.closing(producer):
            producer.begin()
            found = {refusal.position: refusal.reason for refusal in producer.send(messages)}
    return [found.get(index) for index in range(len(messages))]
