"""How kafka-python's consumer joins its group, and tells of a rebalance, where we need it otherwise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any, Literal

from kafka import TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.base import MemberState
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.future import Future

from sentstream.kafka.clients.api import Listener, Partition


class Coordinator(ConsumerCoordinator):  # type: ignore[misc]
    """A coordinator that tells a member without partitions, too, that it has joined.

    It also keeps a membership that came between two polls. kafka-python sends a join and waits for it as
    long as the poll lasts. If it ends after that, the next poll finds it done, takes it for an old one and
    joins anew, which starts a rebalance for everybody: a group whose members poll shortly may go on so
    forever. And where only new partitions had asked for the join, the leader has taken them in as soon as
    it shares them out: a poll after that would see nothing to join for, never take the result, and send no
    heartbeat any more.
    """

    def need_rejoin(self) -> bool:
        return self.rejoining or bool(super().need_rejoin())

    @property
    def _join_task(self) -> _Join | None:
        join: _Join | None = self.__dict__.get("_join")
        return join

    @_join_task.setter
    def _join_task(self, future: Any) -> None:
        self.__dict__["_join"] = None if future is None else _Join(future, self)

    async def _on_join_complete_async(self, *joined: Any) -> None:
        await super()._on_join_complete_async(*joined)
        if self._subscription.rebalance_listener and not self._subscription.assigned_partitions():
            await self._invoke_rebalance_listener_async("on_partitions_assigned", set())


class _Join:
    """A join that is not done before its result is taken, or is of no use any more."""

    def __init__(self, future: Any, coordinator: Any) -> None:
        self._future, self._coordinator = future, coordinator
        self.add_callback, self.add_errback = future.add_callback, future.add_errback

    @property
    def is_done(self) -> bool:
        return self._future.is_done and self._coordinator.state is not MemberState.REBALANCING

    def __await__(self) -> Any:
        return self._future.__await__()


class Relay(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Calls a listener from a thread of its own, so that it may block while kafka-python sends heartbeats."""

    def __init__(
        self, listener: Listener, consumer: Any, hold: Callable[[Collection[TopicPartition]], None]
    ) -> None:
        self._listener, self._net, self._hold = listener, consumer._net, hold
        self._failure: BaseException | None = None
        self.closed = False

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._hold(assigned)
        await self._tell("assigned", assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._tell("revoked", revoked)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        await self._tell("lost", lost)

    def taken(self) -> BaseException | None:
        """What the listener raised since last asked."""
        failure, self._failure = self._failure, None
        return failure

    async def _tell(
        self, kind: Literal["assigned", "revoked", "lost"], partitions: Collection[TopicPartition]
    ) -> None:
        if self.closed or not (partitions or kind == "assigned"):
            return
        told = Future()
        ours = sorted(Partition(*each) for each in partitions)

        def call() -> None:
            try:
                getattr(self._listener, kind)(ours)
            except BaseException as error:
                self._failure = self._failure or error
            self._net.call_soon_threadsafe(lambda: told.success(None))

        threading.Thread(target=call, name=f"sentstream-{kind}", daemon=True).start()
        await told
        if self._failure is not None:
            raise self._failure  # ends the poll; kafka-python wraps it
