"""Scored files -> figures: the same as DuckDB's, in bounded memory; and errors for unusable input."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from peak_memory import peak_memory
from processes import output_of
from report_pages import scored_rows

import sentstream
from sentstream.analyze import Analysis, analyze
from sentstream.analyze.cells import Figures
from sentstream.cli import main
from sentstream.dataset.preparation import score_files
from sentstream.errors import (
    BundleDigestError,
    ColumnNotFoundError,
    ColumnTypeError,
    InputError,
    InputFormatError,
    InputNotFoundError,
    UsageError,
)
from tools.local_stores import LocalS3

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "tweets.parquet"
LABELS = ("negative", "neutral", "positive")


@pytest.fixture(name="scored", scope="module")
def _scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example tweets, scored."""
    path = tmp_path_factory.mktemp("scored") / "tweets.scored.parquet"
    score_files(EXAMPLES, path)
    return path


@pytest.fixture(name="rows")
def _rows(tmp_path: Path) -> Path:
    """Drawn rows in two files and some row groups."""
    table = scored_rows(5_000)
    folder = tmp_path / "rows"
    folder.mkdir()
    for number, start in enumerate((0, 3_000)):
        part = table.slice(start, 3_000 - 1_000 * number)
        pq.write_table(part, folder / f"{number}.parquet", row_group_size=700)
    return folder


def shares(figures: Figures) -> dict[str, int]:
    return {share.label: share.rows for share in figures.shares}


