"""How the last transaction ended: a table, and both clients against a broker that has lost markers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka_logs import await_end, lose_markers
from kafka_runs import CLIENTS, available, settings
from kafka_tools import make_topic, new_name
from processes import wait_until

from sentstream.kafka.clients.api import (
    Client,
    Consumer,
    Outgoing,
    Partition,
    Producer,
    StaleGenerationError,
    UnacknowledgedError,
)
from sentstream.kafka.clients.ending import Described, Ending
from sentstream.kafka.clients.open import open_client
from tools.local_kafka import LocalKafka


def ending(*, committed: bool | None = True) -> Ending:
    """The end of the last transaction with offsets of producer 7 in epoch 3."""
    made = Ending()
    made.identity, made.committed, made.is_latest = (7, 3), committed, True
    return made


class TestThisProcess:
    @pytest.mark.parametrize("committed", [True, False])
    def test_acknowledged_end_is_known(self, committed: bool) -> None:
        made = ending(committed=not committed)
        made.begun()
        made.adding()
        made.added()
        made.ended(committed=committed)
        assert (made.committed, made.is_latest) == (committed, True)

    def test_abort_without_offsets_is_conclusive(self) -> None:
        made = ending()
        made.begun()
        made.ended(committed=False)
        assert (made.committed, made.is_latest) == (True, False)

    def test_abort_of_uncertain_offsets_proves_nothing(self) -> None:
        made = ending()
        made.begun()
        made.adding()
        made.ended(committed=False)
        assert made.committed is None


#: The coordinator's word before another producer begins, and what it proves: to a process that has had the
#: last producer and committed, and to one that starts. Is it the last transaction of all?
WORDS = [
    ("CompleteCommit", False, True, True, True),
    ("PrepareCommit", True, True, True, True),
    ("PrepareCommit", False, True, True, True),
    ("Ongoing", True, False, False, True),
    ("PrepareAbort", True, False, False, True),
    ("Ongoing", False, True, None, False),
    ("PrepareAbort", False, None, None, None),
    ("CompleteAbort", False, True, None, None),
    ("Empty", False, True, None, True),
    ("Dead", False, None, None, None),
]


class TestCoordinator:
    @pytest.mark.parametrize(("state", "carries", "here", "anew", "latest"), WORDS)
    def test_coordinator_answer(
        self, state: str, carries: bool, here: bool | None, anew: bool | None, latest: bool | None
    ) -> None:
        found = Described(state, 7, 3, carries)
        for made, expected in (ending(), here), (Ending(), anew):
            made.look(found)
            made.renewed((7, 5 if state == "Ongoing" else 4))
            assert made.committed is expected
            if expected is not None and latest is not None:
                assert made.is_latest is latest
            assert made.identity == (7, 5 if state == "Ongoing" else 4)

    def test_abort_of_our_open_transaction(self) -> None:
        for steps, expected in (0, True), (1, None), (2, False):
            made = ending()
            made.begun()
            for step in (made.adding, made.added)[:steps]:
                step()
            made.look(Described("CompleteAbort", 7, 3, False))
            made.renewed((7, 4))
            assert made.committed is expected

    def test_start_may_be_retried(self) -> None:
        made = ending()
        made.look(Described("CompleteCommit", 7, 3, False))
        made.renewed((7, 5))
        assert made.committed

    @pytest.mark.parametrize("identity", [None, (7, 3), (8, 4)])
    def test_another_producer_id_ends_nothing(self, identity: tuple[int, int] | None) -> None:
        made = ending()
        made.look(Described("CompleteCommit", 7, 3, False))
        made.renewed(identity)
        assert made.committed is None

    @pytest.mark.parametrize("state", ["Empty", "CompleteAbort", "Ongoing"])
    def test_answer_about_another_producer_proves_nothing(self, state: str) -> None:
        made = ending()
        made.look(Described(state, 7, 4, False))
        made.renewed((7, 6 if state == "Ongoing" else 5))
        assert made.committed is None

    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            (("CompleteCommit", 3), ("CompleteCommit", 3), True),
            (("CompleteCommit", 3), ("Empty", 4), True),
            (("CompleteCommit", 3), ("Empty", 5), True),
            (("CompleteCommit", 3), ("CompleteAbort", 4), None),
            (("Ongoing", 3), ("CompleteAbort", 4), False),
            (("Ongoing", 3), ("Empty", 5), False),
            (("Ongoing", 3), ("Empty", 4), None),
            (("CompleteAbort", 3), ("Empty", 4), None),
        ],
    )
    def test_failed_start_keeps_the_proof(
        self, first: tuple[str, int], second: tuple[str, int], expected: bool | None
    ) -> None:
        made = Ending()
        for state, epoch in first, second:
            made.look(Described(state, 7, epoch, state == "Ongoing"))
        made.renewed((7, second[1] + 1))
        assert made.committed is expected
        made.look(Described(*second[:1], 7, second[1], False))  # by now it is another's
        made.renewed((7, second[1] + 1))
        assert made.committed is (True if second[0] == "CompleteCommit" else None)

    def test_unknown_or_unauthorized(self) -> None:
        made = ending()
        made.look(None)
        made.renewed((7, 0))
        assert (made.committed, made.identity) == (None, (7, 0))


class Group:
    """A member of a group that owns all partitions of a topic, and a topic of results."""

    def __init__(self, kafka: LocalKafka, client: str, partitions: int) -> None:
        self.kafka, self.name = kafka, new_name()
        self.source = make_topic(kafka.bootstrap, partitions)
        self.results = make_topic(kafka.bootstrap, partitions)
        self.client: Client = open_client(client, settings(kafka.bootstrap, session_timeout_ms=250_000))  # type: ignore[arg-type]
        self.consumer: Consumer = self.client.consumer(self.name, instance=None, limit=10)
        self.consumer.subscribe([self.source], self)

        def joined() -> bool:
            self.consumer.poll(0.1, 10)
            return len(self.consumer.assignment()) == partitions

        wait_until(joined, "it has joined")

    def assigned(self, partitions: object) -> None:
        """Nothing to do."""

    revoked = lost = assigned


class Scene:
    """A transactional.id that has committed offset 1 of its own partition, and then does ``acts``."""

    def __init__(self, group: Group, number: int, acts: Callable[[Scene], None]) -> None:
        self._group, self.id = group, new_name()
        self.source, self.results = Partition(group.source, number), Partition(group.results, number)
        self._producers: list[Producer] = []
        self.renew()
        self.transact(1)
        acts(self)

    def renew(self) -> None:
        """Have a new producer take over the id, as that of a restarted process."""
        self._producers.append(self._group.client.producer(self.id))

    def rebuild(self) -> None:
        """Have the producer rebuild itself."""
        self.producer._broken = True  # type: ignore[attr-defined]
        self.producer.abort()

    @property
    def producer(self) -> Producer:
        """The newest."""
        return self._producers[-1]

    def transact(self, offset: int | None, end: str = "commit") -> None:
        """A transaction with a result, and the offset if there is one."""
        self.producer.begin()
        assert self.producer.send([Outgoing(self.results.topic, None, b"x", partition=self.results[1])]) == []
        if offset is not None:
            self.producer.add_offsets({self.source: offset}, self._group.consumer.group())
        if end:
            getattr(self.producer, end)()
            await_end(self._group.kafka.bootstrap, self.id)  # acknowledged is not yet told to all

    def go_on(self, offset: int) -> None:
        """A transaction; a second try where librdkafka waits for a coordinator that was gone."""
        try:
            self.transact(offset)
        except UnacknowledgedError:
            self.producer.abort()
            self.transact(offset)

    def committed(self) -> int | None:
        """The group's offset; None where it is pending."""
        try:
            return self._group.consumer.committed([self.source])[self.source]
        except StaleGenerationError:
            return None

    def readable(self) -> int:
        """The end of the results for readers of committed records."""
        return self._group.consumer.end_offsets([self.results])[self.results]

    def settle(self) -> bool:
        """Have the producer end its last transaction again, and wait until that is done."""
        done = self.producer.settle(self._group.name, [self.results])
        await_end(self._group.kafka.bootstrap, self.id)
        return done

    def close(self) -> None:
        """Close all."""
        for producer in self._producers:
            producer.close()


