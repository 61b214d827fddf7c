"""A record batch -> the same batch with labels: no row is shifted or lost, and none affects another."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from bundles import make_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentstream.bundle import load_bundle
from sentstream.errors import ColumnClashError, ColumnNotFoundError, ColumnTypeError, UsageError
from sentstream.scorer import Scored, Scorer
from sentstream.scorer.tally import Tally
from sentstream.session import Session
from sentstream.text.columns import find_column

ADDED = ["sentiment", "sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive"]


@pytest.fixture(scope="module", name="scorer")
def _scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    bundle = load_bundle(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", max_chars=200))
    return Scorer(bundle, Session(bundle, "cpu"))


def other(scorer: Scorer, **settings: object) -> Scorer:
    return Scorer(scorer.bundle, scorer.session, **settings)  # type: ignore[arg-type]


def batch_of(texts: list[str | None], **more: pa.Array) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.string()), **more})


def bits(batch: pa.RecordBatch) -> list[tuple[object, ...]]:
    """The added columns of each row, floats as their bits."""
    columns = [batch.column(batch.column_names.index(ADDED[0])).to_pylist()]
    for name in ADDED[1:]:
        column = batch.column(batch.column_names.index(name))
        known = column.is_valid().to_pylist()
        values = column.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint32).tolist()
        columns.append([value if valid else None for value, valid in zip(values, known, strict=True)])
    return list(zip(*columns, strict=True))


GIANT = "good " * 300
TEXTS = st.one_of(
    st.none(),
    st.sampled_from(
        ["", " ", "\t\n", "\u3000", "I love it", "not good", "awful day :(", "\x00", "\u200d", GIANT]
    ),
    st.text(max_size=40),
    st.text(alphabet="aA'@#:/.!<>&;w http://www.😂🏽\u200d\ufe0f", max_size=40),
)


class TestRows:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(TEXTS, max_size=24))
    def test_rows_are_scored_independently(self, scorer: Scorer, texts: list[str | None]) -> None:
        together = scorer.score(batch_of(texts))
        alone = [scorer.score(batch_of([text])) for text in texts]
        assert bits(together.batch) == [row for one in alone for row in bits(one.batch)]
        assert together.batch.column(0).to_pylist() == texts
        total = sum((one.tally for one in alone), Tally(0, {}, 0, 0))
        assert together.tally == (total if texts else Tally(0, {"negative": 0, "positive": 0}, 0, 0))

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        texts=st.lists(TEXTS, min_size=1, max_size=40),
        rows=st.integers(1, 9),
        threads=st.integers(1, 4),
    )
    def test_any_batches_and_threads(
        self, scorer: Scorer, texts: list[str | None], rows: int, threads: int
    ) -> None:
        whole = batch_of(texts)
        pieces = (whole.slice(start, rows) for start in range(0, len(texts), rows))
        scored = list(scorer.score_stream(pieces, threads))
        assert [row for one in scored for row in bits(one.batch)] == bits(scorer.score(whole).batch)
        assert [text for one in scored for text in one.batch.column(0).to_pylist()] == texts

    @pytest.mark.parametrize("odd", [None, "", "  ", GIANT, "x" * 10**6, "\U0001f602" * 500, "@" * 5000])
    def test_unusual_row_does_not_change_others(self, scorer: Scorer, odd: str | None) -> None:
        plain: list[str | None] = ["I love it", "bad day", "so good :)", "hate this"]
        expected = bits(scorer.score(batch_of(plain)).batch)
        lonely = bits(scorer.score(batch_of([odd])).batch)
        for index in range(len(plain) + 1):
            texts = [*plain[:index], odd, *plain[index:]]
            got = bits(scorer.score(batch_of(texts)).batch)
            assert got[:index] + got[index + 1 :] == expected
            assert got[index : index + 1] == lonely

    def test_only_blank_rows_are_null_and_their_scores_too(self, scorer: Scorer) -> None:
        texts = ["good", None, "", " \n", "\u2028", "\u200d", "zzz", "\x00"]
        scored = scorer.score(batch_of(texts))
        blank = [text is None or not text.strip() for text in texts]
        for name in ADDED:
            assert scored.batch[name].is_null().to_pylist() == blank
        assert scored.tally.unlabeled == sum(blank)
        assert sum(scored.tally.labels.values()) == len(texts) - sum(blank)

    def test_label_is_most_probable_and_score_its_probability(self, scorer: Scorer) -> None:
        scored = scorer.score(batch_of(["i love it", "awful", "good :)", "not so good", "the day"])).batch
        for row in scored.to_pylist():
            shares = {name: row[f"sentiment_prob_{name}"] for name in ("negative", "positive")}
            assert row["sentiment"] == max(shares, key=shares.__getitem__)
            assert row["sentiment_score"] == max(shares.values())
            assert sum(shares.values()) == pytest.approx(1, abs=1e-6)

    def test_truncated_text_is_scored_as_its_beginning_and_counted(self, scorer: Scorer) -> None:
        long, short = "love " * 100, ("love " * 100)[:200]
        scored = scorer.score(batch_of([long, short, None]))
        first, second, _ = bits(scored.batch)
        assert first == second
        assert scored.tally.truncated == 1
        assert scored.batch.column(0).to_pylist()[0] == long

    def test_invalid_utf8_does_not_affect_other_rows(self, scorer: Scorer) -> None:
        offsets = pa.py_buffer(np.array([0, 4, 7, 11], np.int32))
        column = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"good\xff\xfe!love"))
        scored = scorer.score(pa.record_batch({"text": column})).batch
        assert bits(scored)[0] == bits(scorer.score(batch_of(["good"])).batch)[0]
        assert bits(scored)[2] == bits(scorer.score(batch_of(["love"])).batch)[0]
        assert bits(scored)[1] == bits(scorer.score(batch_of(["\ufffd\ufffd!"])).batch)[0]

    @pytest.mark.parametrize("few", [True, False])
    def test_invalid_utf8_in_bytes_matches_text(self, scorer: Scorer, few: bool) -> None:
        raw = pa.array([b"good", b"caf\xe9 \xff!", None, b"love"] * (1 if few else 10))
        stored = scorer.score(pa.record_batch({"text": raw})).batch
        assert bits(stored) == bits(scorer.score(pa.record_batch({"text": raw.view(pa.string())})).batch)
        assert stored.column(0).equals(raw)

    @pytest.mark.parametrize("kind", [pa.string(), pa.binary()], ids=str)
    def test_struct_field_is_read_in_place(self, scorer: Scorer, kind: pa.DataType) -> None:
        inner = pa.StructArray.from_arrays(
            [pa.array(["good", "bad", None, "love"]).cast(kind), pa.array([1, 2, 3, 4])],
            names=["text", "n"],
            mask=pa.array([False, True, False, False]),
        )
        rows = pa.record_batch({"id": [1, 2, 3, 4], "data": inner})
        scored = other(scorer, text_column="data.text").score(rows)
        assert bits(scored.batch) == bits(scorer.score(batch_of(["good", None, None, "love"])).batch)
        assert scored.tally.unlabeled == 2
        assert scored.batch.column(1).equals(inner)
        assert other(scorer, text_column="data.text", columns=["id"]).score(rows).batch.schema.names[:2] == [
            "id",
            "sentiment",
        ]
        literal = rows.append_column("data.text", pa.array(["bad"] * 4))
        assert bits(other(scorer, text_column="data.text").score(literal).batch) == bits(
            scorer.score(batch_of(["bad"] * 4)).batch
        )

    @pytest.mark.parametrize("rows", [0, 1])
    def test_few_rows(self, scorer: Scorer, rows: int) -> None:
        scored = scorer.score(batch_of(["good"] * rows))
        assert scored.batch.num_rows == rows
        assert scored.batch.schema.equals(scorer.output_schema(batch_of([]).schema), check_metadata=True)
        assert scored.tally.rows == rows

    def test_null_column_has_no_labels(self, scorer: Scorer) -> None:
        scored = scorer.score(pa.record_batch({"text": pa.nulls(3)}))
        assert scored.batch.schema.field("text").type == pa.null()
        assert scored.batch["sentiment"].null_count == 3

    @pytest.mark.parametrize(
        "kind",
        [
            pa.large_string(),
            pa.string_view(),
            pa.dictionary(pa.int32(), pa.string()),
            pa.dictionary(pa.int8(), pa.large_string()),
            pa.binary(),
            pa.large_binary(),
            pa.binary_view(),
            pa.dictionary(pa.int32(), pa.binary()),
        ],
        ids=str,
    )
    def test_text_types_score_alike_and_are_kept(self, scorer: Scorer, kind: pa.DataType) -> None:
        plain = batch_of(["good", None, "bad day", "", "good"])
        column = (
            plain.column(0).dictionary_encode().cast(kind)
            if pa.types.is_dictionary(kind)
            else plain.column(0).cast(kind)
        )
        scored = scorer.score(pa.record_batch({"text": column})).batch
        assert bits(scored) == bits(scorer.score(plain).batch)
        assert scored.schema.field("text").type == kind
        assert scored.column(0).equals(column)


def scores_of(batch: pa.RecordBatch) -> list[np.float32 | None]:
    """The scores as the float32 that they are."""
    column = batch["sentiment_score"]
    return [
        score if valid else None
        for score, valid in zip(column.to_numpy(False), column.is_valid().to_pylist(), strict=True)
    ]


class TestAbstention:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        texts=st.lists(TEXTS, max_size=24),
        below=st.floats(0, 1, exclude_min=True) | st.floats(0.5, 1),
        rows=st.integers(1, 9),
        threads=st.integers(1, 3),
    )
    def test_scores_below_threshold_are_uncertain(
        self, scorer: Scorer, texts: list[str | None], below: float, rows: int, threads: int
    ) -> None:
        plain, careful = scorer.score(batch_of(texts)), other(scorer, abstain=below)
        pieces = (batch_of(texts).slice(start, rows) for start in range(0, len(texts), rows))
        parts = list(careful.score_stream(pieces, threads))
        labels = [
            label if score is None or score >= np.float32(below) else "uncertain"
            for label, score in zip(plain.batch["sentiment"].to_pylist(), scores_of(plain.batch), strict=True)
        ]
        assert [row[0] for part in parts for row in bits(part.batch)] == labels
        assert [row[1:] for part in parts for row in bits(part.batch)] == [
            row[1:] for row in bits(plain.batch)
        ]
        tally = sum((part.tally for part in parts), Tally(0, {}, 0, 0))
        assert tally.labels == {name: labels.count(name) for name in careful.labels if texts}
        assert (tally.rows, tally.unlabeled) == (len(texts), plain.tally.unlabeled)

    @pytest.mark.parametrize("text", ["i love it", "awful day", "not so good", "the day"])
    def test_rounded_score_is_not_below_itself(self, scorer: Scorer, text: str) -> None:
        (score,) = scores_of(scorer.score(batch_of([text])).batch)
        assert score is not None
        for below, uncertain in (
            (float(score), False),
            (float(str(score)), False),  # the shortest decimal, as in JSON
            (float(np.nextafter(score, np.float32(0))), False),
            (float(np.nextafter(score, np.float32(2))), True),
        ):
            scored = other(scorer, abstain=below).score(batch_of([text])).batch
            assert (scored["sentiment"][0].as_py() == "uncertain") is uncertain, below

    def test_threshold_is_recorded_and_replaces_an_earlier_one(self, scorer: Scorer) -> None:
        once = other(scorer, abstain=1, prefix="first").score(batch_of(["good", None])).batch
        assert once.schema.metadata[b"sentstream.abstain"] == b"1.0"
        assert once["first"].to_pylist() == ["uncertain", None]
        again = other(scorer, abstain=0.6).score(once).batch
        assert again.schema.metadata[b"sentstream.abstain"] == b"0.6"
        assert b"sentstream.abstain" not in scorer.score(once).batch.schema.metadata
        assert again.schema.names == scorer.output_schema(once.schema).names

    @pytest.mark.parametrize("below", [0, -0.5, 1.001, float("nan"), float("inf"), float("-inf")])
    def test_invalid_thresholds(self, scorer: Scorer, below: float) -> None:
        with pytest.raises(UsageError, match=rf"abstain must be above 0 and at most 1, not {below}"):
            other(scorer, abstain=below)

    def test_model_with_an_uncertain_label_cannot_abstain(self, tmp_path: Path) -> None:
        bundle = load_bundle(make_bundle(tmp_path / "tiny", labels=("certain", "uncertain")))
        session = Session(bundle, "cpu")
        assert "uncertain" in Scorer(bundle, session).score(batch_of(["good"])).tally.labels
        with pytest.raises(UsageError, match="already has a label 'uncertain'"):
            Scorer(bundle, session, abstain=0.6)


class TestSchema:
    def test_existing_columns_stay_and_labels_come_last(self, scorer: Scorer) -> None:
        nested = pa.array([[{"a": 1, "b": ["x"]}], None])
        batch = pa.record_batch(
            [
                pa.array([1, 2], pa.uint64()),
                pa.array(["good", "bad"]),
                nested,
                pa.array(["x", None]).dictionary_encode(),
                pa.array(
                    [datetime.datetime(2009, 4, 6, tzinfo=datetime.UTC), None], pa.timestamp("us", "UTC")
                ),
                pa.array([b"\xff", None], pa.binary()),
                pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16))),
                pa.array([1, 2], pa.int8()),
            ],
            schema=pa.schema(
                [
                    pa.field("id", pa.uint64(), nullable=False, metadata={"unit": "tweet"}),
                    pa.field("text", pa.string(), metadata={"lang": "en"}),
                    pa.field("nested", nested.type),
                    pa.field("kind", pa.dictionary(pa.int32(), pa.string())),
                    pa.field("at", pa.timestamp("us", "UTC")),
                    pa.field("raw", pa.binary()),
                    pa.field("uuid", pa.uuid()),
                    pa.field("sentiment_", pa.int8()),
                ],
                metadata={b"writer": b"someone", b"\xff": b"\x00"},
            ),
        )
        scored = scorer.score(batch).batch
        assert scored.schema.names == [*batch.schema.names, *ADDED]
        for index, field in enumerate(batch.schema):
            assert scored.schema.field(index).equals(field, check_metadata=True)
            assert scored.column(index).equals(batch.column(index))
        scored.validate(full=True)
        bundle = scorer.bundle
        assert scored.schema.metadata == {
            b"writer": b"someone",
            b"\xff": b"\x00",
            b"sentstream.model": bundle.name.encode(),
            b"sentstream.model_version": bundle.version.encode(),
            b"sentstream.model_digest": bundle.digest.encode(),
        }
        assert [scored.schema.field(name).type for name in ADDED] == [pa.string(), *[pa.float32()] * 3]

    def test_earlier_model_metadata_is_replaced(self, scorer: Scorer) -> None:
        schema = pa.schema([("text", pa.string())], metadata={"sentstream.model": "old"})
        assert scorer.output_schema(schema).metadata[b"sentstream.model"] == b"tiny"

    def test_scoring_twice_needs_two_prefixes(self, scorer: Scorer) -> None:
        once = scorer.score(batch_of(["good"])).batch
        with pytest.raises(ColumnClashError, match="already has a column 'sentiment'") as caught:
            scorer.score(once)
        assert caught.value.exit_code == 14
        twice = other(scorer, prefix="mood").score(once).batch
        assert twice.column_names[-4:] == [name.replace("sentiment", "mood") for name in ADDED]
        assert twice["mood"].equals(once["sentiment"])

    @pytest.mark.parametrize("name", ADDED)
    def test_existing_output_column_is_a_clash(self, scorer: Scorer, name: str) -> None:
        batch = batch_of(["good"], **{name: pa.array([1])})
        with pytest.raises(ColumnClashError, match=f"already has a column '{name}'"):
            scorer.output_schema(batch.schema)
        kept = other(scorer, columns=["text"]).score(batch).batch
        assert kept.column_names == ["text", *ADDED]

    def test_columns_are_kept_in_requested_order(self, scorer: Scorer) -> None:
        batch = batch_of(["good"], a=pa.array([1]), b=pa.array([2]))
        assert other(scorer, columns=["b", "a"]).score(batch).batch.column_names == ["b", "a", *ADDED]
        assert other(scorer, columns=[]).score(batch).batch.column_names == ADDED
        with pytest.raises(ColumnNotFoundError, match="no column 'c'"):
            other(scorer, columns=["a", "c"]).score(batch)

    def test_another_text_column(self, scorer: Scorer) -> None:
        batch = pa.record_batch({"text": pa.array([1]), "tweet": pa.array(["good"])})
        assert other(scorer, text_column="tweet").score(batch).batch["sentiment"][0].is_valid
        with pytest.raises(ColumnTypeError, match=r"'text' is of type int64, not text") as caught:
            scorer.score(batch)
        assert caught.value.exit_code == 13

    @pytest.mark.parametrize(
        "kind",
        [pa.int32(), pa.binary(3), pa.list_(pa.string()), pa.dictionary(pa.int8(), pa.int64())],
        ids=str,
    )
    def test_non_text_column(self, scorer: Scorer, kind: pa.DataType) -> None:
        with pytest.raises(ColumnTypeError):
            scorer.output_schema(pa.schema([("text", kind)]))

    @pytest.mark.parametrize(
        ("names", "asked", "message"),
        [
            (["Text"], "text", "did you mean 'Text'"),
            (["tweet_text", "id"], "text", "no column 'text'"),
            (["tweets", "id"], "tweet", "did you mean 'tweets'"),
            (["id"], "text", "no column 'text'"),
            ([], "text", "no column 'text'"),
            (["text", "text"], "text", "2 columns are named 'text'"),
        ],
    )
    def test_missing_column_suggests_the_nearest(self, names: list[str], asked: str, message: str) -> None:
        with pytest.raises(ColumnNotFoundError, match=message) as caught:
            find_column(pa.schema([(name, pa.string()) for name in names]), asked)
        assert caught.value.exit_code == 12
        assert caught.value.hint

    def test_missing_text_column_lists_candidates(self, scorer: Scorer) -> None:
        schema = pa.schema([("id", pa.int64()), ("body", pa.string()), ("title", pa.large_string())])
        with pytest.raises(ColumnNotFoundError, match="text columns: body, title"):
            scorer.output_schema(schema)
        with pytest.raises(ColumnNotFoundError, match="it has no text column"):
            scorer.output_schema(schema.remove(1).remove(1))

    def test_duplicate_columns_are_kept_if_not_the_text(self, scorer: Scorer) -> None:
        batch = pa.RecordBatch.from_arrays(
            [pa.array(["good"]), pa.array([1]), pa.array(["x"])], names=["text", "id", "id"]
        )
        scored = scorer.score(batch).batch
        assert scored.column_names == ["text", "id", "id", *ADDED]
        assert [scored.column(place).to_pylist() for place in (1, 2)] == [[1], ["x"]]

    def test_empty_prefix_is_rejected(self, scorer: Scorer) -> None:
        with pytest.raises(UsageError, match="prefix is empty"):
            other(scorer, prefix="")


class Source:
    """Batches that know how many of them were taken."""

    def __init__(self, count: int, fail_at: int | None = None) -> None:
        self.taken, self.count, self.fail_at, self.closed = 0, count, fail_at, False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for number in range(self.count):
                if number == self.fail_at:
                    raise OSError("the disk is gone")
                self.taken += 1
                yield batch_of(["good day", "bad"], number=pa.array([number] * 2))
        finally:
            self.closed = True


def numbers(scored: list[Scored]) -> list[int]:
    return [one.batch["number"][0].as_py() for one in scored]


def drain(stream: Iterator[Scored], taken: list[Scored]) -> None:
    """Collect all items, and keep them even if the stream ends with an error."""
    for one in stream:
        taken.append(one)


def our_threads() -> list[threading.Thread]:
    """The threads of scorers; an earlier test may have left one that waits for a broker."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("sentstream_")]


