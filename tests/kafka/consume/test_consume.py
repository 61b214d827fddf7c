"""``sentstream consume`` against a real broker: inputs, outputs and reports."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from bundles import add_reference, make_bundle
from kafka import KafkaAdminClient
from kafka_runs import (
    CLIENTS,
    FailsAtFirst,
    Recorder,
    Run,
    as_expected,
    available,
    bits,
    counted,
    exactly_once,
    expected,
    fill_tweets,
    intercepting,
    settings,
    tweet,
    wait_until,
)
from kafka_tools import committed, drain, fill, make_topic, new_name
from processes import PATIENCE, child
from terminals import Terminal

from sentstream.drift.distances import PSI_LARGE, PSI_SOME
from sentstream.errors import DeliveryError, KafkaError, OutputExistsError, OutputWriteError, UsageError
from sentstream.kafka.clients.api import Outgoing, Partition, StaleGenerationError
from sentstream.kafka.clients.open import open_client
from sentstream.kafka.consume.run import Options
from sentstream.kafka.sinks.dataset import Rolling
from sentstream.model import Model
from sentstream.reference import measure

ROOT = Path(__file__).resolve().parents[3]
MAX_CHARS = 60


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", max_chars=MAX_CHARS)


@pytest.fixture(name="consume")
def _consume(kafka: Any, bundle: Path) -> Callable[..., Run]:
    """Start a run; by default until the end of the topic, in a new group."""

    def start(topic: str, *, given: dict[str, Any] | None = None, **more: Any) -> Run:
        run = {name: more.pop(name) for name in ("client", "before_scoring", "intercept") if name in more}
        options = {"group": f"{topic}-group", "until_end": True} | more
        return Run(
            Options([topic], **options), settings(kafka.bootstrap, **(given or {})), model=bundle, **run
        )

    return start


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options([]), "no topic"),
        (Options([""]), "no topic"),
        (Options(["a"], to_topic="a"), "topic a is the input and cannot get the results"),
        (Options(["a", "a.scored"]), "topic a.scored is the input and cannot get the results"),
        (Options(["a"], dead_letter_topic="a"), "topic a is the input and cannot get the dead letters"),
        (Options(["a", "a.dlq"]), "topic a.dlq is the input and cannot get the dead letters"),
        (
            Options(["a"], to_topic="b", dead_letter_topic="b"),
            "topic b would get both results and dead letters",
        ),
        (Options(["a"], to_topic="b", to_parquet=Path("b")), "not both"),
        (Options(["a"], partition_by=["date"]), "--partition-by applies only to Parquet"),
        (Options(["a"], abstain=0.0), "abstain must be above 0 and at most 1, not 0.0"),
        (Options(["a"], abstain=float("nan")), "abstain must be above 0 and at most 1, not nan"),
    ],
)
def test_contradictory_options_are_rejected(options: Options, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        options.check()


def test_source_topic_may_have_any_name_with_parquet() -> None:
    Options(["a", "a.scored"], to_parquet=Path("b")).check()
    with pytest.raises(OutputWriteError, match="is a URI"):
        Options(["a"], to_parquet=Path("s3://bucket/b")).check()


# Poison, and all that goes through


class Case(NamedTuple):
    """A record and its expected outcome: the scored text, or the error of its dead letter."""

    name: str
    value: bytes | None
    text: str | None = None  # what is scored
    error: str | None = None
    key: bytes | None = b"key"
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int = 1_700_000_000_000


def tweets(text: object, **more: object) -> bytes:
    return json.dumps({"text": text, **more}).encode()


LONG = "i love you so good " * 52_000  # 988,000 characters
TOO_LONG = "x" * 1_048_300  # fits, but with its labels it does not
DECODE, FIELD, CLASH, SIZE, REFUSED = (
    f"Message{name}Error" for name in ("Decode", "Field", "Clash", "Size", "Refused")
)
CORPUS = [
    Case("broken JSON", b'{"text": "i love', error=DECODE),
    Case("an array", b'[{"text": "i love you"}]', error=DECODE),
    Case("a string", b'"i love you"', error=DECODE),
    Case("no field", b'{"tweet": "i love you"}', error=FIELD, headers=(("h", b"1"), ("h", b"2"))),
    Case("a number for a text", b'{"text": 7}', error=FIELD),
    Case("not UTF-8", b'{"text": "\xff\xfe"}', error=DECODE, key=b"\xff\x00"),
    Case("an empty value", b"", error=DECODE),
    Case("gzip", gzip.compress(b'{"text": "i love you"}', mtime=0), error=DECODE),
    Case("NaN", b'{"text": "i love you", "x": NaN}', error=DECODE),
    Case("labeled already", tweets("i love you", sentiment="positive"), error=CLASH),
    Case("nested deeply", b'{"text": "x", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", error=DECODE),
    Case("a schema registry's", b"\0\0\0\0\1\x0ai love", error=DECODE),
    Case("a header's name is not UTF-8", tweets("good"), error=DECODE, headers=(("\udcff", b"1"),)),
    Case("too large a result", b'{"text":"%s"}' % TOO_LONG.encode(), error=SIZE),
    Case("1 MB", tweets(LONG), LONG),
    Case("a tombstone", None),
    Case("neither key nor value", None, key=None),
    Case("a header without a value", tweets("good"), "good", headers=(("none", None), ("ü", b"\xff"))),
    Case("a name of ours in a header", tweets("bad"), "bad", headers=(("sentstream.model", b"old"),)),
    Case("lone surrogates", b'{"text": "good \\ud83d bad"}', "good \ufffd bad"),
    Case("64-bit ids", b'{"id":9223372036854775807,"x":1.10,"y":1e400, "text":"a day"}', "a day"),
    Case("blanks around", b'\n { "text" : "i love you" } \n', "i love you"),
    Case("twice the field", b'{"text":"bad","text":"good"}', "good"),
    Case("a null text", b'{"text":null,"id":1}', None, key=None),
    Case("an empty text", tweets(""), ""),
    Case("blanks for a text", tweets(" \n\t"), " \n\t"),
    Case(
        "v1.1, extended", tweets("cut…", extended_tweet={"full_text": "so good, not cut"}), "so good, not cut"
    ),
    Case("v1.1, full", tweets("no", full_text="it is great"), "it is great"),
    Case("v2", b'{"data":{"id":"1","text":"hate it"}}', "hate it", timestamp=1),
    Case("v2, a note", b'{"data":{"text":"cut","note_tweet":{"text":"a long note"}}}', "a long note"),
    Case("a byte order mark", b"\xef\xbb\xbf" + tweets("great"), "great", key=b""),
]
GOOD = [case for case in CORPUS if case.error is None]
BAD = [case for case in CORPUS if case.error is not None]


@dataclass
class PlayedRun:
    """The result of a run over the corpus, with a good tweet after each record."""

    topic: str
    group: str
    cases: dict[tuple[int, int], Case]  # by partition and offset
    seen: Recorder
    results: list[Any]
    letters: list[Any]
    summary: dict[str, Any]
    warnings: list[str]


@pytest.fixture(name="played", scope="module", params=CLIENTS)
def _played(request: pytest.FixtureRequest, kafka: Any, bundle: Path) -> PlayedRun:
    client, name = available(request.param), make_topic(kafka.bootstrap, 2)
    cases: list[Case] = []
    for number, case in enumerate(CORPUS):
        cases += [case, Case("a good one", tweets(tweet(number), id=number), tweet(number), key=None)]
    producer = open_client("kafka-python", settings(kafka.bootstrap)).producer(None)
    sent = [
        Outgoing(name, one.key, one.value, one.headers, one.timestamp, (index // 2) % 2)
        for index, one in enumerate(cases)
    ]
    assert producer.send(sent) == []
    producer.close()
    places: Counter[int] = Counter()
    located = {}
    for out, one in zip(sent, cases, strict=True):
        assert out.partition is not None
        located[out.partition, places[out.partition]] = one
        places[out.partition] += 1
    given = settings(kafka.bootstrap)
    run = Run(Options([name], group=f"{name}-group", until_end=True), given, client=client, model=bundle)
    seen = run.ended()
    results, letters = (drain(kafka.bootstrap, f"{name}.{end}") for end in ("scored", "dlq"))
    return PlayedRun(name, f"{name}-group", located, seen, results, letters, run.summary, run.warnings)


def of_partition(played: PlayedRun, partition: int, *, bad: bool) -> list[Case]:
    return [
        case
        for (where, _), case in sorted(played.cases.items())
        if where == partition and bad is (case.error is not None)
    ]


def test_valid_messages_are_scored_like_the_model(played: PlayedRun, bundle: Path) -> None:
    for partition in 0, 1:
        cases = [case for case in of_partition(played, partition, bad=False) if case.value is not None]
        results = [one for one in played.results if one.partition == partition and one.value is not None]
        wanted = expected(bundle, [case.text for case in cases])
        for case, result, what in zip(cases, results, wanted, strict=True):
            assert as_expected(result.value.removeprefix(b"\xef\xbb\xbf")) == what, case.name


def test_results_keep_metadata_order_and_partition(played: PlayedRun, bundle: Path) -> None:
    model = Model.load(str(bundle), provider="cpu")
    stamp = [
        ("sentstream.model", model.name.encode()),
        ("sentstream.model_digest", model.digest.encode()),
    ]
    for partition in 0, 1:
        cases = of_partition(played, partition, bad=False)
        results = [one for one in played.results if one.partition == partition]
        for case, result in zip(cases, results, strict=True):
            own = [header for header in case.headers if not header[0].startswith("sentstream.model")]
            wanted = own + (stamp if case.value is not None else [])
            assert [tuple(header) for header in result.headers] == wanted, case.name
            assert (result.key, result.timestamp) == (case.key, case.timestamp), case.name
            if case.value is None:
                assert result.value is None, case.name
            else:
                head = case.value.rstrip()[:-1]
                assert result.value.startswith(head + b',"sentiment":'), case.name
                assert result.value.endswith(b"}"), case.name


def test_invalid_messages_go_to_the_dead_letter_topic(played: PlayedRun) -> None:
    wanted = {place: case for place, case in played.cases.items() if case.error is not None}
    found = {}
    for letter in played.letters:
        headers = dict(letter.headers)
        place = int(headers["sentstream.source.partition"]), int(headers["sentstream.source.offset"])
        assert place not in found
        found[place] = letter
        case = wanted[place]
        assert headers["sentstream.source.topic"].decode() == played.topic
        assert headers["sentstream.error.class"].decode() == case.error, case.name
        assert headers["sentstream.error.stage"].decode() == ("produce" if case.error == SIZE else "decode")
        message = headers["sentstream.error.message"].decode()
        assert message
        assert "\n" not in message
        assert letter.key == case.key, case.name
        assert int(headers["sentstream.source.timestamp"]) == case.timestamp, case.name
        if case.error == SIZE:
            assert letter.value is None
            assert headers["sentstream.error.value"].startswith(b"omitted: 1048311 bytes, sha256:")
        else:
            assert letter.value == case.value, case.name
        own = [tuple(one) for one in letter.headers if not one[0].startswith("sentstream.")]
        assert own == [(name.replace("\udcff", r"\xff"), value) for name, value in case.headers], case.name
    assert found.keys() == wanted.keys()


def test_nothing_is_lost_and_counts_add_up(played: PlayedRun, kafka: Any) -> None:
    total, seen = len(played.cases), played.seen
    assert len(played.results) + len(played.letters) == total == seen.records
    assert sum(committed(kafka.bootstrap, played.group, played.topic).values()) == total
    assert sum(seen.dead().values()) == len(played.letters) == len(BAD)
    assert seen.dead() == Counter(case.error for case in BAD)
    assert seen.total("tombstones") == 2
    assert seen.total("unlabeled") == 3
    assert sum(seen.labels().values()) == total - len(BAD) - 5
    # Long ones are cut before the broker refuses what comes of them.
    assert seen.total("truncated") == 2
    # librdkafka may take the refusal of one record for a gap in its sequence numbers: then all is sent again.
    assert seen.reasons == [] or played.summary["client"] == "confluent-kafka"
    assert max(one.newest for one in seen.done) == 1_700_000_000_000
    assert seen.lag[-1] == {Partition(played.topic, 0): 0, Partition(played.topic, 1): 0}


def test_created_topics_have_the_source_partition_count(played: PlayedRun, kafka: Any) -> None:
    names = [f"{played.topic}.scored", f"{played.topic}.dlq"]
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        found = {one["name"]: len(one["partitions"]) for one in admin.describe_topics(names)}
    assert found == dict.fromkeys(names, 2)
    assert sorted(played.warnings) == sorted(f"created topic {name} with 2 partitions" for name in names)


def test_run_is_described(played: PlayedRun, bundle: Path) -> None:
    assert json.loads(json.dumps(played.summary)) == played.summary
    assert played.summary["model"]["digest"] == Model.load(str(bundle), provider="cpu").digest
    assert (played.summary["target"], played.summary["delivery"]) == (
        f"{played.topic}.scored",
        "exactly-once",
    )


def test_second_run_has_nothing_to_do(played: PlayedRun, consume: Any, kafka: Any) -> None:
    assert consume(played.topic, group=played.group).ended().records == 0
    assert len(drain(kafka.bootstrap, f"{played.topic}.scored")) == len(played.results)


# Formats and places


def test_plain_text(kafka: Any, topic: Any, consume: Any, bundle: Path) -> None:
    name = topic()
    texts = ["i love you", '{"text": "bad"}', "größe 😂", ""]
    fill(kafka.bootstrap, name, [(b"k", text.encode(), (), None) for text in texts])
    fill(kafka.bootstrap, name, [(b"k", b"\xff", (), None)])
    seen = consume(name, format="text").ended()
    results = drain(kafka.bootstrap, f"{name}.scored")
    assert [json.loads(one.value)["text"] for one in results] == texts
    assert [as_expected(one.value) for one in results] == expected(bundle, texts)
    assert seen.dead() == {DECODE: 1}


def test_custom_field_prefix_and_topics(kafka: Any, topic: Any, consume: Any, bundle: Path) -> None:
    name, target, letters = topic(), new_name(), new_name()
    values = [
        b'{"text":"no","payload":{"body":"i love you"},"sentiment":1}',
        b'{"text":"no","payload":{}}',
        b'{"payload":null}',
    ]
    fill(kafka.bootstrap, name, [(None, value, (), None) for value in values])
    options = {
        "text_field": "payload.body",
        "prefix": "mood",
        "to_topic": target,
        "dead_letter_topic": letters,
    }
    assert consume(name, **options).ended().dead() == {FIELD: 1}
    rows = [json.loads(one.value) for one in drain(kafka.bootstrap, target)]
    ((label, shares),) = expected(bundle, ["i love you"])
    assert (rows[0]["mood"], rows[0]["sentiment"]) == (label, 1)
    assert bits([rows[0][f"mood_{end}"] for end in ("score", "prob_negative", "prob_positive")]) == shares
    assert (rows[1]["payload"], rows[1]["mood"]) == (None, None)
    (letter,) = drain(kafka.bootstrap, letters)
    assert letter.value == values[1]


def test_several_topics_to_one_with_fewer_partitions(
    kafka: Any, topic: Any, consume: Any, bundle: Path
) -> None:
    one, two, target = topic(2), topic(), topic(3)
    fill_tweets(kafka.bootstrap, one, range(50))
    fill_tweets(kafka.bootstrap, two, range(50, 80))
    options = Options([one, two], group=new_name(), to_topic=target, until_end=True)
    seen = Run(options, settings(kafka.bootstrap), model=bundle).ended()
    assert seen.records == 80
    assert counted(kafka.bootstrap, target) == exactly_once(80)
    # Where partitions differ in number, the key decides: as the producer did for a topic of three.
    other = topic(3)
    fill_tweets(kafka.bootstrap, other, range(80))
    places = [
        {record.key: record.partition for record in drain(kafka.bootstrap, where)}
        for where in (target, other)
    ]
    assert places[0] == places[1]


def test_max_messages_is_exact_and_the_next_run_continues(
    kafka: Any, topic: Any, consume: Any, client: str
) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(100))
    for wanted in 37, 63:
        seen = consume(name, client=client, max_messages=wanted, until_end=False, max_batch=10).ended()
        assert seen.records == wanted
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(100)


def test_time_limit(topic: Any, consume: Any) -> None:
    began = time.monotonic()
    seen = consume(topic(), seconds=1.0, until_end=False).ended()
    assert time.monotonic() - began >= 1
    assert seen.records == 0


def test_topics_are_not_created_if_disabled(topic: Any, consume: Any) -> None:
    with pytest.raises(KafkaError, match=r"no topic '.*\.dlq' \(create it, or leave out --no-create-topics"):
        consume(topic(), create_topics=False).ended()


# At least once


def test_at_least_once_scores_all_in_order(kafka: Any, topic: Any, consume: Any, client: str) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(200))
    fill(kafka.bootstrap, name, [(b"1", b"{", (), None)])
    seen = consume(name, client=client, guarantee="at-least-once", max_batch=50).ended()
    assert seen.records == 201
    results = [json.loads(one.value)["id"] for one in drain(kafka.bootstrap, f"{name}.scored")]
    source = [json.loads(one.value)["id"] for one in drain(kafka.bootstrap, name) if one.value != b"{"]
    assert results == source
    assert len(drain(kafka.bootstrap, f"{name}.dlq")) == 1


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_rejected_output_becomes_a_dead_letter(
    kafka: Any, topic: Any, consume: Any, client: str, guarantee: str
) -> None:
    name, target = topic(), topic(max_message_bytes=1000)
    records = [
        (b"k", tweets("x" * (1000 if number % 5 == 0 else 5), id=number), (), None) for number in range(20)
    ]
    records.append((b"k", None, (("h", b"x" * 1000),), None))
    fill(kafka.bootstrap, name, records)
    given = {"batch.size": 0} if client == "kafka-python" else {}
    seen = consume(name, client=client, to_topic=target, guarantee=guarantee, given=given).ended()
    assert (seen.records, seen.dead(), seen.total("tombstones")) == (21, {SIZE: 5}, 0)
    small = [number for number in range(20) if number % 5]
    assert [json.loads(one.value)["id"] for one in drain(kafka.bootstrap, target)] == small
    letters = drain(kafka.bootstrap, f"{name}.dlq")
    assert [one.value for one in letters] == [records[number][1] for number in (0, 5, 10, 15, 20)]


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_rejected_time_or_key_has_the_brokers_message(
    kafka: Any, topic: Any, consume: Any, client: str, guarantee: str
) -> None:
    name, ahead = topic(message_timestamp_after_max_ms=2**63 - 1), int(time.time() * 1000) + 7_200_000
    fill(kafka.bootstrap, name, [(b"k", tweets("good"), (), None), (b"k", tweets("so good"), (), ahead)])
    seen = consume(name, client=client, guarantee=guarantee).ended()
    assert (seen.records, seen.dead()) == (2, {REFUSED: 1})
    keyless, compacted = topic(), topic(cleanup_policy="compact")
    fill(kafka.bootstrap, keyless, [(b"k", tweets("good"), (), None), (None, tweets("so good"), (), None)])
    seen = consume(keyless, client=client, to_topic=compacted, guarantee=guarantee).ended()
    assert (seen.records, seen.dead()) == (2, {REFUSED: 1})
    for source, reason in (
        (name, f"Timestamp {ahead} of message with offset "),
        (keyless, "Compacted topic cannot accept message without key "),
    ):
        (letter,) = drain(kafka.bootstrap, f"{source}.dlq")
        headers = {key: value.decode() for key, value in letter.headers}
        assert headers["sentstream.error.class"] == REFUSED
        assert headers["sentstream.error.stage"] == "produce"
        assert headers["sentstream.error.message"].startswith(f"the broker rejects the result: {reason}")
        assert letter.value == tweets("so good")


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_dead_letter_keeps_a_rejected_timestamp_in_a_header(
    kafka: Any, topic: Any, consume: Any, client: str, guarantee: str
) -> None:
    name, letters = topic(message_timestamp_after_max_ms=2**63 - 1), topic()
    ahead = int(time.time() * 1000) + 7_200_000
    fill(kafka.bootstrap, name, [(b"k", b"{", (), ahead)])
    seen = consume(name, client=client, dead_letter_topic=letters, guarantee=guarantee).ended()
    assert seen.dead() == {DECODE: 1}
    (letter,) = drain(kafka.bootstrap, letters)
    assert dict(letter.headers)["sentstream.source.timestamp"] == str(ahead).encode()
    assert letter.timestamp < ahead
    assert letter.value == b"{"


def test_compacted_dead_letter_topic_is_reported(kafka: Any, topic: Any, consume: Any, client: str) -> None:
    name, letters = topic(), topic(cleanup_policy="compact")
    fill(kafka.bootstrap, name, [(None, b"{", (), None)])
    with pytest.raises(DeliveryError, match="rejected: Compacted topic cannot accept message") as caught:
        consume(name, client=client, dead_letter_topic=letters).ended()
    assert str(caught.value).endswith(
        f"({letters} must accept records with any key and timestamp (cleanup.policy=delete))"
    )


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_rejected_dead_letter_ends_the_run_uncommitted(
    kafka: Any, topic: Any, consume: Any, guarantee: str
) -> None:
    name, letters = topic(), topic(max_message_bytes=150)
    fill(kafka.bootstrap, name, [(b"k", b"{", (), None)])
    with pytest.raises(KafkaError, match=rf"the dead letter of {name}-0 at offset 0 is rejected") as caught:
        consume(name, dead_letter_topic=letters, guarantee=guarantee).ended()
    assert caught.value.exit_code == 77
    assert committed(kafka.bootstrap, f"{name}-group", name) in ({}, {0: 0})


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_commits_never_pass_acknowledged_records(
    kafka: Any, topic: Any, consume: Any, client: str, guarantee: str
) -> None:
    name, target = topic(), topic()
    fill_tweets(kafka.bootstrap, name, range(10))
    given = {"delivery.timeout.ms": 3000, "request.timeout.ms": 2000, "default.api.timeout.ms": 5000}
    run = consume(name, client=client, to_topic=target, guarantee=guarantee, until_end=False, given=given)
    run.until(lambda: run.seen.records == 10)
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        admin.delete_topics([target])
    fill_tweets(kafka.bootstrap, name, range(10, 20))
    with pytest.raises(KafkaError) as caught:
        run.ended()
    assert caught.value.exit_code in (75, 77)
    assert "\n" not in str(caught.value)
    assert committed(kafka.bootstrap, f"{name}-group", name) == {0: 10}


# Parquet


def rows_of(directory: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted(directory.rglob("*.parquet")):
        rows += pq.ParquetFile(path).read(use_threads=False).to_pylist()
    return rows


def test_rows_to_parquet(kafka: Any, tmp_path: Path, consume: Any, bundle: Path, client: str) -> None:
    name = make_topic(kafka.bootstrap, 2)
    records: list[Any] = [
        (b"k", tweets("i love you", id=1), (("h", b"1"), ("h", b"")), 1_700_000_000_000),
        (b"k", b"{", (), 1),
        (b"\xff", None, (), 2),
        (None, tweets(None), (), 3),
        (None, tweets("so bad"), (), 4),
    ]
    fill(kafka.bootstrap, name, records, partition=1)
    out = tmp_path / "out"
    seen = consume(name, client=client, to_parquet=out, dead_letter_topic=f"{name}.dlq").ended()
    assert sum(len(one.times) for one in seen.done) == seen.records  # each has its delay
    rows = rows_of(out)
    assert [row["offset"] for row in rows] == [0, 2, 3, 4]
    assert {(row["topic"], row["partition"]) for row in rows} == {(name, 1)}
    assert [row["value"] for row in rows] == [record[1] for record in records if record[1] != b"{"]
    assert [row["key"] for row in rows] == [b"k", b"\xff", None, None]
    assert rows[0]["headers"] == [{"name": "h", "value": b"1"}, {"name": "h", "value": b""}]
    assert rows[0]["timestamp"].timestamp() == 1_700_000_000
    texts = ["i love you", None, None, "so bad"]
    assert [row["text"] for row in rows] == texts
    shares = ("sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive")
    assert [(row["sentiment"], bits([row[one] for one in shares])) for row in rows] == expected(bundle, texts)
    (path,) = out.rglob("*.parquet")
    metadata = {key.decode(): value.decode() for key, value in pq.read_schema(path).metadata.items()}
    assert metadata["sentstream.model"] == "tiny"
    assert {key.rpartition(".")[2]: metadata[key] for key in metadata if "offset" in key} == {
        "first_offset": "0",
        "last_offset": "4",
        "next_offset": "5",
    }
    assert committed(kafka.bootstrap, f"{name}-group", name).get(1) == 5
    (letter,) = drain(kafka.bootstrap, f"{name}.dlq")
    assert letter.value == b"{"
    assert (seen.records, seen.total("tombstones"), seen.total("unlabeled")) == (5, 1, 1)
    assert sum(seen.labels().values()) == 2
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        assert f"{name}.scored" not in admin.list_topics()


def test_abstentions_are_marked_in_topics_and_files(
    kafka: Any, tmp_path: Path, consume: Any, bundle: Path, client: str
) -> None:
    """The results and counts equal those of the same tweets in a file."""
    name, out = make_topic(kafka.bootstrap), tmp_path / "out"
    texts = [*map(tweet, range(200)), "", None]
    stale = (("sentstream.abstain", b"0.1"),)
    fill(kafka.bootstrap, name, [(None, tweets(text), stale, None) for text in texts])
    model = Model.load(str(bundle), provider="cpu")
    below = float(np.nanmedian(model.score(texts)["sentiment_score"].to_numpy()))
    wanted = model.score(texts, abstain=below)["sentiment"].to_pylist()
    counts = Counter(label for label in wanted if label is not None)
    assert 0 < counts["uncertain"] < counts.total() == 200
    run = consume(name, client=client, abstain=below)
    assert run.ended().labels() == counts
    assert run.summary["abstain"] == below
    results = drain(kafka.bootstrap, f"{name}.scored")
    assert [as_expected(one.value)[0] for one in results] == wanted
    assert [as_expected(one.value)[1] for one in results] == [row[1] for row in expected(bundle, texts)]
    mine = ("sentstream.abstain", str(below).encode())
    assert {tuple(one.headers[-1]) for one in results} == {mine}
    assert {len(one.headers) for one in results} == {3}  # without the one that came
    files = consume(name, client=client, abstain=below, group=f"{name}-files", to_parquet=out)
    assert files.ended().labels() == counts
    assert [row["sentiment"] for row in rows_of(out)] == wanted
    (path,) = out.rglob("*.parquet")
    assert pq.read_schema(path).metadata[b"sentstream.abstain"] == str(below).encode()


def test_small_files_one_after_another_hold_each_row_once(
    kafka: Any, topic: Any, tmp_path: Path, consume: Any
) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(300))
    out = tmp_path / "out"
    rolling = Rolling(rows=40)
    for _ in range(2):
        consume(name, to_parquet=out, rolling=rolling, max_batch=20, partition_by=["topic"]).ended()
        fill_tweets(kafka.bootstrap, name, range(300, 320))
    files = list((out / f"topic={name}").glob("*.parquet"))
    assert len(files) >= 320 // 60
    assert Counter(json.loads(row["value"])["id"] for row in rows_of(out)) == exactly_once(320)


def test_one_file_per_hour(kafka: Any, topic: Any, tmp_path: Path, consume: Any) -> None:
    """Alternating hours, as from two producers of which one is late."""
    name, out = topic(), tmp_path / "out"
    times = [1_700_000_000_000 + number % 2 * 3_600_000 for number in range(600)]
    records = [(b"k", tweets(tweet(number), id=number), (), time) for number, time in enumerate(times)]
    fill(kafka.bootstrap, name, records)
    consume(name, to_parquet=out, partition_by=["date", "hour"], max_batch=100).ended()
    assert len(list(out.rglob("*.parquet"))) == 2
    assert Counter(json.loads(row["value"])["id"] for row in rows_of(out)) == exactly_once(600)


def test_incompatible_columns_are_rejected(topic: Any, kafka: Any, tmp_path: Path, consume: Any) -> None:
    name, out = topic(), tmp_path / "out"
    fill_tweets(kafka.bootstrap, name, range(5))
    consume(name, to_parquet=out).ended()
    for other in {"prefix": "mood"}, {"partition_by": ["date"]}:
        with pytest.raises(OutputExistsError, match="choose another directory"):
            consume(name, to_parquet=out, group=new_name(), **other).ended()
        consume(name, to_parquet=tmp_path / str(other), group=new_name(), **other).ended()
        assert len(rows_of(tmp_path / str(other))) == 5


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_crash_between_rename_and_commit_duplicates_nothing(
    kafka: Any, topic: Any, tmp_path: Path, consume: Any, client: str, guarantee: str
) -> None:
    name = topic()
    poisoned = {10, 20, 30}
    records = [
        (b"k", b"{" if number in poisoned else tweets(tweet(number), id=number), (), None)
        for number in range(40)
    ]
    fill(kafka.bootstrap, name, records)
    out = tmp_path / "out"
    crash = FailsAtFirst(RuntimeError("killed"))
    options = {"to_parquet": out, "client": client, "guarantee": guarantee}
    verb = {"producer": {"send": crash}}
    with pytest.raises(RuntimeError, match="killed"):
        consume(name, intercept=intercepting(**verb), **options).ended()
    assert len(rows_of(out)) == 37
    assert committed(kafka.bootstrap, f"{name}-group", name) in ({}, {0: 0})
    assert drain(kafka.bootstrap, f"{name}.dlq") == []
    fill_tweets(kafka.bootstrap, name, range(40, 50))
    seen = consume(name, **options).ended()
    wanted = Counter(number for number in range(50) if number not in poisoned)
    assert Counter(json.loads(row["value"])["id"] for row in rows_of(out)) == wanted
    assert len(drain(kafka.bootstrap, f"{name}.dlq")) == 3
    assert (seen.total("replicas"), sum(seen.labels().values()), seen.dead()) == (37, 10, {DECODE: 3})
    assert committed(kafka.bootstrap, f"{name}-group", name) == {0: 50}


def test_stale_parquet_commit_is_repeated(kafka: Any, topic: Any, tmp_path: Path, consume: Any) -> None:
    name = topic()
    fill_tweets(kafka.bootstrap, name, range(30))
    fill(kafka.bootstrap, name, [(b"k", b"{", (), None)])
    stale = FailsAtFirst(StaleGenerationError("as after a rebalance"))
    out = tmp_path / "out"
    seen = consume(name, to_parquet=out, intercept=intercepting(producer={"commit": stale})).ended()
    assert seen.reasons == ["as after a rebalance"]
    assert Counter(json.loads(row["value"])["id"] for row in rows_of(out)) == exactly_once(30)
    assert len(drain(kafka.bootstrap, f"{name}.dlq")) == 1


def test_unwritable_directory_is_reported(topic: Any, tmp_path: Path, consume: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputWriteError, match="file is not a directory"):
        consume(topic(), to_parquet=tmp_path / "file").ended()


# As a command


@dataclass
class Command:
    """A running ``sentstream consume``."""

    process: subprocess.Popen[str]
    log: Path

    def text(self) -> str:
        return self.log.read_text()

    def await_text(self, pattern: str) -> re.Match[str]:
        wait_until(lambda: re.search(pattern, self.text()) or self.process.poll() is not None, pattern)
        found = re.search(pattern, self.text())
        assert found is not None, self.text()
        return found

    def end(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out


@pytest.fixture(name="command")
def _command(kafka: Any, bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    running = ExitStack()
    config = tmp_path / "client.properties"
    config.write_text(
        "session.timeout.ms=6000\nheartbeat.interval.ms=200\nfetch.max.wait.ms=100\ntransaction.timeout.ms=6000\n"
    )

    def start(topic: str, *arguments: str) -> Command:
        log = tmp_path / f"{uuid.uuid4().hex}.log"
        line = [sys.executable, "-m", "sentstream", "consume", "--topic", topic, "--group", f"{topic}-group"]
        line += [
            "--bootstrap-servers",
            kafka.bootstrap,
            "--client-config",
            str(config),
            "--model",
            str(bundle),
        ]
        line += ["--threads", "1", *arguments]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("SENTSTREAM_")
        }
        with open(log, "w") as err:
            process = running.enter_context(
                child(line, stdout=subprocess.PIPE, stderr=err, text=True, cwd=ROOT, env=environment)
            )
        return Command(process, log)

    with running:
        yield start


@pytest.mark.parametrize(
    ("client", "number"),
    [("kafka-python", signal.SIGTERM), ("confluent", signal.SIGINT)],
    indirect=["client"],
)
def test_signal_finishes_commits_and_exits_cleanly(
    kafka: Any, topic: Any, command: Any, number: signal.Signals, client: str
) -> None:
    """Both signals have one handler, whichever client reads."""
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(3000))
    first = command(name, "--max-batch", "50", "--json", "--client", client)
    wait_until(lambda: sum(committed(kafka.bootstrap, f"{name}-group", name).values()) >= 300)
    first.process.send_signal(number)
    code, out = first.end()
    assert code == 0, first.text()
    summary = json.loads(out)
    done = sum(committed(kafka.bootstrap, f"{name}-group", name).values())
    assert summary["records"] == summary["scored"] == done
    assert counted(kafka.bootstrap, f"{name}.scored").total() == done
    second = command(name, "--until-end", "--json")
    code, out = second.end()
    assert (code, json.loads(out)["records"]) == (0, 3000 - done), second.text()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(3000)


def test_every_json_log_line_is_an_object(kafka: Any, topic: Any, command: Any) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(30))
    run = command(name, "--until-end", "--log-format", "json", "--metrics-port", "0")
    assert run.end()[0] == 0, run.text()
    lines = [json.loads(line) for line in run.text().splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    assert {line["level"] for line in lines} <= {"info", "warning"}
    by_message = {line["message"]: line for line in lines}
    assert any(message.startswith("metrics on port ") for message in by_message)
    assert by_message["assigned"]["partitions"] == [{"topic": name, "partition": at} for at in range(2)]
    assert by_message["stopped"]["records"] == 30


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_second_signal_ends_at_once(
    kafka: Any, local_kafka: Any, topic: Any, command: Any, number: signal.Signals, code: int
) -> None:
    name = topic()
    running = command(name)
    running.await_text("assigned")
    local_kafka.pause()  # so that it cannot finish
    try:
        fill_later = running.process
        fill_later.send_signal(number)
        running.await_text("repeat to stop at once")
        fill_later.send_signal(number)
        assert running.end()[0] == code, running.text()
    finally:
        local_kafka.resume()
    assert running.text().splitlines()[-1] == "sentstream: error: interrupted"
    assert "Traceback" not in running.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_on_a_terminal_leaves_only_the_summary(
    kafka: Any, topic: Any, bundle: Path, number: signal.Signals
) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(30))
    line = [
        "-m",
        "sentstream",
        "consume",
        "--topic",
        name,
        "--group",
        f"{name}-group",
        "--model",
        str(bundle),
    ]
    with Terminal([*line, "--threads", "1", "--bootstrap-servers", kafka.bootstrap], 100, 30) as terminal:
        terminal.read_until(lambda screen: "· 30 messages" in screen.text)
        terminal.process.send_signal(number)
        code, out = terminal.finish()
    shown = terminal.screen.text
    assert (code, out) == (0, "")
    assert terminal.screen.cursor
    assert re.search(r"^messages +30 in 0:\d\d:\d\d, ", shown, re.MULTILINE), shown
    assert re.search(r"^labels .*negative \d+ ", shown, re.MULTILINE), shown
    assert f"{name}.scored, exactly-once" in shown
    assert "over 10 s" not in shown  # of the frame
    assert "stopping after the current batch is committed" in shown


@pytest.mark.slow
@pytest.mark.parametrize("when", ["idle", "starting"])
def test_signal_ends_in_time_without_a_broker(
    kafka: Any, local_kafka: Any, topic: Any, command: Any, client: str, when: str
) -> None:
    """``end`` waits for 60 s, the documented grace period; otherwise the run would continue for an hour."""
    name = topic()
    running = command(name, "--client", client, "--retry-for", "1h", "--instance-id", "one")
    running.await_text("assigned" if when == "idle" else "created topic .*dlq")
    local_kafka.pause()
    try:
        running.process.send_signal(signal.SIGTERM)
        assert running.end()[0] in (0, 143), running.text()  # 143: before there was anything to finish
    finally:
        local_kafka.resume()
    assert "Traceback" not in running.text()


def test_older_of_two_instances_with_one_id_ends(kafka: Any, topic: Any, command: Any, client: str) -> None:
    name = topic()
    arguments = ["--instance-id", "pod-0", "--client", client]
    old = command(name, *arguments)
    old.await_text("assigned")
    fill_tweets(kafka.bootstrap, name, range(100))
    new = command(name, *arguments)
    code, _ = old.end()
    assert code == 76, old.text()
    errors = [line for line in old.text().splitlines() if line.startswith("sentstream: error: ")]
    assert len(errors) == 1
    assert re.search("pod-0|instance", errors[0])
    assert "Traceback" not in old.text()
    fill_tweets(kafka.bootstrap, name, range(100, 150))
    wait_until(lambda: committed(kafka.bootstrap, f"{name}-group", name) == {0: 150})
    new.process.terminate()
    assert new.end()[0] == 0, new.text()
    assert counted(kafka.bootstrap, f"{name}.scored") == exactly_once(150)


def test_long_outage_is_unhealthy_until_it_ends(local_kafka: Any, topic: Any, command: Any) -> None:
    name = topic(2)
    running = command(name, "--metrics-port", "0", "--stuck-after", "3s")
    port = running.await_text(r"metrics on port (\d+)")[1]

    def get() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE)
        try:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    running.await_text(r"assigned")
    wait_until(lambda: get() == (200, "ok\n"))
    local_kafka.pause()
    try:
        wait_until(lambda: get()[0] == 503)
        assert f"{name}-0" in get()[1]
        assert f"{name}-1" in get()[1]
    finally:
        local_kafka.resume()
    wait_until(lambda: get() == (200, "ok\n"))
    running.process.terminate()
    assert running.end()[0] == 0, running.text()


def test_metrics_and_health_match_the_counts(kafka: Any, topic: Any, command: Any) -> None:
    name = topic(2)
    fill_tweets(kafka.bootstrap, name, range(120))
    fill(
        kafka.bootstrap, name, [(b"k", b"{", (), None), (b"k", None, (), None), (b"k", tweets(""), (), None)]
    )
    running = command(name, "--metrics-port", "0", "--json")
    port = running.await_text(r"metrics on port (\d+)")[1]

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    lag = r'sentstream_consumer_lag{partition="%d",topic="' + name + r'"} 0.0'
    wait_until(lambda: lag % 0 in (text := get("metrics")) and lag % 1 in text and 'scored"} 120.0' in text)
    text = get("metrics")
    for line in (
        'sentstream_messages_total{result="scored"} 120.0',
        'sentstream_messages_total{result="dead_letter"} 1.0',
        'sentstream_messages_total{result="tombstone"} 1.0',
        'sentstream_messages_total{result="unlabeled"} 1.0',
        'sentstream_dead_letters_total{error="MessageDecodeError"} 1.0',
        "sentstream_assigned_partitions 2.0",
        "sentstream_end_to_end_delay_seconds_count 123.0",
        "sentstream_aborts_total 0.0",
    ):
        assert line in text.splitlines(), text
    assert 'model="tiny"' in text
    assert f'group="{name}-group"' in text
    memory = dict(re.findall(r"^(\w*process_resident_memory_bytes) (\S+)$", text, re.MULTILINE))
    assert {float(size) > 2e7 for size in memory.values()} == {True}
    assert memory.keys() == {
        "process_resident_memory_bytes",
        "sentstream_scoring_process_resident_memory_bytes",
    }
    assert len(re.findall(r"^sentstream_last_commit_timestamp_seconds{", text, re.MULTILINE)) == 2
    assert (get("healthz"), get("readyz")) == ("ok\n", "ok\n")
    running.process.terminate()
    code, out = running.end()
    summary = json.loads(out)
    assert (code, summary["records"], summary["scored"]) == (0, 123, 120)
    labels = dict(re.findall(r'sentstream_labels_total{label="(\w+)"} (\d+)\.0', text))
    assert {label: int(count) for label, count in labels.items()} == summary["labels"]


def test_drift_from_a_reference_is_reported(
    kafka: Any, topic: Any, command: Any, bundle: Path, tmp_path: Path
) -> None:
    """The distance is small for a stream like its reference, large for another; only counts are kept."""
    usual = [tweet(number) for number in range(3_000)]
    model = Model.load(str(bundle), provider="cpu", threads=1)
    pq.write_table(pa.table({"text": usual}), tmp_path / "usual.parquet")
    measure([str(tmp_path / "usual.parquet")], model).save(tmp_path / "reference.json")

    def shown(texts: list[str], options: list[str]) -> dict[str, float]:
        name = topic()
        records = [(b"k", json.dumps({"text": text}).encode(), (), None) for text in texts]
        fill(kafka.bootstrap, name, records)
        running = command(name, "--metrics-port", "0", *options)
        port = running.await_text(r"metrics on port (\d+)")[1]

        def get() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
                return str(answer.read().decode())

        wait_until(lambda: f"sentstream_drift_texts {len(texts)}.0" in get(), "all are in the window")
        found = re.findall(r"^sentstream_drift_(\w+)(?:{(.+)})? (\S+)$", get(), re.MULTILINE)
        running.process.terminate()
        assert running.end()[0] == 0
        outputs.append(running.text())
        return {
            " ".join([name, *re.findall(r'"(\w+)"', labels)]): float(value) for name, labels, value in found
        }

    outputs: list[str] = []
    reference = ["--reference", str(tmp_path / "reference.json")]
    near = shown(usual[:1_500], reference)
    table = model.score(usual[:1_500])
    assert near["label_share positive"] == table["sentiment"].to_pylist().count("positive") / 1_500
    assert near["score_mean"] == pytest.approx(pc.mean(table["sentiment_score"]).as_py())
    assert max(near[f"psi reference {of}"] for of in ("labels", "scores", "words")) < PSI_SOME
    assert "drift_from=reference" in outputs[-1]
    strange = [f"zebra quagga okapi {number}" for number in range(1_500)]
    far = shown(strange, reference)
    assert far["psi reference words"] > PSI_LARGE
    assert far["unknown_word_share"] > 0.9
    # Without a file, what the bundle says; of labels only where none is uncertain.
    with_reference = shutil.copytree(bundle, tmp_path / "told")
    add_reference(with_reference, usual)
    trained = ["--model", str(with_reference), "--log-format", "json"]
    near = shown(usual[:1_500], trained)
    assert {name for name in near if name.startswith("psi")} == {
        f"psi training {of}" for of in ("labels", "scores", "words")
    }
    assert max(value for name, value in near.items() if name.startswith("psi")) < PSI_SOME
    lines = [json.loads(line) for line in outputs[-1].splitlines()]
    assert any("3,000 validation rows of mine.parquet" in line["message"] for line in lines)
    stopped = next(line for line in lines if line["message"] == "stopped")
    assert (stopped["psi_from"], set(stopped["psi"])) == ("training", {"labels", "scores", "words"})
    far = shown(strange, [*trained, "--abstain", "0.7"])
    assert {name for name in far if name.startswith("psi")} == {"psi training scores", "psi training words"}
    assert far["psi training words"] > PSI_LARGE


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--reference", "nowhere.json"], 2, "--reference needs --metrics-port"),
        (["--reference", "nowhere.json", "--metrics-port", "0"], 16, "nowhere.json cannot be read"),
        (["--drift-window", "soon"], 2, "--drift-window"),
    ],
)
def test_unusable_reference(options: list[str], code: int, message: str, topic: Any, command: Any) -> None:
    running = command(topic(), *options)
    assert running.end()[0] == code
    assert message in running.text()