def open_when_it_died(scene: Scene) -> None:
    """A transaction that the next producer aborts."""
    scene.transact(7, end="")
    scene.renew()


#: What is done before the markers of the last transaction are lost.
BEFORE: dict[str, Callable[[Scene], None]] = {
    "committed": lambda scene: scene.transact(7),
    "committed, rebuilt": lambda scene: scene.transact(7),
    "committed, new": lambda scene: scene.transact(7),
    "committed, aborted": lambda scene: scene.transact(7),
    "committed, new, new": lambda scene: scene.transact(7),
    "committed, aborted, new": lambda scene: scene.transact(7),
    "aborted": lambda scene: scene.transact(7, end="abort"),
    "open": open_when_it_died,
}


@pytest.fixture(scope="module", params=CLIENTS)
def scenes(request: pytest.FixtureRequest, kafka: Any) -> Iterator[dict[str, Scene]]:
    """By name; the broker has lost the last action of each."""
    if not isinstance(kafka, LocalKafka):
        pytest.skip("the broker that SENTSTREAM_TEST_BOOTSTRAP names is not ours to kill")
    group = Group(kafka, available(request.param), len(BEFORE))
    made = {name: Scene(group, number, acts) for number, (name, acts) in enumerate(BEFORE.items())}
    lose_markers(kafka, [scene.id for scene in made.values()], [group.results])
    yield made
    for scene in made.values():
        scene.close()
    group.consumer.close()