class TestSeveralTextColumns:
    def test_text_columns_are_scored_independently(self, scorer: Scorer) -> None:
        bundle, session = scorer.bundle, scorer.session
        batch = pa.record_batch(
            {
                "title": ["good day", None, "bad"],
                "data": [{"text": "bad"}, {"text": "good"}, None],
                "n": [1, 2, 3],
            }
        )
        both = Scorer(bundle, session, text_column=["title", "data.text"]).score(batch)
        assert both.batch.schema.names[3] == "title_sentiment"
        assert both.batch.num_columns == 3 + 2 * len(Scorer(bundle, session).added_fields())
        for column, prefix in (("title", "title_sentiment"), ("data.text", "data_text_sentiment")):
            alone = Scorer(bundle, session, text_column=column, prefix=prefix).score(batch)
            names = [name for name in alone.batch.schema.names if name.startswith(prefix)]
            assert both.batch.select(names).equals(alone.batch.select(names))
            assert both.tally.columns[prefix] == alone.tally
        assert (both.tally.rows, both.tally.unlabeled) == (3, 2)
        assert sum(both.tally.labels.values()) == 4
        assert (both.tally + both.tally).columns["title_sentiment"].unlabeled == 2

    @pytest.mark.parametrize(
        ("columns", "prefix"),
        [
            ([], None),
            (["a", "a"], None),
            (["a", "b"], "x"),
            (["a", "b"], ["x", "x"]),
            (["a", "b"], ["x", "x_score"]),
        ],
    )
    def test_invalid_columns(
        self, scorer: Scorer, columns: list[str], prefix: str | list[str] | None
    ) -> None:
        with pytest.raises(UsageError):
            Scorer(scorer.bundle, scorer.session, text_column=columns, prefix=prefix)


