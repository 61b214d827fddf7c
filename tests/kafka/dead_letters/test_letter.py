"""Dead letters: their contents, that they fit, and that the original record can be restored."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from sentstream.errors import (
    MessageClashError,
    MessageDecodeError,
    MessageError,
    MessageFieldError,
    MessageSizeError,
)
from sentstream.kafka.clients.api import Headers, Outgoing, Partition, StoredRecord
from sentstream.kafka.dead_letters.letter import (
    OMITTED_HEADERS,
    OMITTED_KEY,
    OMITTED_VALUE,
    REPLAYS,
    DeadLetter,
    ParsedDeadLetter,
    record_size,
)

MIB = 1 << 20
ERROR = MessageFieldError("no field 'größe'", hint="name another")


def record(**changes: Any) -> StoredRecord:
    plain = StoredRecord("tweets", 3, 1234, 1_700_000_000_000, b"key", b'{"id":1}', (("trace", b"7"),))
    return plain._replace(**changes)


def stored(outgoing: Outgoing, *, partition: int = 0, offset: int = 0) -> StoredRecord:
    """A sent record as it is read back."""
    timestamp = 1_800_000_000_000 if outgoing.timestamp is None else outgoing.timestamp
    place = partition if outgoing.partition is None else outgoing.partition
    key, value, headers = outgoing.key, outgoing.value, outgoing.headers
    return StoredRecord(outgoing.topic, place, offset, timestamp, key, value, headers)


def letter(record: StoredRecord, error: MessageError = ERROR, *, limit: int = MIB) -> ParsedDeadLetter:
    parsed = ParsedDeadLetter.parse(stored(DeadLetter(record, error).outgoing("dead", limit=limit)))
    assert parsed is not None
    return parsed


def names() -> st.SearchStrategy[str]:
    """Header keys: any text, including ones similar to ours."""
    return st.text(max_size=12) | st.sampled_from(
        ["sentstream.errors", "sentstream.x", "Sentstream.replays", ""]
    )


def records() -> st.SearchStrategy[StoredRecord]:
    parts = st.none() | st.binary(max_size=40)
    return st.builds(
        StoredRecord,
        st.sampled_from(["tweets", "a.b_c-d"]),
        st.integers(0, 2**31 - 1),
        st.integers(0, 2**63 - 1),
        st.integers(-1, 2**62),
        parts,
        parts,
        st.lists(st.tuples(names(), parts), max_size=5).map(tuple),
    )


class TestOutgoing:
    def test_headers_hold_the_original_then_reason_and_source(self) -> None:
        assert DeadLetter(record(), ERROR).outgoing("dead", limit=MIB) == Outgoing(
            "dead",
            b"key",
            b'{"id":1}',
            (
                ("trace", b"7"),
                ("sentstream.error.class", b"MessageFieldError"),
                ("sentstream.error.message", "no field 'größe' (name another)".encode()),
                ("sentstream.error.stage", b"decode"),
                ("sentstream.source.topic", b"tweets"),
                ("sentstream.source.partition", b"3"),
                ("sentstream.source.offset", b"1234"),
                ("sentstream.source.timestamp", b"1700000000000"),
            ),
            1_700_000_000_000,
        )

    def test_stage_comes_from_the_error(self) -> None:
        error = MessageDecodeError("a failed checksum")
        error.stage = "read"
        assert letter(record(), error).stage == "read"
        assert letter(record(), MessageSizeError("too large")).stage == "produce"

    def test_missing_timestamp_stays_missing(self) -> None:
        sent = DeadLetter(record(timestamp=-1), ERROR).outgoing("dead", limit=MIB)
        assert sent.timestamp is None
        assert letter(record(timestamp=-1)).timestamp == -1
        assert letter(record(timestamp=-1)).restored().timestamp is None
        assert letter(record(timestamp=0)).restored().timestamp == 0

    def test_header_key_that_is_not_utf8_is_escaped(self) -> None:
        odd = b"tr\xffc\xe9-\xc3\xa9".decode(errors="surrogateescape")
        sent = DeadLetter(record(headers=[(odd, b"7"), (odd, None)]), ERROR).outgoing("dead", limit=MIB)
        assert list(sent.headers[:2]) == [("tr\\xffc\\xe9-é", b"7"), ("tr\\xffc\\xe9-é", None)]

    def test_long_message_is_truncated(self) -> None:
        message = letter(record(), MessageError("x" * 10_000)).message
        assert len(message) == 500
        assert message.endswith("x…")

    def test_invalid_unicode_in_a_message_is_escaped(self) -> None:
        assert letter(record(), MessageError("a\udcff")).message == "a\\udcff"


class TestLimit:
    def sent(self, limit: int, **changes: Any) -> tuple[Outgoing, list[str]]:
        sent = DeadLetter(record(**changes), ERROR).outgoing("dead", limit=limit)
        omitted = [name for name, _ in sent.headers if name in (OMITTED_VALUE, OMITTED_KEY, OMITTED_HEADERS)]
        return sent, omitted

    def test_value_is_omitted_if_too_large(self) -> None:
        value = bytes(MIB)
        sent, omitted = self.sent(MIB, value=value)
        assert (sent.key, sent.value, omitted) == (b"key", None, [OMITTED_VALUE])
        digest = hashlib.sha256(value).hexdigest()
        assert dict(sent.headers)[OMITTED_VALUE] == f"omitted: 1048576 bytes, sha256:{digest}".encode()
        assert sent.headers[0] == ("trace", b"7")

    def test_value_is_kept_exactly_at_the_limit(self) -> None:
        sent, _ = self.sent(MIB, value=bytes(1000))
        size = record_size(sent)
        assert self.sent(size, value=bytes(1000)) == (sent, [])
        assert self.sent(size - 1, value=bytes(1000))[1] == [OMITTED_VALUE]

    def test_key_then_headers_are_omitted_next(self) -> None:
        sent, omitted = self.sent(5000, key=bytes(5000), value=bytes(129))
        assert (sent.key, sent.value, omitted) == (None, None, [OMITTED_VALUE, OMITTED_KEY])
        assert sent.headers[0] == ("trace", b"7")
        sent, omitted = self.sent(5000, key=bytes(5000), value=bytes(129), headers=[("trace", bytes(5000))])
        assert (sent.key, sent.value) == (None, None)
        assert omitted == [OMITTED_VALUE, OMITTED_KEY, OMITTED_HEADERS]
        assert record_size(sent) <= 5000

    def test_small_parts_are_kept(self) -> None:
        sent, omitted = self.sent(5000, headers=[("trace", bytes(5000))])
        assert (sent.key, sent.value, omitted) == (b"key", b'{"id":1}', [OMITTED_HEADERS])

    def test_missing_parts_are_not_marked_omitted(self) -> None:
        assert self.sent(10, key=None, value=None, headers=())[1] == []

    @settings(deadline=None)
    @given(records(), st.integers(1200, 3000), st.sampled_from(["key", "value"]), st.integers(0, 4000))
    def test_every_letter_fits(self, record: StoredRecord, limit: int, part: str, size: int) -> None:
        record = record._replace(key=bytes(size)) if part == "key" else record._replace(value=bytes(size))
        assert record_size(DeadLetter(record, ERROR).outgoing("dead", limit=limit)) <= limit


class TestRecordSize:
    @pytest.mark.parametrize("compression", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"])
    @settings(deadline=None, max_examples=cases(40))
    @given(
        st.none() | st.binary(max_size=300),
        st.none() | st.integers(0, 300_000),
        st.lists(st.tuples(names(), st.binary(max_size=200)), max_size=5),
        st.integers(0, 2**62),
        st.integers(0, 2**32),
    )
    def test_size_bounds_the_batch(
        self, compression: int, key: bytes | None, length: int | None, headers: Headers, at: int, seed: int
    ) -> None:
        value = None if length is None else random.Random(seed).randbytes(length)
        batch = DefaultRecordBatchBuilder(2, compression, 1, 7, 0, 0, MIB)
        batch.append(0, at, key, value, headers)
        size = record_size(Outgoing("dead", key, value, headers))
        assert len(batch.build()) <= size
        assert size <= 200 + 1.005 * (
            len(key or b"")
            + len(value or b"")
            + sum(10 + len(name.encode()) + len(what or b"") for name, what in headers)
        )


class TestParse:
    def test_parsed_fields(self) -> None:
        got = letter(record(), MessageClashError("there already"))
        assert got == ParsedDeadLetter(
            "MessageClashError",
            "there already",
            "decode",
            Partition("tweets", 3),
            1234,
            1_700_000_000_000,
            b"key",
            b'{"id":1}',
            (("trace", b"7"),),
            {},
            0,
        )
        assert not got.omitted

    def test_other_records_are_not_letters(self) -> None:
        assert ParsedDeadLetter.parse(record()) is None
        assert ParsedDeadLetter.parse(record(headers=())) is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("sentstream.error.class", None),
            ("sentstream.source.topic", None),
            ("sentstream.source.partition", b"three"),
            ("sentstream.source.partition", b"-1"),
            ("sentstream.source.offset", b"\xff"),
            ("sentstream.source.offset", b""),
            ("sentstream.source.offset", b"9" * 5000),
            ("sentstream.source.timestamp", b"now"),
        ],
    )
    def test_incomplete_letter_is_not_a_letter(self, name: str, value: bytes | None) -> None:
        sent = DeadLetter(record(), ERROR).outgoing("dead", limit=MIB)
        headers = [(key, value if key == name else kept) for key, kept in sent.headers]
        assert ParsedDeadLetter.parse(stored(sent._replace(headers=headers))) is None

    @given(
        records(),
        st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        "sentstream.error.class",
                        "sentstream.source.topic",
                        "sentstream.source.partition",
                        "sentstream.source.offset",
                        REPLAYS,
                    ]
                ),
                st.none() | st.binary(max_size=9),
            )
        ),
    )
    def test_arbitrary_headers_are_tolerated(
        self, record: StoredRecord, headers: list[tuple[str, bytes | None]]
    ) -> None:
        record = record._replace(headers=(*record.headers, *headers))
        ParsedDeadLetter.parse(record)
        letter(record).restored()


class TestRestored:
    def test_original_partition_or_key_in_another_topic(self) -> None:
        got = letter(record())
        assert (got.restored().topic, got.restored().partition) == ("tweets", 3)
        assert got.restored("tweets") == got.restored()
        assert (got.restored("other").topic, got.restored("other").partition) == ("other", None)

    @given(records())
    def test_record_is_restored(self, record: StoredRecord) -> None:
        back = letter(record).restored()
        assert (back.topic, back.partition) == (record.topic, record.partition)
        assert (back.key, back.value) == (record.key, record.value)
        assert back.timestamp == (record.timestamp if record.timestamp >= 0 else None)
        assert back.headers == (*record.headers, (REPLAYS, b"1"))

    @settings(deadline=None)
    @given(records(), st.integers(1, 5))
    def test_headers_do_not_accumulate_over_replays(self, first: StoredRecord, times: int) -> None:
        record = first
        for count in range(times):
            got = letter(record)
            assert (got.replays, got.offset) == (count, record.offset)
            assert got.headers == first.headers
            record = stored(got.restored(), offset=count)
        assert record.headers == (*first.headers, (REPLAYS, str(times).encode()))
        names = [name for name, _ in DeadLetter(record, ERROR).outgoing("dead", limit=MIB).headers]
        assert len([name for name in names if name == REPLAYS]) == 1
        assert len(names) == len(first.headers) + 8

    def test_letter_consumed_as_message_drops_old_reasons(self) -> None:
        first = stored(DeadLetter(record(), ERROR).outgoing("dead", limit=MIB), partition=1, offset=9)
        got = letter(first, MessageDecodeError("not JSON"))
        assert (got.error_class, got.source, got.offset) == ("MessageDecodeError", Partition("dead", 1), 9)
        assert got.headers == (("trace", b"7"),)

    @pytest.mark.parametrize("count", [b"", b"x", b"-1", "²".encode(), b"9" * 5000, None])
    def test_invalid_replay_count_is_ignored(self, count: bytes | None) -> None:
        got = letter(record(headers=((REPLAYS, count),)))
        assert got.replays == 0
        assert got.restored().headers == ((REPLAYS, b"1"),)


class TestOmitted:
    BIG = record(value=b"v" * MIB, headers=(("trace", b"7"), (REPLAYS, b"2")))

    def test_omitted_value_comes_from_the_source(self) -> None:
        got = letter(self.BIG)
        assert got.omitted
        assert list(got.left_out) == ["value"]
        assert (got.key, got.value, got.replays) == (b"key", None, 2)
        back = got.restored(original=self.BIG)
        assert (back.key, back.value, back.partition) == (b"key", self.BIG.value, 3)
        assert back.headers == (("trace", b"7"), (REPLAYS, b"3"))

    def test_nothing_is_restored_without_the_source(self) -> None:
        with pytest.raises(MessageSizeError, match="the value of tweets-3 at offset 1234 did not fit"):
            letter(self.BIG).restored()

    @pytest.mark.parametrize(
        "change", [{"value": b"w" * MIB}, {"value": None}, {"offset": 1235}, {"partition": 0}]
    )
    def test_different_record_is_rejected(self, change: dict[str, Any]) -> None:
        with pytest.raises(MessageDecodeError, match="is not the record that the dead letter was made from"):
            letter(self.BIG).restored(original=self.BIG._replace(**change))

    def test_omitted_key_and_headers(self) -> None:
        odd = b"\xff".decode(errors="surrogateescape")
        big = record(key=bytes(5000), value=bytes(5000), headers=((odd, bytes(5000)), ("none", None)))
        got = letter(big, limit=5000)
        assert list(got.left_out) == ["value", "key", "headers"]
        assert got.headers == ()
        back = got.restored(original=big)
        assert (back.key, back.value) == (big.key, big.value)
        assert back.headers == (("\\xff", bytes(5000)), ("none", None), (REPLAYS, b"1"))
        with pytest.raises(MessageDecodeError, match="is not the record"):
            got.restored(original=big._replace(headers=()))

    def test_unreadable_record_is_omitted_entirely(self) -> None:
        error = MessageDecodeError("the record cannot be read: a failed checksum")
        error.stage = "read"
        got = letter(record(key=None, value=None, headers=()), error)
        assert got.omitted
        with pytest.raises(MessageDecodeError, match="tweets-3 at offset 1234 could not be read"):
            got.restored()
        assert got.restored(original=record()).value == record().value
