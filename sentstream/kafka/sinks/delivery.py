"""Deliver results, dead letters and offsets, in one transaction or one after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sentstream.errors import DeliveryError, MessageRefusedError, MessageSizeError
from sentstream.kafka.clients.api import Consumer, Outgoing, Partition, Producer, Record, Refusal
from sentstream.kafka.dead_letters.letter import DeadLetter, dead_letter_topic


@dataclass
class DeadLetterTarget:
    """The destination of dead letters.

    Attributes:
        topic: The dead letter topic, or None for ``{source topic}.dlq``.
        limits: ``max.message.bytes`` of each dead letter topic.
        topic_ids: The id of each source topic, if known.
    """

    topic: str | None
    limits: dict[str, int] = field(default_factory=dict)
    topic_ids: dict[str, str] = field(default_factory=dict)

    def outgoing(self, dead: DeadLetter, *, bare: bool = False) -> Outgoing:
        """Return a dead letter to send; ``bare`` leaves out its value, key and headers unless tiny."""
        topic = dead_letter_topic(dead.record.topic, self.topic)
        limit = 0 if bare else self.limits.get(topic, 1 << 20)
        return dead.outgoing(topic, limit=limit, topic_id=self.topic_ids.get(dead.record.topic, ""))


class Delivery:
    """Sends and commits in the right order.

    Args:
        producer: With a transactional.id for exactly-once, without one for at-least-once.
        consumer: The consumer whose offsets are committed.
        exactly_once: Whether results and offsets form one transaction.
        letters: The destination of dead letters.
    """

    def __init__(
        self, producer: Producer, consumer: Consumer, letters: DeadLetterTarget, *, exactly_once: bool
    ) -> None:
        self._producer, self._consumer = producer, consumer
        self.letters, self._exactly_once = letters, exactly_once
        self._before: Collection[Partition] = ()  # whose offsets the last transaction committed
        #: Whether a commit has begun but not returned; after an error, it may have succeeded.
        self.committing = False

    def __call__(
        self,
        results: Sequence[tuple[Record, Outgoing]],
        dead: Sequence[DeadLetter],
        offsets: Mapping[Partition, int],
    ) -> list[DeadLetter]:
        """Send results and dead letters, and commit the offsets.

        Args:
            results: The messages to send, each with its source record.
            dead: Dead letters.
            offsets: The offsets to commit.

        Returns:
            The records of ``results`` that became dead letters because the broker refused the result.

        Raises:
            DeliveryError: The broker refuses a dead letter, even without what it was refused for.
            StaleGenerationError: Nothing was committed (at-least-once: messages may have been sent). Also if
                the offsets of the previous transaction stay pending.
        """
        self.committing = False
        before, self._before = self._before, ()
        if before:
            # A broker that died right after that commit may have left the offsets pending, where an abort of
            # the next transaction would drop them (see ``clients.ending``). Asked once: if they stay pending,
            # the caller decides whether to go on.
            self._consumer.committed(before)
        refused: list[DeadLetter] = []
        waiting: list[tuple[Record | DeadLetter, Outgoing]] = [
            *results,
            *((one, self.letters.outgoing(one)) for one in dead),
        ]
        while True:
            if self._exactly_once:
                self._producer.begin()
            refusals = self._producer.send([message for _, message in waiting]) if waiting else []
            if not refusals:
                break
            self._producer.abort()
            if not self._exactly_once:  # the other messages are already written
                waiting = [waiting[refusal.position] for refusal in refusals]
                refusals = [refusal._replace(position=index) for index, refusal in enumerate(refusals)]
            for refusal in refusals:
                origin, sent = waiting[refusal.position]
                if isinstance(origin, DeadLetter):
                    waiting[refusal.position] = origin, self._without_cause(origin, sent, refusal)
                else:
                    kind = MessageSizeError if refusal.cause == "size" else MessageRefusedError
                    letter = DeadLetter(origin, kind(f"the broker rejects the result: {refusal.reason}"))
                    refused.append(letter)
                    waiting[refusal.position] = letter, self.letters.outgoing(letter)
        if self._exactly_once:
            self._producer.add_offsets(offsets, self._consumer.group())
            self.committing = True
            self._producer.commit()
            self._before = list(offsets)
        else:
            self.committing = True
            self._consumer.commit(offsets)
        self.committing = False
        return refused

    def _without_cause(self, letter: DeadLetter, sent: Outgoing, refusal: Refusal) -> Outgoing:
        """Return a refused dead letter without the cause: its timestamp, or if too large, its large parts.

        Raises:
            DeliveryError: It cannot be reduced any further.
        """
        record = letter.record
        where = f"the dead letter of {record.topic}-{record.partition} at offset {record.offset} is rejected"
        if refusal.cause == "time" and sent.timestamp is not None:  # it is also in a header
            return sent._replace(timestamp=None)
        if refusal.cause != "size":
            raise DeliveryError(
                f"{where}: {refusal.reason}",
                hint=f"{sent.topic} must accept records with any key and timestamp (cleanup.policy=delete)",
            )
        bare = self.letters.outgoing(letter, bare=True)._replace(timestamp=sent.timestamp)
        if bare == sent:
            raise DeliveryError(
                f"{where}, even without its value: {refusal.reason}",
                hint=f"raise max.message.bytes of {bare.topic}",
            )
        return bare

    def abort(self) -> None:
        """Abort an open transaction."""
        self._producer.abort()