class TestStream:
    @pytest.mark.parametrize("threads", [1, 2, 3, 4, 8])
    def test_results_come_in_order(self, scorer: Scorer, threads: int) -> None:
        assert numbers(list(scorer.score_stream(Source(50), threads))) == list(range(50))
        assert not our_threads()

    @pytest.mark.parametrize("threads", [1, 2, 4])
    def test_reading_is_bounded_by_work_in_progress(self, scorer: Scorer, threads: int) -> None:
        source = Source(100)
        stream = scorer.score_stream(source, threads)
        assert source.taken == 0
        for done in range(1, 30):
            next(stream)
            time.sleep(0.001)
            assert source.taken - done <= threads + 2
        stream.close()  # type: ignore[attr-defined]

    @pytest.mark.parametrize("threads", [1, 2, 4])
    def test_source_errors_pass_through_and_threads_end(self, scorer: Scorer, threads: int) -> None:
        source = Source(20, fail_at=7)
        taken: list[Scored] = []
        with pytest.raises(OSError, match="the disk is gone"):
            drain(scorer.score_stream(source, threads), taken)
        assert numbers(taken) == list(range(len(taken)))
        assert len(taken) <= 7
        assert source.closed
        assert not our_threads()

    @pytest.mark.parametrize("threads", [1, 2, 4])
    def test_failed_batch_ends_the_stream_in_order(self, scorer: Scorer, threads: int) -> None:
        good = list(Source(6))
        wrong = pa.record_batch({"body": pa.array(["x"])})
        taken: list[Scored] = []
        with pytest.raises(ColumnNotFoundError):
            drain(scorer.score_stream([*good[:4], wrong, *good[4:]], threads), taken)
        assert numbers(taken) == [0, 1, 2, 3]
        assert not our_threads()

    @pytest.mark.parametrize("threads", [1, 2, 4])
    def test_stopping_early_leaves_no_threads(self, scorer: Scorer, threads: int) -> None:
        source = Source(1000)
        stream = scorer.score_stream(source, threads)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert source.taken <= threads + 4
        assert not our_threads()

    @pytest.mark.parametrize("threads", [1, 3])
    def test_empty_stream(self, scorer: Scorer, threads: int) -> None:
        assert list(scorer.score_stream([], threads)) == []

    def test_two_streams_of_one_scorer_do_not_mix(self, scorer: Scorer) -> None:
        first, second = scorer.score_stream(Source(20), 2), scorer.score_stream(Source(20), 3)
        for number, (one, two) in enumerate(zip(first, second, strict=True)):
            assert numbers([one, two]) == [number, number]


def test_tallies_add_up() -> None:
    first = Tally(3, {"a": 1, "b": 1}, 1, 0)
    second = Tally(2, {"b": 2}, 0, 1)
    assert first + second == Tally(5, {"a": 1, "b": 3}, 1, 1)


@pytest.mark.parametrize("labels", [("no", "yes"), ("a b", "ü", "😂"), tuple(f"l{n}" for n in range(12))])
def test_any_labels_name_their_columns(tmp_path: Path, labels: tuple[str, ...]) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "tiny", labels=labels, pairs=False))
    scored = Scorer(bundle, Session(bundle, "cpu")).score(batch_of(["good", "bad", None])).batch
    assert scored.column_names[3:] == [f"sentiment_prob_{label}" for label in labels]
    assert set(scored["sentiment"].to_pylist()) <= {*labels, None}