def query_duckdb(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Query the rows with DuckDB."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"create view scored as select * from read_parquet('{folder}/*.parquet')")
        return connection.execute(sql).fetchall()


class TestAgainstDuckDB:
    def test_all_rows(self, rows: Path) -> None:
        figures = analyze(rows).scores.figures
        wanted = dict(query_duckdb(rows, "select sentiment, count(*) from scored group by all"))
        assert shares(figures) == wanted
        value = "sentiment_prob_positive::double - sentiment_prob_negative"
        ((mean, spread),) = query_duckdb(rows, f"select avg({value}), stddev_samp({value}) from scored")
        assert figures.value == pytest.approx(mean)
        low, high = figures.value_interval or (0.0, 0.0)
        assert (high - low) / 2 == pytest.approx(1.96 * spread / 5_000**0.5, rel=1e-3)

    @pytest.mark.parametrize("where", [None, "lang = 'en'", "sentiment_score > 0.9 and lang is not null"])
    def test_by_group(self, rows: Path, where: str | None) -> None:
        (grouping,) = analyze(rows, by=["lang"], where=where).groups
        wanted = query_duckdb(
            rows,
            "select lang, count(*), count(*) filter (sentiment = 'positive'), avg(sentiment_prob_positive::"
            f"double - sentiment_prob_negative) from scored where {where or 'true'} group by lang",
        )
        found = {
            group.name: (
                group.figures.rows,
                shares(group.figures)["positive"],
                pytest.approx(group.figures.value),
            )
            for group in grouping.groups
        }
        assert found == {name: tuple(figures) for name, *figures in wanted}
        assert grouping.count == len(wanted)

    def test_over_time(self, rows: Path) -> None:
        line = analyze(rows, time_column="created_at", time_zone="Asia/Kolkata", bucket="day").time
        assert line is not None
        wanted = query_duckdb(
            rows,
            "select strftime(created_at + interval 330 minute, '%Y-%m-%d') as day, count(*) from scored"
            " group by day order by day",
        )
        found = [(one.start, one.figures.rows) for one in line.buckets if one.figures]
        assert found == wanted
        assert any(one.figures is None for one in line.buckets)  # the gap

    def test_same_result_for_every_format(self, rows: Path, tmp_path: Path) -> None:
        table = pq.read_table(rows)
        pq.write_table(table, tmp_path / "one.parquet")
        wanted = analyze(tmp_path / "one.parquet", by=["lang"], time_column="created_at")
        csv = tmp_path / "one.csv"
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            connection.execute(f"copy (select * from '{tmp_path}/one.parquet') to '{csv}' (header)")
        found = analyze(csv, by=["lang"], time_column="created_at")
        assert found.scores.figures == wanted.scores.figures
        assert [shares(one.figures) for one in found.groups[0].groups] == [
            shares(one.figures) for one in wanted.groups[0].groups
        ]
        assert found.words == wanted.words
        assert found.time is not None
        assert wanted.time is not None
        assert [one.figures for one in found.time.buckets] == [one.figures for one in wanted.time.buckets]


class TestTexts:
    def test_quality(self, scored: Path) -> None:
        texts = pq.read_table(EXAMPLES)["text"]
        found = analyze(scored)
        assert found.quality is not None
        assert found.quality.null == texts.null_count
        blank = pc.equal(pc.utf8_trim_whitespace(texts), "")
        assert found.quality.empty == pc.sum(blank).as_py()
        assert found.quality.cut == pc.sum(pc.greater(pc.utf8_length(texts), 1000)).as_py()
        assert found.quality.unknown is not None
        assert 0 < found.quality.unknown < 0.1
        assert found.measured  # the model ships

    def test_strongest_texts_match_a_full_sort(self, rows: Path) -> None:
        found = analyze(rows, texts=5).examples
        assert found is not None
        value = "sentiment_prob_positive::double - sentiment_prob_negative"
        orders = {"positive": f"{value} desc", "negative": value, "uncertain": "sentiment_score"}
        assert [one.kind for one in found] == list(orders)
        for kind, order in orders.items():
            wanted = [
                text for (text,) in query_duckdb(rows, f"select text from scored order by {order} limit 5")
            ]
            (shown,) = (one.rows for one in found if one.kind == kind)
            assert [one.text for one in shown] == wanted
            for one in shown:
                assert pq.read_table(one.file)["text"][one.row].as_py() == one.text

    def test_no_examples_when_none_are_requested(self, rows: Path) -> None:
        found = analyze(rows, texts=0)
        assert found.examples is None
        assert found.words is not None
        assert "day number" not in json.dumps(found.to_dict())

    def test_words_are_typical_of_their_label(self, rows: Path) -> None:
        words = analyze(rows).words
        assert words is not None
        assert {one.label: one.words[0].word for one in words.labels} == {
            "negative": "awful",
            "neutral": "plain",
            "positive": "grand",
        }
        assert all("number" not in [word.word for word in one.words] for one in words.labels)

    def test_without_a_column_of_texts(self, tmp_path: Path) -> None:
        pq.write_table(scored_rows().drop_columns("text"), tmp_path / "a.parquet")
        found = analyze(tmp_path / "a.parquet")
        assert (found.words, found.examples, found.quality) == (None, None, None)
        with pytest.raises(ColumnNotFoundError, match="no column 'texts'"):
            analyze(tmp_path / "a.parquet", text_column="texts")


class TestComparison:
    def test_same_rows_scored_by_another_model(self, tmp_path: Path) -> None:
        texts = scored_rows(300)["text"]
        for name, seed in (("before", 1), ("after", 2)):
            table = scored_rows(300, seed=seed)
            pq.write_table(
                table.set_column(2, "text", texts), tmp_path / f"{name}.parquet", row_group_size=70
            )
        found = analyze(tmp_path / "after.parquet", compare=tmp_path / "before.parquet").comparison
        assert found is not None
        assert found.paired
        before, after = (
            pq.read_table(tmp_path / f"{name}.parquet")["sentiment"].to_pylist()
            for name in ("before", "after")
        )
        assert found.agreement is not None
        assert found.agreement.same == sum(map(str.__eq__, before, after))
        for row, label in enumerate(LABELS):
            for column, other in enumerate(LABELS):
                counted = sum(pair == (label, other) for pair in zip(before, after, strict=True))
                assert found.agreement.counts[row][column] == counted
        for share in found.shares:
            assert share.before == pytest.approx(before.count(share.label) / 300)
            assert share.interval is not None
            assert share.interval[0] <= (share.difference or 0) <= share.interval[1]
        moved = found.agreement.changed
        assert [abs((one.value or 0) - (one.value_before or 0)) for one in moved] == sorted(
            (abs((one.value or 0) - (one.value_before or 0)) for one in moved), reverse=True
        )

    def test_comparison_with_itself(self, rows: Path) -> None:
        found = analyze(rows, compare=rows).comparison
        assert found is not None
        assert found.agreement is not None
        assert (found.agreement.same, found.agreement.kappa) == (5_000, pytest.approx(1))
        assert [one.psi for one in found.drift] == [0, 0, 0]
        assert found.agreement.changed == ()

    @pytest.mark.parametrize(
        ("change", "apart"),
        [
            (lambda table: table.slice(1), "5,000 rows before, 4,999 now|4,999 rows before, 5,000 now"),
            (lambda table: table.take(pa.array(np.arange(5_000)[::-1])), "row 0 has a different text"),
            (lambda table: table.drop_columns("text"), "no text column"),
        ],
    )
    def test_comparison_with_different_rows(
        self, rows: Path, tmp_path: Path, change: Callable[[pa.Table], pa.Table], apart: str
    ) -> None:
        pq.write_table(change(pq.read_table(rows)), tmp_path / "before.parquet")
        found = analyze(rows, compare=tmp_path / "before.parquet").comparison
        assert found is not None
        assert not found.paired
        assert found.agreement is None
        assert found.apart in apart.split("|") or apart in str(found.apart)
        assert found.drift[0].psi < 0.01

    def test_model_with_different_labels(self, rows: Path, tmp_path: Path) -> None:
        table = scored_rows(100)
        two = table.filter(pc.not_equal(table["sentiment"], "neutral")).drop_columns("sentiment_prob_neutral")
        pq.write_table(two, tmp_path / "two.parquet")
        found = analyze(rows, compare=tmp_path / "two.parquet").comparison
        assert found is not None
        assert found.apart == "their labels differ"
        assert {one.what for one in found.drift} == {"labels", "values"}


class TestSeveralModels:
    def test_models_are_reported_separately(self, tmp_path: Path) -> None:
        for number, model in enumerate(("one", "two", "one")):
            pq.write_table(scored_rows(100 + number, model=model), tmp_path / f"{number}.parquet")
        models = analyze(tmp_path).scores.models
        assert [(one.model.name, one.files, one.figures.rows) for one in models] == [
            ("one", 2, 202),
            ("two", 1, 101),
        ]

    def test_models_with_different_labels_are_rejected(self, tmp_path: Path) -> None:
        pq.write_table(scored_rows(), tmp_path / "a.parquet")
        pq.write_table(scored_rows().drop_columns("sentiment_prob_neutral"), tmp_path / "b.parquet")
        with pytest.raises(InputError, match=r"b\.parquet has the labels negative, positive, but"):
            analyze(tmp_path)


class TestDirectories:
    def test_directory_of_inputs_means_the_outputs_next_to_them(self, scored: Path, tmp_path: Path) -> None:
        shutil.copy(EXAMPLES, tmp_path / "tweets.parquet")
        shutil.copy(scored, tmp_path / "tweets.scored.parquet")
        assert analyze(tmp_path).scores.figures.rows == 305

    def test_hive_folders_are_columns(self, tmp_path: Path) -> None:
        for line in ("a", "b"):
            (tmp_path / f"line={line}").mkdir()
            pq.write_table(scored_rows(50), tmp_path / f"line={line}" / "x.parquet")
        (grouping,) = analyze(tmp_path, by=["line"]).groups
        assert [(one.name, one.figures.rows) for one in grouping.groups] == [("a", 50), ("b", 50)]
        assert analyze(tmp_path, where="line = 'b'").scores.figures.rows == 50

    def test_manifest_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        shutil.copy(EXAMPLES, tmp_path / "in")
        score_files(tmp_path / "in", f"{tmp_path}/out/", abstain=0.5)
        found = analyze(tmp_path / "out")
        (manifest,) = found.manifests
        assert (manifest.outputs, manifest.finished, manifest.options["--abstain"]) == (1, True, 0.5)
        assert found.scores.models[0].model.abstain == 0.5
        assert "uncertain" in shares(found.scores.figures)


def test_every_group_lists_every_label(tmp_path: Path) -> None:
    table = scored_rows(200, half=[row % 2 for row in range(200)])
    unsure = pc.and_(pc.less(table["sentiment_score"], 0.6), pc.equal(table["half"], 1))
    label = pc.if_else(unsure, "uncertain", table["sentiment"])
    place = table.schema.get_field_index("sentiment")
    pq.write_table(table.set_column(place, "sentiment", label), tmp_path / "a.parquet")
    (grouping,) = analyze(tmp_path / "a.parquet", by=["half"]).groups
    found = {one.name: shares(one.figures)["uncertain"] for one in grouping.groups}
    assert found == {"0": 0, "1": pc.sum(unsure).as_py()}


class TestFewRows:
    def test_one_row(self, tmp_path: Path) -> None:
        pq.write_table(scored_rows(1), tmp_path / "a.parquet")
        found = analyze(tmp_path / "a.parquet", time_column="created_at", by=["lang"])
        assert found.scores.figures.few
        assert found.scores.figures.value_interval == (-1, 1)
        assert found.time is not None
        assert len(found.time.buckets) == 1

    def test_no_row(self, tmp_path: Path) -> None:
        pq.write_table(scored_rows(0), tmp_path / "a.parquet")
        with pytest.raises(InputNotFoundError, match=r"no rows in .*a\.parquet"):
            analyze(tmp_path / "a.parquet")

    def test_all_null(self, tmp_path: Path) -> None:
        model = sentstream.load("tweets-small", provider="cpu")
        table = model.score([None, "", " "])
        pq.write_table(table.append_column("at", pa.nulls(3)), tmp_path / "a.parquet")
        found = analyze(tmp_path / "a.parquet", time_column="at", by=["at"], compare=tmp_path / "a.parquet")
        assert (found.scores.figures.rows, found.scores.figures.labeled) == (3, 0)
        assert found.scores.figures.shares == ()
        assert found.quality is not None
        assert (found.quality.null, found.quality.empty) == (1, 2)


class TestGroups:
    def test_small_groups_are_combined(self, tmp_path: Path) -> None:
        user = pa.array(np.arange(3_000) % 100)
        pq.write_table(scored_rows(3_000, user=user), tmp_path / "a.parquet")
        (grouping,) = analyze(tmp_path / "a.parquet", by=["user"], top=5).groups
        assert [one.figures.rows for one in grouping.groups] == [30] * 5
        assert (grouping.count, grouping.rest_count, grouping.missed) == (100, 95, 0)
        assert grouping.rest is not None
        assert grouping.rest.rows == 2_850

    def test_many_groups_are_counted_in_bounded_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sentstream.analyze.groups._MOST_GROUPS", 50)
        monkeypatch.setattr("sentstream.analyze.rows.PORTION_ROWS", 500)
        number = np.arange(20_000)
        user = np.where(number % 10 == 0, -1, number)  # one has a tenth of all rows
        pq.write_table(scored_rows(20_000, user=user), tmp_path / "a.parquet")
        (grouping,) = analyze(tmp_path / "a.parquet", by=["user"], top=3).groups
        first = grouping.groups[0]
        assert first.name == "-1"
        assert 2_000 - grouping.missed <= first.figures.rows <= 2_000
        assert grouping.rest is not None
        assert sum(one.figures.rows for one in grouping.groups) + grouping.rest.rows == 20_000

    @pytest.mark.slow
    def test_million_groups_take_bounded_memory(self, tmp_path: Path) -> None:
        rows = 1_000_000
        few = scored_rows(1_000).drop_columns("text")
        many = few.take(pa.array(np.arange(rows) % 1_000))
        many = many.append_column("user", pa.array(np.arange(rows)).cast(pa.string()))
        pq.write_table(many, tmp_path / "a.parquet")
        code = (
            "import sys\nfrom sentstream.analyze import analyze\n"
            "(one,) = analyze(sys.argv[1], by=['user']).groups\nassert one.count >= 100_000"
        )
        assert peak_memory([sys.executable, "-c", code, str(tmp_path / "a.parquet")]) < 700e6


class TestRejections:
    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"time_column": "creatd_at"}, ColumnNotFoundError, "did you mean 'created_at'"),
            ({"time_column": "text"}, ColumnTypeError, "not an ISO 8601 time"),
            ({"time_column": "sentiment_score"}, ColumnTypeError, "is of type float, not a time"),
            ({"by": ["sentiment_score"]}, ColumnTypeError, "cannot be grouped"),
            ({"by": ["lang", "lang"]}, UsageError, "duplicate column"),
            ({"top": 0}, UsageError, "top must be from 1 to .*, not 0"),
            ({"bucket": "day"}, UsageError, "no time column"),
            ({"prefix": "mood"}, ColumnNotFoundError, "no column 'mood'.*--prefix sentiment"),
            ({"where": "lang = 'xx'"}, InputNotFoundError, "no row in .* matches --where"),
            ({"where": "language = 'xx'"}, ColumnNotFoundError, "no column 'language'"),
            ({"model": "tweets-small"}, BundleDigestError, "tweets-small is sha256"),
        ],
    )
    def test_errors_are_one_line(
        self, rows: Path, options: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words) as caught:
            analyze(rows, **options)
        assert "\n" not in str(caught.value)

    def test_unscored_input(self) -> None:
        with pytest.raises(ColumnNotFoundError, match=r"is not scored.*sentstream score .*tweets\.parquet"):
            analyze(EXAMPLES)

    def test_without_probabilities(self, tmp_path: Path) -> None:
        table = scored_rows().drop_columns([f"sentiment_prob_{label}" for label in LABELS])
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(ColumnNotFoundError, match="no columns sentiment_prob_…"):
            analyze(tmp_path / "a.parquet")

    def test_invalid_labels_and_probabilities(self, tmp_path: Path) -> None:
        table = scored_rows(10)
        place = table.schema.get_field_index("sentiment")
        pq.write_table(table.set_column(place, "sentiment", pa.array(["joy"] * 10)), tmp_path / "a.parquet")
        with pytest.raises(InputFormatError, match="contains 'joy'"):
            analyze(tmp_path / "a.parquet")
        place = table.schema.get_field_index("sentiment_prob_neutral")
        odd = table.set_column(place, "sentiment_prob_neutral", pa.array([7.0] * 10))
        pq.write_table(odd, tmp_path / "a.parquet")
        with pytest.raises(InputFormatError, match="a probability of 7"):
            analyze(tmp_path / "a.parquet")


