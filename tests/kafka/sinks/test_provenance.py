"""Files are continued only for the same topic; without the group's offsets, they say where to continue."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata
from kafka_runs import (
    FailsAtFirst,
    Recorder,
    Run,
    counted,
    exactly_once,
    fill_tweets,
    intercepting,
    settings,
    wait_until,
)
from kafka_tools import committed, drain, fill, new_name

from sentstream.errors import TopicChangedError
from sentstream.kafka.clients.api import Admin, Partition
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.consume.run import Options
from sentstream.kafka.sinks.dataset import Rolling
from sentstream.kafka.sinks.provenance import Provenance
from tests.kafka.sinks.dataset_worker import make

BAD = b"no json"


@pytest.fixture(name="consume")
def _consume(kafka: Any, bundle: Path, client: str) -> Callable[..., Run]:
    """Starts a run to the end, into files."""

    def start(topic: str, out: Path, *, intercept: Any = None, **more: Any) -> Run:
        options = {"group": f"{topic}-group", "until_end": True, "to_parquet": out} | more
        run = {} if intercept is None else {"intercept": intercept}
        return Run(Options([topic], **options), settings(kafka.bootstrap), client=client, model=bundle, **run)

    return start


@pytest.fixture(name="admin")
def _admin(kafka: Any, client: str) -> Iterator[Admin]:
    admin = open_client(client, settings(kafka.bootstrap)).admin()  # type: ignore[arg-type]
    yield admin
    admin.close()


def recreate(bootstrap: str, topic: str) -> None:
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.delete_topics([topic])
        wait_until(lambda: topic not in admin.list_topics(), "the topic is gone")
        wanted = {topic: {"num_partitions": 1, "replication_factor": 1, "configs": {}}}
        admin.create_topics(wanted, wait_for_metadata=True)


def forget(bootstrap: str, group: str) -> None:
    """Delete a group, as the broker does after ``offsets.retention.minutes`` of standstill."""
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.delete_groups([group])
        wait_until(lambda: not admin.list_group_offsets(group).get(group), "the offsets are gone")


def numbers(out: Path) -> Counter[int]:
    """How often each number is in the files."""
    found: Counter[int] = Counter()
    for path in out.rglob("*.parquet"):
        for value in pq.ParquetFile(path).read(columns=["value"]).column(0).to_pylist():
            found[json.loads(value)["id"]] += 1
    return found


def letters(bootstrap: str, topic: str) -> list[int]:
    """The offsets of the records that have dead letters."""
    found = [dict(one.headers)["sentstream.source.offset"] for one in drain(bootstrap, f"{topic}.dlq")]
    return sorted(map(int, found))


def send_bad(bootstrap: str, topic: str, count: int) -> None:
    fill(bootstrap, topic, [(b"k", BAD, (), None)] * count)


def restamp(out: Path, **changes: str | None) -> None:
    """Change the files' metadata; None removes it, as in files of sentstream 0.1."""
    for path in out.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        metadata = dict(table.schema.metadata)
        for name, value in changes.items():
            metadata.pop(f"sentstream.{name}".encode(), None)
            if value is not None:
                metadata[f"sentstream.{name}".encode()] = value.encode()
        pq.write_table(table.replace_schema_metadata(metadata), path)


