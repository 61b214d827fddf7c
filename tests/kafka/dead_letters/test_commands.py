"""Showing and replaying dead letters: each once, whatever is killed, filtered or repeated."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka_tools import drain
from processes import child, on_terminal, wait_until

from sentstream.cli import main
from sentstream.errors import (
    DeliveryError,
    FencedError,
    MessageDecodeError,
    MessageError,
    MessageFieldError,
    MessageSizeError,
    TopicNotFoundError,
    UsageError,
)
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Headers, Outgoing, Partition, StoredRecord
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.dead_letters.letter import REPLAYS, DeadLetter
from sentstream.kafka.dead_letters.queue import (
    DeadLetterQueue,
    Filter,
    Foreign,
    QueuedDeadLetter,
    handled,
    letters,
)
from sentstream.kafka.dead_letters.replay import Outcome, Replay, dry_plan
from sentstream.kafka.names import ClientName

ROOT = Path(__file__).resolve().parents[3]
MOMENT = 1_700_000_000_000
CLIENTS: tuple[ClientName, ...] = ("kafka-python", "confluent")
FIELD = MessageFieldError("no field 'text'", hint="choose another --text-field")
DECODE = MessageDecodeError("not UTF-8")


def sent_before(record: StoredRecord) -> tuple[bytes | None, bytes | None, tuple[Any, ...]]:
    return record.key, record.value, tuple(record.headers)


class Environment:
    """A topic, its dead letters, and a client to fill and look at them."""

    def __init__(
        self,
        bootstrap: str,
        topic: Callable[..., str],
        client: ClientName,
        *,
        partitions: int = 2,
        letters_in: int = 2,
    ):
        self.bootstrap, self.client_name = bootstrap, client
        settings = Settings.load(None, overrides={"bootstrap.servers": bootstrap})
        self.client = open_client(client, settings)
        self.topic = topic(partitions)
        self.dlq = topic(letters_in)
        self.queue = DeadLetterQueue(self.topic, self.dlq)
        self.producer, self.admin = self.client.producer(None), self.client.admin()

    def close(self) -> None:
        self.producer.close()
        self.admin.close()

    def record(
        self,
        offset: int,
        value: bytes | None = b"{}",
        *,
        key: bytes | None = b"k",
        headers: Headers = (),
        partition: int = 0,
    ) -> StoredRecord:
        return StoredRecord(self.topic, partition, offset, MOMENT + offset, key, value, headers)

    def send(self, messages: Sequence[Outgoing]) -> None:
        assert self.producer.send(messages) == []

    def bury(
        self,
        records: Sequence[StoredRecord],
        error: MessageError | None = None,
        *,
        limit: int = 1 << 20,
        partition: int | None = None,
    ) -> None:
        """Make dead letters of records."""
        self.send(
            [
                DeadLetter(record, error or FIELD)
                .outgoing(self.dlq, limit=limit)
                ._replace(partition=partition)
                for record in records
            ]
        )

    def replay(
        self, which: Filter | None = None, *, warn: Callable[[str], None] | None = None, **more: Any
    ) -> Outcome:
        queue = more.pop("queue", self.queue)
        work = Replay(self.client, queue, warn=warn or (lambda text: None))
        try:
            return work.run(work.plan(which or Filter(), **more))
        finally:
            work.close()
            drain(self.bootstrap, self.dlq)  # waits until the transactions are seen

    def values(self, topic: str | None = None) -> list[bytes | None]:
        return [record.value for record in drain(self.bootstrap, topic or self.topic)]

    def letters(self, **more: Any) -> list[QueuedDeadLetter]:
        found = letters(self.admin, self.queue, **more)
        return [each for each in found if isinstance(each, QueuedDeadLetter)]

    def pending(self) -> list[bytes | None]:
        return [dead.letter.value for dead in self.letters()]

    def ended(self) -> int:
        """The approximate number of records in the topic."""
        return sum(self.admin.end_offsets([Partition(self.topic, 0), Partition(self.topic, 1)]).values())

    @property
    def options(self) -> list[str]:
        return [
            *("--topic", self.topic, "--dead-letter-topic", self.dlq),
            *("--bootstrap-servers", self.bootstrap, "--client", self.client_name),
        ]


@pytest.fixture(name="env", params=CLIENTS)
def _env(request: pytest.FixtureRequest, kafka: Any, topic: Any) -> Iterator[Environment]:
    env = Environment(kafka.bootstrap, topic, request.param)
    yield env
    env.close()


@pytest.fixture(name="plain")
def _plain(kafka: Any, topic: Any) -> Iterator[Environment]:
    env = Environment(kafka.bootstrap, topic, "confluent")
    yield env
    env.close()


class TestReplay:
    def test_replayed_records_are_unchanged_and_counted(self, env: Environment) -> None:
        records = [
            env.record(3, b'{"id":1}', headers=(("trace", b"7"), ("empty", b""), ("none", None))),
            env.record(4, b"\xff\xfe\0", key=None, partition=1),
            env.record(5, b"", key=b"\xff"),
            env.record(6, "größe 😂".encode(), key=b"", headers=(("größe", b"x"),), partition=1),
        ]
        env.bury(records)
        outcome = env.replay()
        assert (outcome.count, outcome.kept, outcome.foreign, outcome.complete) == (4, 0, 0, True)
        assert outcome.replayed == {"MessageFieldError": 4}
        found = drain(env.bootstrap, env.topic)
        came = {(r.partition, r.timestamp): (r.key, r.value, tuple(r.headers)) for r in found}
        assert came == {
            (record.partition, record.timestamp): (
                record.key,
                record.value,
                (*record.headers, (REPLAYS, b"1")),
            )
            for record in records
        }

    def test_second_replay_restores_only_newer_letters(self, env: Environment) -> None:
        env.bury([env.record(offset, b"old %d" % offset) for offset in range(5)])
        assert env.replay().count == 5
        assert env.replay().count == 0
        env.bury([env.record(offset, b"new %d" % offset) for offset in range(3)])
        assert env.replay().count == 3
        assert env.replay().count == 0
        assert Counter(env.values()) == Counter(
            [*(b"old %d" % n for n in range(5)), *(b"new %d" % n for n in range(3))]
        )

    def test_many_letters_keep_their_order(self, env: Environment) -> None:
        env.bury([env.record(n, b"%d" % n) for n in range(1234)], partition=1)
        assert env.replay().count == 1234
        assert env.values() == [b"%d" % n for n in range(1234)]

    def test_groups_replay_independently(self, plain: Environment) -> None:
        plain.bury([plain.record(1)])
        other = DeadLetterQueue(plain.topic, plain.dlq, "other")
        assert plain.replay().count == plain.replay(queue=other).count == 1
        assert plain.replay().count == plain.replay(queue=other).count == 0

    def test_into_another_topic(self, plain: Environment, topic: Any) -> None:
        target = topic(1)
        plain.bury([plain.record(1, b"a", partition=1), plain.record(2, b"b")])
        assert plain.replay(to_topic=target).count == 2
        assert sorted(map(str, plain.values(target))) == ["b'a'", "b'b'"]
        assert plain.values() == []

    def test_source_with_fewer_partitions_than_it_had(self, plain: Environment) -> None:
        plain.bury([plain.record(1, b"a", partition=7)])
        assert plain.replay().count == 1
        assert plain.values() == [b"a"]

    def test_repeated_failure_increments_the_replay_count(self, plain: Environment) -> None:
        plain.bury([plain.record(1)])
        plain.replay()
        [record] = drain(plain.bootstrap, plain.topic)
        again = StoredRecord(
            plain.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            record.headers,
        )
        plain.bury([again])
        plain.replay()
        assert [dict(r.headers)[REPLAYS] for r in drain(plain.bootstrap, plain.topic)] == [b"1", b"2"]

    def test_concurrent_replays_restore_each_letter_once(self, env: Environment) -> None:
        env.bury([env.record(n, b"%d" % n) for n in range(20)])
        first = Replay(env.client, env.queue)
        try:
            plan = first.plan(Filter())
            assert env.replay().count == 20
            with pytest.raises(FencedError):
                first.run(plan)
        finally:
            first.close()
        assert Counter(env.values()) == Counter(b"%d" % n for n in range(20))

    def test_foreign_record_is_reported_and_skipped(self, plain: Environment) -> None:
        plain.send([Outgoing(plain.dlq, None, b"stray", (("x", b"y"),), None, 0)])
        plain.bury([plain.record(1, b"a")], partition=0)
        lines: list[str] = []
        outcome = plain.replay(warn=lines.append)
        assert (outcome.count, outcome.foreign, outcome.kept) == (1, 1, 0)
        assert lines == [f"{plain.dlq}-0 at offset 0 is skipped: not a dead letter from sentstream"]
        assert plain.values() == [b"a"]

    def test_stopped_replay_continues_later(self, plain: Environment) -> None:
        plain.bury([plain.record(n, b"%d" % n) for n in range(1200)], partition=0)
        work = Replay(plain.client, plain.queue)
        done: list[int] = []
        try:
            outcome = work.run(
                work.plan(Filter()),
                progress=lambda now, total: done.append(now),
                stopped=lambda: bool(done) and done[-1] >= 500,
            )
        finally:
            work.close()
        assert (outcome.count, outcome.complete) == (500, False)
        assert plain.replay().count == 700
        assert plain.values() == [b"%d" % n for n in range(1200)]

    @pytest.mark.parametrize(
        ("queue", "error"),
        [
            (DeadLetterQueue(None), UsageError),
            (DeadLetterQueue("t", "t"), UsageError),
            (DeadLetterQueue("t", group=""), UsageError),
            (DeadLetterQueue("surely-not-there"), TopicNotFoundError),
        ],
    )
    def test_invalid_queues(self, plain: Environment, queue: DeadLetterQueue, error: type[Exception]) -> None:
        with pytest.raises(error):
            plain.replay(queue=queue)

    def test_letters_need_an_existing_target_topic(self, plain: Environment) -> None:
        gone = plain.record(1)._replace(topic="surely-gone")
        plain.bury([gone])
        whole = DeadLetterQueue(None, plain.dlq)
        with pytest.raises(TopicNotFoundError, match="'surely-gone' to replay letters to"):
            plain.replay(queue=whole)
        with pytest.raises(UsageError, match="is the dead letter topic"):
            plain.replay(queue=whole, to_topic=plain.dlq)
        assert plain.replay(queue=whole, to_topic=plain.topic).count == 1


class TestKilled:
    def test_killed_replay_restores_each_letter_once(self, env: Environment) -> None:
        count = 4000
        env.bury([env.record(n, b"%d" % n, key=b"%d" % n) for n in range(count)])
        command = [sys.executable, "-m", "sentstream", "dead-letters", "replay", *env.options, "--yes"]
        with child(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: env.ended() or process.poll() is not None, "a letter is put back")
            process.kill()
            assert process.wait() == -signal.SIGKILL
        assert len(env.values()) < count
        assert main(command[3:]) == 0
        found = Counter(env.values())
        assert len(found) == count
        assert set(found.values()) == {1}
        assert env.pending() == []


class TestFilters:
    def bury_some(self, env: Environment) -> None:
        env.bury([env.record(1, b"f1"), env.record(2, b"f2")], FIELD, partition=0)
        env.bury([env.record(3, b"d3")], DECODE, partition=0)
        env.bury([env.record(4, b"f4"), env.record(5, b"f5")], FIELD, partition=1)
        env.bury([env.record(6, b"d6")], DECODE, partition=1)
        env.bury([env.record(7, b"f7")], FIELD, partition=1)

    def test_skipped_letters_stay_pending_and_are_replayed_once(self, env: Environment) -> None:
        self.bury_some(env)
        outcome = env.replay(Filter(errors=["MessageDecodeError"]))
        assert (outcome.count, outcome.passed_over) == (2, 4)
        assert sorted(map(str, env.values())) == ["b'd3'", "b'd6'"]
        assert env.pending() == [b"f1", b"f2", b"f7", b"f4", b"f5"]
        assert env.replay(Filter(errors=["MessageDecodeError"])).count == 0
        assert env.replay().count == 5
        assert Counter(env.values()) == Counter([b"d3", b"d6", b"f1", b"f2", b"f4", b"f5", b"f7"])
        assert env.pending() == []

    def test_kept_letter_is_unchanged(self, plain: Environment) -> None:
        record = plain.record(1, b"\xff", headers=(("a", b"1"), ("n", None)))
        plain.bury([record, plain.record(2)], FIELD, partition=0)
        [before, _] = plain.letters()
        plain.replay(Filter(offsets=[(0, 1)]))
        [after] = plain.letters()
        assert after.letter == before.letter
        assert after.record.timestamp == before.record.timestamp
        assert after.record.offset > before.record.offset

    def test_no_match_changes_nothing(self, plain: Environment) -> None:
        self.bury_some(plain)
        before = len(drain(plain.bootstrap, plain.dlq))
        assert plain.replay(Filter(errors=["MessageClashError"])).count == 0
        assert plain.replay(Filter(stage="read")).count == 0
        assert plain.replay(Filter(offsets=[(0, 99)])).count == 0
        assert len(drain(plain.bootstrap, plain.dlq)) == before

    def test_by_stage_and_by_offset(self, plain: Environment) -> None:
        plain.bury([plain.record(1, b"a")], FIELD, partition=0)
        plain.bury([plain.record(2, b"b")], MessageSizeError("too large"), partition=0)
        plain.bury([plain.record(3, b"c")], FIELD, partition=1)
        assert plain.replay(Filter(stage="produce")).count == 1
        assert plain.values() == [b"b"]
        assert plain.replay(Filter(offsets=[(1, 0)])).count == 1
        assert plain.values() == [b"b", b"c"]
        assert plain.pending() == [b"a"]

    def test_limit_takes_the_first_letters_only(self, plain: Environment) -> None:
        self.bury_some(plain)
        assert plain.replay(limit=2).passed_over == 0
        assert plain.values() == [b"f1", b"f2"]
        assert plain.pending() == [b"d3", b"f4", b"f5", b"d6", b"f7"]
        assert plain.replay(Filter(errors=["MessageFieldError"]), limit=1).count == 1
        assert plain.values() == [b"f1", b"f2", b"f4"]

    def test_letters_of_other_topics_stay(self, plain: Environment, topic: Any) -> None:
        other = topic(1)
        plain.bury([plain.record(1, b"theirs")._replace(topic=other), plain.record(2, b"ours")], partition=0)
        assert plain.replay().count == 1
        assert (plain.values(), plain.values(other)) == ([b"ours"], [])
        assert plain.replay(queue=DeadLetterQueue(None, plain.dlq)).count == 1
        assert plain.values(other) == [b"theirs"]

    def test_dry_run_changes_nothing_and_fences_nobody(self, plain: Environment) -> None:
        self.bury_some(plain)
        work = Replay(plain.client, plain.queue)
        try:
            planned = work.plan(Filter())
            plan = dry_plan(plain.client, plain.queue, Filter(errors=["MessageDecodeError"]))
            assert (plan.count, plan.passed_over, plan.pending) == (2, 4, 7)
            assert plan.spans == {Partition(plain.dlq, 0): (0, 3), Partition(plain.dlq, 1): (0, 3)}
            assert work.run(planned).count == 7
        finally:
            work.close()


class TestOmitted:
    def test_omitted_parts_are_read_from_the_source_topic(self, env: Environment) -> None:
        big = os.urandom(5000)
        env.send([Outgoing(env.topic, b"k", big, (("h", b"1"),), MOMENT, 0)])
        [record] = drain(env.bootstrap, env.topic)
        source = StoredRecord(env.topic, 0, record.offset, MOMENT, b"k", big, (("h", b"1"),))
        env.bury([source], MessageSizeError("too large"), limit=2000)
        [dead] = env.letters()
        assert dead.letter.value is None
        assert dead.letter.omitted
        assert env.replay().count == 1
        [_, again] = drain(env.bootstrap, env.topic)
        assert (again.key, again.value, again.timestamp) == (b"k", big, MOMENT)
        assert tuple(again.headers) == (("h", b"1"), (REPLAYS, b"1"))

    def test_lost_record_is_reported_and_stays_pending(self, env: Environment) -> None:
        lost = env.record(99, os.urandom(5000))
        env.bury([lost, env.record(1, b"fine")], partition=0, limit=2000)
        lines: list[str] = []
        outcome = env.replay(warn=lines.append)
        assert (outcome.count, outcome.kept) == (1, 1)
        [line] = lines
        assert f"{env.dlq}-0 at offset 0 stays: the value of {env.topic}-0 at offset 99" in line
        assert env.values() == [b"fine"]
        [dead] = env.letters()
        assert dead.letter.offset == 99
        assert env.replay().kept == 1
        assert len(env.letters()) == 1

    def test_different_record_at_the_offset_is_rejected(self, plain: Environment) -> None:
        plain.send([Outgoing(plain.topic, b"k", b"another", (), MOMENT, 0)])
        plain.bury([plain.record(0, os.urandom(5000))], limit=2000)
        lines: list[str] = []
        assert plain.replay(warn=lines.append).kept == 1
        assert "is not the record that the dead letter was made from" in lines[0]
        assert plain.values() == [b"another"]

    def test_rejected_record_stays_and_others_are_replayed(self, kafka: Any, topic: Any) -> None:
        with closing(Environment(kafka.bootstrap, topic, "kafka-python")) as env:
            small = topic(1, max_message_bytes=1000)
            records = [env.record(n, b"%d" % n) for n in range(5)]
            records[2] = env.record(2, os.urandom(3000))
            env.bury(records, partition=0)
            lines: list[str] = []
            outcome = env.replay(to_topic=small, warn=lines.append)
            assert (outcome.count, outcome.kept) == (4, 1)
            assert f"stays: topic {small} rejects it" in lines[0]
            assert env.values(small) == [b"0", b"1", b"3", b"4"]
            assert [dead.letter.offset for dead in env.letters()] == [2]


class TestMarks:
    def test_newest_mark_is_found_at_any_distance(self, plain: Environment) -> None:
        partition = Partition(plain.dlq, 0)
        mark = plain.queue.mark
        plain.send(
            [Outgoing(plain.dlq, mark, b"1", (), None, 0), Outgoing(plain.dlq, mark, b"2", (), None, 0)]
        )
        plain.send([Outgoing(plain.dlq, b"x", b"y", (), None, 0)] * 3500)
        admin = plain.admin
        end = admin.end_offsets([partition])[partition]
        assert handled(admin, partition, end, mark) == 2
        assert handled(admin, partition, 1, mark) == 1
        assert handled(admin, partition, end, b"sentstream.replayed:other") == 0
        assert handled(admin, partition, 0, mark) == 0
        strays = list(letters(admin, plain.queue))
        assert len(strays) == 3500
        assert all(isinstance(stray, Foreign) for stray in strays)

    def test_all_shows_handled_letters_but_no_marks(self, plain: Environment) -> None:
        plain.bury([plain.record(1, b"a")], partition=0)
        plain.replay()
        plain.bury([plain.record(2, b"b")], partition=0)
        assert [(d.letter.value, d.pending) for d in plain.letters()] == [(b"b", True)]
        assert [(d.letter.value, d.pending) for d in plain.letters(everything=True)] == [
            (b"a", False),
            (b"b", True),
        ]


class TestShow:
    def test_lines_and_counts(self, env: Environment, capfd: pytest.CaptureFixture[str]) -> None:
        env.bury([env.record(20, b'{"a":"b\x1b[31m"}\n'), env.record(10, b"x" * 500)], FIELD)
        env.bury([env.record(15, None)], DECODE)
        assert main(["dead-letters", "show", *env.options]) == 0
        out, err = capfd.readouterr()
        lines = [line.split("\t") for line in out.splitlines()]
        assert [line[3] for line in lines] == ["10", "15", "20"]
        assert lines[0][:3] == ["2023-11-14T22:13:20Z", env.topic, "0"]
        assert lines[0][4:6] == ["MessageFieldError", str(FIELD)]
        assert lines[0][6] == "x" * 119 + "…"
        assert lines[1][4:] == ["MessageDecodeError", "not UTF-8", ""]
        assert lines[2][6] == '{"a":"b\ufffd[31m"}\ufffd'
        assert err == (f"{env.dlq}: 3 pending dead letters: MessageFieldError 2, MessageDecodeError 1\n")

    def test_json_is_complete(self, env: Environment, capfd: pytest.CaptureFixture[str]) -> None:
        env.bury([env.record(1, b"\xff", headers=(("h", b"\xfe"), ("n", None), ("t", b"ok")))], FIELD)
        big = b"z" * 4000
        env.bury([env.record(2, big, key=None)], limit=1500)
        assert main(["dead-letters", "show", *env.options, "--json"]) == 0
        shown = sorted(
            map(json.loads, capfd.readouterr().out.splitlines()), key=lambda o: o["source"]["offset"]
        )
        first, second = shown
        assert first["value"] == {"base64": "/w=="}
        assert first["key"] == "k"
        assert first["headers"] == [["h", {"base64": "/g=="}], ["n", None], ["t", "ok"]]
        assert first["error"] == {
            "class": "MessageFieldError",
            "message": str(FIELD),
            "stage": "decode",
        }
        assert first["source"] == {
            "topic": env.topic,
            "partition": 0,
            "offset": 1,
            "timestamp": MOMENT + 1,
        }
        assert (first["topic"], first["pending"], first["replays"]) == (env.dlq, True, 0)
        assert second["key"] is second["value"] is None
        assert hashlib.sha256(big).hexdigest() in second["left_out"]["value"]

    def test_filters_limits_and_omissions(
        self, plain: Environment, capfd: pytest.CaptureFixture[str]
    ) -> None:
        plain.bury([plain.record(n, b"%d" % n) for n in range(60)], FIELD)
        plain.bury([plain.record(99, b"d")], DECODE)
        plain.send([Outgoing(plain.dlq, b"?", b"stray")])
        show = ["dead-letters", "show", *plain.options]
        assert main([*show, "--error", "MessageFieldError"]) == 0
        out, err = capfd.readouterr()
        assert [int(line.split("\t")[3]) for line in out.splitlines()] == list(range(10, 60))
        assert err.endswith("60; 1 other letters left out; 1 other records left out\n")
        assert main([*show, "--limit", "2", "--json"]) == 0
        out = capfd.readouterr().out
        assert [json.loads(line)["source"]["offset"] for line in out.splitlines()] == [59, 99]
        assert main([*show, "--error", "Nothing"]) == 0
        assert capfd.readouterr().out == ""

    def test_terminal_table(self, plain: Environment) -> None:
        plain.bury([plain.record(1, b"[bold]not markup[/bold]")], FIELD)
        status, seen = screen("dead-letters", "show", *plain.options)
        assert status == 0, seen
        assert "2023-11-14T22:13:20Z" in seen
        assert "[bold]not markup[/bold]" in seen
        assert "1 pending dead letter: MessageFieldError 1" in seen

    def test_missing_topic(self, plain: Environment, capfd: pytest.CaptureFixture[str]) -> None:
        at = ["--bootstrap-servers", plain.bootstrap]
        assert main(["dead-letters", "show", "--topic", plain.topic, *at]) == 75
        assert f"no topic '{plain.topic}.dlq'" in capfd.readouterr().err
        assert main(["dead-letters", "show", *at]) == 2


def screen(*arguments: str, answer: str = "") -> tuple[int, str]:
    """Exit code and screen of a command that runs on a terminal."""
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "sentstream", *arguments]
    return on_terminal(command, answer=answer, cwd=ROOT, env=environment)


class TestReplayCommand:
    def test_terminal_asks_for_confirmation(self, plain: Environment) -> None:
        plain.bury([plain.record(1, b"a")])
        status, seen = screen("dead-letters", "replay", *plain.options, answer="n\n")
        assert status == 130, seen
        assert f"1 dead letter of 1 pending in {plain.dlq} → {plain.topic}: MessageFieldError 1" in seen
        assert plain.values() == []
        status, seen = screen("dead-letters", "replay", *plain.options, answer="y\n")
        assert status == 0, seen
        assert f"replayed  1 → {plain.topic}: MessageFieldError 1" in seen
        assert plain.values() == [b"a"]

    def test_without_a_terminal_yes_is_required(
        self, plain: Environment, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open(os.devnull) as nothing:
            monkeypatch.setattr("sys.stdin", nothing)
            assert main(["dead-letters", "replay", *plain.options]) == 2
        assert "--yes" in capfd.readouterr().err

    def test_dry_run_json_and_replay_json(self, env: Environment, capfd: pytest.CaptureFixture[str]) -> None:
        env.bury([env.record(1, b"a"), env.record(2, b"b")], FIELD, partition=0)
        env.bury([env.record(3, b"c")], DECODE, partition=0)
        replay = ["dead-letters", "replay", *env.options, "--error", "MessageDecodeError"]
        assert main([*replay, "--dry-run", "--json"]) == 0
        plan = json.loads(capfd.readouterr().out)
        assert (plan["dry_run"], plan["matching"], plan["pending"]) == (True, 1, 3)
        assert main([*replay, "--dry-run"]) == 0
        out = capfd.readouterr().out
        assert f"2 others move to the end of {env.dlq} and stay pending" in out
        assert "nothing was done" in out
        assert env.values() == []
        assert main([*replay, "--yes", "--json"]) == 0
        done = json.loads(capfd.readouterr().out)
        assert (done["replayed"], done["passed_over"], done["kept"]) == (1, 2, 0)
        assert env.values() == [b"c"]
        assert main(["dead-letters", "replay", *env.options, "--offset", "0:0", "--yes"]) == 0
        assert env.values() == [b"c"]  # that one has moved

    def test_unreplayable_letters_are_an_error_at_the_end(
        self, plain: Environment, capfd: pytest.CaptureFixture[str]
    ) -> None:
        plain.bury([plain.record(99, os.urandom(4000)), plain.record(1, b"a")], limit=1500)
        assert main(["dead-letters", "replay", *plain.options, "--yes"]) == DeliveryError.exit_code == 77
        err = capfd.readouterr().err
        assert "replayed  1" in err
        assert "pending   1" in err
        assert f"1 dead letter could not be replayed and stay in {plain.dlq}" in err
        assert plain.values() == [b"a"]

    @pytest.mark.parametrize("offset", ["3", "a:b", "-1:2", "1:2:3", ""])
    def test_invalid_offsets(self, offset: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["dead-letters", "replay", "--topic", "t", f"--offset={offset}", "--yes"]) == 2
        assert "--offset takes PARTITION:OFFSET" in capfd.readouterr().err
