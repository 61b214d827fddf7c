"""A batch of records becomes results, dead letters and the offsets that they cover."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bundles import make_bundle
from kafka_runs import bits, expected

from sentstream.kafka.clients.api import Partition, StoredRecord
from sentstream.kafka.messages.codec import Codec
from sentstream.kafka.scoring.process import InProcessScoring
from sentstream.kafka.scoring.work import Unreadable, Work, Worker
from sentstream.kafka.sinks.rows import rows_schema
from sentstream.kafka.sinks.summary import summary
from sentstream.model import Model


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", max_chars=20)


@pytest.fixture(name="model", scope="module")
def _model(bundle: Path) -> Model:
    return Model.load(str(bundle), provider="cpu", threads=1)


def worker(model: Model, threads: int = 1, **codec: Any) -> Worker:
    wanted = {"format": "json", "field": None, "prefix": "sentiment", "labels": model.labels} | codec
    return Worker(InProcessScoring(Model(model.bundle, model.session, threads)), Codec(**wanted))


def record(offset: int, value: bytes | None, partition: int = 0, **more: Any) -> StoredRecord:
    fields = {"timestamp": 1000 + offset, "key": None, "headers": ()} | more
    return StoredRecord("tweets", partition, offset, value=value, **fields)


def tweets(*texts: str | None, first: int = 0) -> list[StoredRecord]:
    return [record(first + index, json.dumps({"text": text}).encode()) for index, text in enumerate(texts)]


def scores(work: Work) -> list[tuple[str | None, list[Any]]]:
    return [(row["sentiment"], bits(list(row.values())[1:])) for row in work.scored.to_pylist()]


def errors(work: Work) -> list[tuple[int, str, str]]:
    return [(one.record.offset, type(one.error).__name__, one.error.stage) for one in work.dead]


def test_texts_are_scored_like_the_model(bundle: Path, model: Model) -> None:
    texts = ["i love you", "so bad !", "", None, " \t", "it is " * 40, "ünïcødé 😂"]
    work = worker(model)(tweets(*texts), 1.5)
    assert list(work.texts) == texts
    assert scores(work) == expected(bundle, texts)
    assert [one.offset for one in work.records] == list(range(7))
    assert (work.dead, work.tombstones, work.tally.unlabeled, work.tally.truncated) == ([], 0, 3, 1)
    assert sum(work.tally.labels.values()) == 4
    assert list(work.times) == list(range(1000, 1007))
    assert (work.arrived, work.newest, work.offsets) == (1.5, 1006, {Partition("tweets", 0): 7})
    assert work.seconds > 0


def test_several_threads_give_the_same_bits_and_counts(bundle: Path, model: Model) -> None:
    texts = [f"i love {'it ' * (number % 11)}{number}" if number % 13 else None for number in range(4100)]
    one, four = (worker(model, threads)(tweets(*texts), 0.0) for threads in (1, 4))
    assert scores(one) == scores(four)
    assert one.tally == four.tally
    assert four.scored.schema == one.scored.schema


def test_unscorable_records_become_errors(model: Model) -> None:
    items: Sequence[Any] = [
        record(0, b'{"text":"good"}'),
        record(1, b"{"),
        record(2, b'{"text":1}'),
        record(3, b'{"text":"x","sentiment":1}'),
        record(4, b'{"text":"x"}', headers=(("\udcff", b""),)),
        record(5, None, headers=(("ü", b""), ("\udcf0", None))),
        Unreadable("tweets", 0, 6, 9, "the checksum is wrong"),
        record(9, b'{"text":"bad"}', headers=(("ok", None), ("ü", b"\xff"))),
        record(10, None),
    ]
    work = worker(model)(items, 0.0)
    assert sorted(errors(work)) == [
        (1, "MessageDecodeError", "decode"),
        (2, "MessageFieldError", "decode"),
        (3, "MessageClashError", "decode"),
        (4, "MessageDecodeError", "decode"),
        (5, "MessageDecodeError", "decode"),
        (6, "MessageDecodeError", "read"),
    ]
    messages = {one.record.offset: str(one.error) for one in work.dead}
    assert messages[4] == r"the name of header '\\xff' is not UTF-8"
    assert messages[6] == "the record cannot be read: the checksum is wrong"
    assert [one.offset for one in work.records] == [0, 9, 10]
    assert list(work.texts) == ["good", "bad", None]
    assert work.offsets == {Partition("tweets", 0): 11}
    done = summary(work, [])
    assert done.records == len(items)
    assert (done.tombstones, done.unlabeled, sum(done.labels.values())) == (1, 0, 2)
    assert done.dead == {"MessageDecodeError": 4, "MessageFieldError": 1, "MessageClashError": 1}


def test_offsets_pass_unreadable_records(model: Model) -> None:
    work = worker(model)([Unreadable("tweets", 3, 5, 1005, "?")], 0.0)
    assert work.offsets == {Partition("tweets", 3): 1005}
    assert (list(work.records), work.newest) == ([], -1)
    assert len(work.scored) == 0
    assert work.samples() == []


def test_each_partition_has_its_offset(model: Model) -> None:
    items = [record(offset, b'{"text":"x"}', partition) for partition, offset in [(0, 7), (1, 3), (0, 8)]]
    assert worker(model)(items, 0.0).offsets == {Partition("tweets", 0): 9, Partition("tweets", 1): 4}


def test_batch_of_only_tombstones(model: Model) -> None:
    work = worker(model)([record(0, None), record(1, None, key=b"k")], 0.0)
    assert work.tombstones == 2
    assert work.tally.unlabeled == 2  # as rows; the summary counts them once
    assert summary(work, []).records == 2
    assert work.scored["sentiment"].to_pylist() == [None, None]


def test_plain_text(bundle: Path, model: Model) -> None:
    texts = ["i love you", '{"text":"bad"}', ""]
    items = [record(index, text.encode()) for index, text in enumerate(texts)] + [record(3, b"\xff")]
    work = worker(model, format="text")(items, 0.0)
    assert scores(work) == expected(bundle, texts)
    assert errors(work) == [(3, "MessageDecodeError", "decode")]


def test_samples_are_the_last_labeled_texts(model: Model) -> None:
    work = worker(model)(tweets("1", "2", None, "3", "", "4", "5", "6", " "), 0.0)
    samples = work.samples()
    assert [one.text for one in samples] == ["6", "5", "4", "3", "2"]
    assert all(one.label in model.labels and 0.5 <= one.score <= 1 for one in samples)


def test_rejected_result_counts_as_dead(model: Model) -> None:
    from sentstream.errors import MessageSizeError
    from sentstream.kafka.dead_letters.letter import DeadLetter

    work = worker(model)([*tweets("good", None, "good"), record(3, None)], 0.0)
    refused = [DeadLetter(work.records[index], MessageSizeError("too large")) for index in (0, 1)]
    done = summary(work, refused)
    assert done.records == 4
    assert (sum(done.labels.values()), done.unlabeled, done.tombstones) == (1, 0, 1)
    assert done.dead == {"MessageSizeError": 2}


def test_refused_tombstone_is_counted_once(model: Model) -> None:
    from sentstream.errors import MessageSizeError
    from sentstream.kafka.dead_letters.letter import DeadLetter

    work = worker(model)([*tweets("good"), record(1, None)], 0.0)
    done = summary(work, [DeadLetter(work.records[1], MessageSizeError("its headers are too large"))])
    assert done.records == 2
    assert (done.unlabeled, done.tombstones, done.dead) == (0, 0, {"MessageSizeError": 1})


def test_rows_have_the_columns_of_the_record_and_the_stamp_of_the_model(model: Model) -> None:
    scored = model.scorer(text_column="text", columns=[]).output_schema(pa.schema([("text", pa.string())]))
    schema = rows_schema(scored)
    assert schema.names[:8] == [
        "topic",
        "partition",
        "offset",
        "timestamp",
        "key",
        "headers",
        "value",
        "text",
    ]
    assert schema.names[8:] == scored.names
    assert schema.metadata == scored.metadata