class TestTopics:
    def test_both_clients_report_topic_ids(self, kafka: Any, topic: Any, admin: Admin) -> None:
        name = topic()
        (found,) = admin.origins([name, new_name()]).items()
        with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as other:
            cluster = other.describe_cluster()["cluster_id"]
        assert found[0] == name
        assert found[1].cluster == cluster
        assert len(found[1].topic) == 22
        recreate(kafka.bootstrap, name)
        again = admin.origins([name])[name]
        assert again.cluster == cluster
        assert again.topic != found[1].topic
        python = open_client("kafka-python", settings(kafka.bootstrap)).admin()
        assert python.origins([name]) == {name: again}
        python.close()

    def test_recreated_topic_is_rejected_but_fits_a_new_directory(
        self, kafka: Any, topic: Any, tmp_path: Path, consume: Any
    ) -> None:
        name, out = topic(), tmp_path / "out"
        fill_tweets(kafka.bootstrap, name, range(40))
        consume(name, out).ended()
        recreate(kafka.bootstrap, name)
        fill_tweets(kafka.bootstrap, name, range(100))  # longer than before
        with pytest.raises(TopicChangedError, match="so it was deleted and recreated") as caught:
            consume(name, out).ended()
        assert caught.value.exit_code == 79
        assert str(out) in caught.value.message
        assert "another --to-parquet directory" in str(caught.value)
        assert numbers(out) == exactly_once(40)
        consume(name, tmp_path / "other").ended()
        assert numbers(tmp_path / "other") == exactly_once(100)

    def test_topic_of_another_cluster_is_rejected(
        self, kafka: Any, topic: Any, tmp_path: Path, consume: Any
    ) -> None:
        name, out = topic(), tmp_path / "out"
        fill_tweets(kafka.bootstrap, name, range(20))
        consume(name, out).ended()
        restamp(out, cluster_id="AAAAAAAAAAAAAAAAAAAAAA")
        with pytest.raises(TopicChangedError, match="from cluster AAAAAAAAAAAAAAAAAAAAAA, not "):
            consume(name, out, group=new_name()).ended()

    def test_files_without_ids_are_continued_if_records_match(
        self, kafka: Any, topic: Any, tmp_path: Path, consume: Any
    ) -> None:
        name, out = topic(), tmp_path / "out"
        fill_tweets(kafka.bootstrap, name, range(20))
        consume(name, out).ended()
        restamp(out, cluster_id=None, topic_id=None)
        fill_tweets(kafka.bootstrap, name, range(20, 30))
        run = consume(name, out)
        run.ended()
        assert numbers(out) == exactly_once(30)
        (warning,) = (line for line in run.warnings if "do not record their topic" in line)
        assert f"their records match those of {name}-0" in warning
        assert [line for line in run.warnings if "do not record their topic" in line] == [warning]
        recreate(kafka.bootstrap, name)
        fill_tweets(kafka.bootstrap, name, range(100))  # the same values at the same offsets, at another time
        restamp(out, cluster_id=None, topic_id=None)
        with pytest.raises(TopicChangedError, match="other records at its offsets"):
            consume(name, out).ended()
        assert numbers(out) == exactly_once(30)

    def test_topic_recreated_while_reading_is_detected(
        self, kafka: Any, topic: Any, tmp_path: Path, admin: Admin
    ) -> None:
        name, warnings = topic(), list[str]()
        provenance = Provenance(make(tmp_path), lambda: admin, lambda topic: f"{topic}.dlq", warnings.append)
        provenance.check([Partition(name, 0)])
        provenance.check_again([name])
        recreate(kafka.bootstrap, name)
        for check in provenance.check_again, lambda topics: provenance.check([Partition(*topics, 0)]):
            with pytest.raises(
                TopicChangedError, match=f"{name} was deleted and recreated while it was read"
            ):
                check([name])
        assert warnings == []