@pytest.mark.slow
class TestLostMarkers:
    @pytest.mark.parametrize(
        ("name", "then", "committed"),
        [
            ("committed", [], 7),
            ("committed, rebuilt", [Scene.rebuild, Scene.rebuild], 7),
            ("committed, new", [Scene.renew], 7),
            ("committed, aborted", [lambda scene: scene.transact(None, end="abort")], 7),
            ("aborted", [], 1),
            ("open", [], 1),
        ],
    )
    def test_transaction_is_ended_again_the_same_way(
        self, scenes: dict[str, Scene], name: str, then: list[Callable[[Scene], None]], committed: int
    ) -> None:
        scene = scenes[name]
        assert scene.committed() is None
        stuck = scene.readable()
        for act in then:
            act(scene)
        assert scene.settle()
        assert scene.committed() == committed
        assert scene.readable() > stuck
        if name in ("committed", "committed, new"):
            scene.go_on(9)
            assert scene.committed() == 9

    @pytest.mark.parametrize(
        ("name", "then"),
        [
            ("committed, new, new", [Scene.renew, Scene.renew]),
            ("committed, aborted, new", [lambda scene: scene.transact(None, end="abort"), Scene.renew]),
        ],
    )
    def test_unknown_end_is_left_alone(
        self, scenes: dict[str, Scene], name: str, then: list[Callable[[Scene], None]]
    ) -> None:
        scene = scenes[name]
        for act in then:
            act(scene)
        assert not scene.settle()
        assert scene.committed() is None


def test_ending_again_is_harmless(kafka: Any, client: str) -> None:
    group = Group(kafka, client, 1)
    scene = Scene(group, 0, lambda scene: scene.transact(7))
    with contextlib.closing(group.consumer), contextlib.closing(scene):
        assert scene.settle()
        assert scene.committed() == 7
        scene.producer.begin()
        assert not scene.settle()  # only between two others
        scene.producer.abort()
        older = scene.producer
        scene.renew()
        assert not older.settle(group.name, [])
        assert scene.committed() == 7
