"""Find or create topics, and name the ACL that is missing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from sentstream.errors import AuthorizationError, TopicNotFoundError
from sentstream.kafka.clients.api import Admin

TO_WRITE = "this needs the ACL Write on the topic, and Create if the topic does not exist"


def partitions_of(admin: Admin, topics: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of each topic.

    Raises:
        TopicNotFoundError: A topic does not exist.
    """
    with hinting("this needs the ACL Read on the topic"):
        found = admin.partitions(topics)
    for topic in topics:
        if topic not in found:
            raise TopicNotFoundError(f"no topic {topic!r}", hint="create it, or check --topic")
    return found


@contextmanager
def hinting(hint: str) -> Generator[None, None, None]:
    """Add a hint about the missing ACL to any ``AuthorizationError``."""
    try:
        yield
    except AuthorizationError as error:
        raise AuthorizationError(error.message, hint=hint) from error


def ensure_topics(
    admin: Admin,
    required: Mapping[str, int],
    configs: Mapping[str, Mapping[str, str]],
    *,
    create: bool,
    warn: Callable[[str], None],
) -> dict[str, int]:
    """Return the partition counts of the topics to write to; with ``create``, create missing ones.

    Raises:
        TopicNotFoundError: A topic does not exist, and ``create`` is false.
    """
    with hinting(TO_WRITE):
        found = admin.partitions(list(required))
    for topic, partitions in required.items():
        if topic not in found:
            if not create:
                raise TopicNotFoundError(
                    f"no topic {topic!r}", hint="create it, or leave out --no-create-topics"
                )
            create_topic(admin, topic, partitions, configs.get(topic), warn=warn)
            found[topic] = partitions
    return found


def create_topic(
    admin: Admin,
    topic: str,
    partitions: int,
    configs: Mapping[str, str] | None = None,
    *,
    warn: Callable[[str], None],
) -> None:
    """Create a topic, and tell the operator; see ``Admin.create``."""
    with hinting(TO_WRITE):
        admin.create(topic, partitions, configs)
    warn(f"created topic {topic} with {partitions} partition{'' if partitions == 1 else 's'}")