class TestExpiredOffsets:
    """After an idle week the group has no offsets; rows and dead letters continue at their end."""

    def forgotten(self, kafka: Any, name: str, run: Callable[[], Run]) -> Recorder:
        forget(kafka.bootstrap, f"{name}-group")
        return run().ended()

    @pytest.mark.parametrize("by", [[], ["date", "hour"]])
    def test_rows_are_not_rewritten(
        self, kafka: Any, topic: Any, tmp_path: Path, consume: Any, by: list[str]
    ) -> None:
        name, out = topic(), tmp_path / "out"
        options = {"partition_by": by, "max_batch": 10}
        fill_tweets(kafka.bootstrap, name, range(20))
        send_bad(kafka.bootstrap, name, 5)
        consume(name, out, rolling=Rolling(rows=5), **options).ended()
        for _ in range(2):
            self.forgotten(kafka, name, lambda: consume(name, out, **options))
            assert letters(kafka.bootstrap, name) == [20, 21, 22, 23, 24]
            assert numbers(out) == exactly_once(20)
        fill_tweets(kafka.bootstrap, name, range(20, 30))
        send_bad(kafka.bootstrap, name, 2)
        self.forgotten(kafka, name, lambda: consume(name, out, **options))
        assert letters(kafka.bootstrap, name) == [20, 21, 22, 23, 24, 35, 36]
        assert numbers(out) == exactly_once(30)

    def test_trailing_dead_letters_are_not_rewritten(
        self, kafka: Any, topic: Any, tmp_path: Path, consume: Any
    ) -> None:
        name, out = topic(), tmp_path / "out"
        fill_tweets(kafka.bootstrap, name, range(10))
        consume(name, out).ended()
        send_bad(kafka.bootstrap, name, 5)
        consume(name, out).ended()  # no rows, so no file
        assert len(list(out.iterdir())) == 1
        send_bad(kafka.bootstrap, name, 3)
        self.forgotten(kafka, name, lambda: consume(name, out, max_messages=6, until_end=False))
        self.forgotten(kafka, name, lambda: consume(name, out))
        assert letters(kafka.bootstrap, name) == list(range(10, 18))
        assert numbers(out) == exactly_once(10)
        assert committed(kafka.bootstrap, f"{name}-group", name) == {0: 18}

    def test_dead_letters_lost_in_a_crash_are_written(
        self, kafka: Any, topic: Any, tmp_path: Path, consume: Any
    ) -> None:
        """Killed between the file's final name and the transaction, followed by an idle week."""
        name, out = topic(), tmp_path / "out"
        send_bad(kafka.bootstrap, name, 2)
        fill_tweets(kafka.bootstrap, name, range(10))
        consume(name, out).ended()
        send_bad(kafka.bootstrap, name, 2)
        fill_tweets(kafka.bootstrap, name, range(10, 20))
        crash = FailsAtFirst(RuntimeError("killed"))
        with pytest.raises(RuntimeError, match="killed"):
            consume(name, out, intercept=intercepting(producer={"send": crash})).ended()
        assert numbers(out) == exactly_once(20)
        assert letters(kafka.bootstrap, name) == [0, 1]
        wait_until(lambda: self.empty(kafka, f"{name}-group"), "the group has no member")
        self.forgotten(kafka, name, lambda: consume(name, out))
        assert letters(kafka.bootstrap, name) == [0, 1, 12, 13]
        assert numbers(out) == exactly_once(20)

    def empty(self, kafka: Any, group: str) -> bool:
        with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
            return admin.describe_groups([group])[group]["group_state"] in ("Empty", "Dead")

    def test_letters_of_a_recreated_topic_do_not_count(
        self, kafka: Any, topic: Any, tmp_path: Path, consume: Any
    ) -> None:
        name = topic()
        fill_tweets(kafka.bootstrap, name, range(20))
        send_bad(kafka.bootstrap, name, 1)
        consume(name, tmp_path / "old").ended()
        recreate(kafka.bootstrap, name)
        fill_tweets(kafka.bootstrap, name, range(5))
        consume(name, tmp_path / "new").ended()
        send_bad(kafka.bootstrap, name, 1)
        self.forgotten(kafka, name, lambda: consume(name, tmp_path / "new"))
        assert letters(kafka.bootstrap, name) == [5, 20]
        assert numbers(tmp_path / "new") == exactly_once(5)


class TestGroups:
    """A group's offsets record the id of their topic."""

    @pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
    def test_offsets_of_a_recreated_topic_are_rejected(
        self, kafka: Any, topic: Any, bundle: Path, client: str, admin: Admin, guarantee: Any
    ) -> None:
        name = topic()
        fill_tweets(kafka.bootstrap, name, range(20))
        options = Options([name], group=f"{name}-group", until_end=True, guarantee=guarantee)

        def consume() -> Recorder:
            return Run(options, settings(kafka.bootstrap), client=client, model=bundle).ended()

        consume()
        note = admin.origins([name])[name].note()
        place = TopicPartition(name, 0)
        with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as other:
            (found,) = other.list_group_offsets(options.group)[options.group].values()
            assert found.metadata.rstrip("\0") == note
            # Each with a zero byte at its end, which librdkafka's binding may read on behind.
            for metadata in "", "another program's\0", f"{note}\0":
                other.alter_group_offsets(options.group, {place: OffsetAndMetadata(5, metadata, -1)})
                assert consume().records == found.offset - 5
            stale = OffsetAndMetadata(5, f"{note[:-1]}\0", -1)
            other.alter_group_offsets(options.group, {place: stale})
            with pytest.raises(
                TopicChangedError, match=f"the offset 5 .* {name}-0 belongs to an earlier topic of that name"
            ) as caught:
                consume()
            assert (caught.value.exit_code, "--group" in str(caught.value)) == (79, True)
            assert other.list_group_offsets(options.group)[options.group][place] == stale

    def test_broker_deletes_offsets_with_the_topic(
        self, kafka: Any, topic: Any, bundle: Path, client: str
    ) -> None:
        """So a topic that was recreated is read from its beginning."""
        name, results = topic(), topic()
        fill_tweets(kafka.bootstrap, name, range(20))
        options = Options([name], group=f"{name}-group", until_end=True, to_topic=results)
        Run(options, settings(kafka.bootstrap), client=client, model=bundle).ended()
        recreate(kafka.bootstrap, name)
        fill_tweets(kafka.bootstrap, name, range(20, 60))
        assert Run(options, settings(kafka.bootstrap), client=client, model=bundle).ended().records == 40
        assert counted(kafka.bootstrap, results) == exactly_once(60)
