"""Changes to how kafka-python's consumer joins its group and reports rebalances."""

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
    """A coordinator that also notifies members without partitions that they have joined.

    It also keeps the result of a join that completes between two polls. kafka-python sends a join request and
    waits for it during the poll. If it completes later, the next poll considers it outdated and joins again,
    which starts a rebalance for all members; a group whose members poll briefly may repeat this forever. And
    if the join was only for new partitions, the leader includes them as soon as it assigns them: the next
    poll would see no reason to join, never take the result, and send no more heartbeats.
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
    """A join that counts as done only once its result was taken, or is no longer needed."""

    def __init__(self, future: Any, coordinator: Any) -> None:
        self._future, self._coordinator = future, coordinator
        self.add_callback, self.add_errback = future.add_callback, future.add_errback

    @property
    def is_done(self) -> bool:
        return self._future.is_done and self._coordinator.state is not MemberState.REBALANCING

    def __await__(self) -> Any:
        return self._future.__await__()


class Relay(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Calls a listener in a separate thread, so that it may block while kafka-python sends heartbeats."""

    def __init__(
        self, listener: Listener, consumer: Any, hold: Callable[[Collection[TopicPartition]], None]
    ) -> None:
        self._listener, self._net, self._hold = listener, consumer._net, hold
        self._failure: BaseException | None = None
        self.closed = False

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._hold(assigned)
        await self._notify("assigned", assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._notify("revoked", revoked)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        await self._notify("lost", lost)

    def taken(self) -> BaseException | None:
        """Return and clear what the listener raised since the last call."""
        failure, self._failure = self._failure, None
        return failure

    async def _notify(
        self, kind: Literal["assigned", "revoked", "lost"], partitions: Collection[TopicPartition]
    ) -> None:
        if self.closed or not (partitions or kind == "assigned"):
            return
        answered = Future()
        changed = sorted(Partition(*each) for each in partitions)

        def call() -> None:
            try:
                getattr(self._listener, kind)(changed)
            except BaseException as error:
                self._failure = self._failure or error
            self._net.call_soon_threadsafe(lambda: answered.success(None))

        threading.Thread(target=call, name=f"sentstream-{kind}", daemon=True).start()
        await answered
        if self._failure is not None:
            raise self._failure  # ends the poll; kafka-python wraps it