def report(*arguments: object) -> int:
    return main(["report", *map(str, arguments)])


class TestCommand:
    def test_page_json_and_csv_agree(
        self, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page, tables = tmp_path / "new" / "report.html", tmp_path / "tables"
        options = ["--time-column", "created_at", "--by", "lang", "--by", "author.verified"]
        assert report(scored, *options, "--output", page, "--csv", tables, "--json") == 0
        data = json.loads(capsys.readouterr().out)
        assert data == json.loads(json.dumps(analyze(scored, time_column="created_at",
                                                     by=["lang", "author.verified"]).to_dict()))  # fmt: skip
        assert page.stat().st_size < 1_500_000
        assert "Most" not in page.read_text("utf-8")
        value = f"{data['scores']['figures']['value']:+.2f}".replace("-", "−")
        assert value in page.read_text("utf-8")
        assert sorted(path.name for path in tables.iterdir()) == [
            "by-1-lang.csv",
            "by-2-author.verified.csv",
            "labels.csv",
            "time.csv",
            "words.csv",
        ]
        with duckdb.connect() as connection:
            (found,) = connection.execute(
                f"select sum(negative_rows), sum(labeled) from '{tables}/by-1-lang.csv'"
            ).fetchall()
        negative = data["scores"]["figures"]["shares"][0]["rows"]
        rest = data["groups"][0]["rest"]
        assert found == (negative - rest["shares"][0]["rows"], 299 - rest["labeled"])

    def test_terminal_tables(self, scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert report(scored, "--by", "lang", "--compare", scored) == 0
        shown = capsys.readouterr().out
        for words in (
            "mean value",
            "By lang",
            "Words that set",
            "Most uncertain",
            "100.0 % of 299 rows keep",
        ):
            assert words in shown

    def test_texts_are_omitted_on_request(
        self, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert report(scored, "--no-texts", "-o", tmp_path / "a.html") == 0
        page = (tmp_path / "a.html").read_text("utf-8") + capsys.readouterr().out
        texts = [text for text in pq.read_table(EXAMPLES)["text"].to_pylist() if text and len(text) > 30]
        assert not any(text[:30] in page for text in texts)

    def test_markup_in_texts_is_escaped(self, tmp_path: Path) -> None:
        table = scored_rows(40)
        hostile = "<script>alert(1)</script> \u202e drawkcab \x07 </style>"
        pq.write_table(
            table.set_column(table.schema.get_field_index("text"), "text", pa.array([hostile] * 40)),
            tmp_path / "a.parquet",
        )
        assert report(tmp_path / "a.parquet", "-o", tmp_path / "a.html") == 0
        page = (tmp_path / "a.html").read_text("utf-8")
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "\u202e" not in page
        assert "\x07" not in page

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["-"], 2, "report cannot read standard input"),
            (["{scored}", "-o", "{folder}"], 20, "is a directory"),
            (["{scored}", "-o", "{scored}"], 20, "already exists"),
            (["{scored}", "-o", "{scored}/x.html"], 21, "is not a directory"),
            (["{folder}/nothing.parquet"], 10, "does not exist"),
            (["{scored}", "--time-column", "id"], 13, "--time-format unix"),
            (
                ["{scored}", "--time-column", "text", "--time-format", "%d/%m/%Y"],
                13,
                "--time-format '%d/%m/%Y'",
            ),
        ],
    )
    def test_invalid_options_give_one_line(
        self,
        arguments: list[str],
        code: int,
        words: str,
        scored: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert report(*(one.format(scored=scored, folder=tmp_path) for one in arguments)) == code
        output = capsys.readouterr().err
        assert words in output
        assert output.count("\n") == 1

    def test_disk_full_while_writing_the_page(
        self, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A write fails halfway, as on a full disk, and no file gets the final name."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            assert report(scored, "-o", tmp_path / "a.html") == 21
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert "cannot be written" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_page_stays_small_with_a_thousand_groups(self, tmp_path: Path) -> None:
        user = pa.array(np.arange(40_000) % 1_000)
        pq.write_table(scored_rows(40_000, user=user), tmp_path / "a.parquet")
        page = tmp_path / "a.html"
        assert report(tmp_path / "a.parquet", "--by", "user", "--top", "1000", "-o", page) == 0
        assert page.stat().st_size < 1_500_000


def test_reads_and_writes_object_storage(s3_here: LocalS3, capsys: pytest.CaptureFixture[str]) -> None:
    folder = s3_here.folder / s3_here.bucket / "scored" / "day=2026-09-01"
    folder.mkdir(parents=True)
    pq.write_table(scored_rows(500), folder / "a.parquet")
    target = f"s3://{s3_here.bucket}/pages/report.html"
    assert report(f"s3://{s3_here.bucket}/scored/", "--by", "day", "--by", "lang", "-o", target) == 0
    assert "By day" in (s3_here.folder / s3_here.bucket / "pages" / "report.html").read_text("utf-8")
    assert report(f"s3://{s3_here.bucket}/scored/", "-o", target) == 20
    assert "already exists" in capsys.readouterr().err


def test_csv_example_becomes_a_page(scored: Path, tmp_path: Path) -> None:
    csv = tmp_path / "tweets.csv"
    with duckdb.connect() as connection:
        connection.execute(f"copy (select id, created_at, lang, text from '{scored}') to '{csv}' (header)")
    output_of([ROOT / "examples" / "csv_to_report.sh", csv, tmp_path])
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "By lang" in page
    assert "Over time" in page


def test_value_column_is_optional(tmp_path: Path) -> None:
    score_files(EXAMPLES, tmp_path / "a.parquet")
    score_files(EXAMPLES, tmp_path / "b.parquet", value=True)
    plain, valued = pq.read_table(tmp_path / "a.parquet"), pq.read_table(tmp_path / "b.parquet")
    assert valued.column_names[-1] == "sentiment_value"
    assert valued.drop_columns("sentiment_value").equals(plain)
    value = pc.subtract(plain["sentiment_prob_positive"], plain["sentiment_prob_negative"])
    assert valued["sentiment_value"].equals(value)
    one = sentstream.load(provider="cpu").scorer(value=True).score(pa.record_batch({"text": ["so good"]}))
    assert one.batch["sentiment_value"].type == pa.float32()
    assert -1 <= one.batch["sentiment_value"][0].as_py() <= 1


def test_analysis_is_json_serializable(rows: Path) -> None:
    found = analyze(rows, by=["lang"], time_column="created_at")
    assert isinstance(found, Analysis)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["labels"] == list(LABELS)


def test_long_group_names_are_truncated(tmp_path: Path) -> None:
    """Names with the same beginning become one group."""
    names = ["é" * 119 + "a", "é" * 119 + "b" * 300, "é" * 119 + "c" * 300, None]
    pq.write_table(scored_rows(400, group=pa.array(names * 100)), tmp_path / "scored.parquet")
    (grouping,) = analyze(tmp_path / "scored.parquet", by=["group"]).groups
    found = {group.name: group.figures.rows for group in grouping.groups}
    assert found == {"é" * 119 + "a": 100, "é" * 119 + "…": 200, None: 100}
