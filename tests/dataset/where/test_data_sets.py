"""``--where`` on folders and row groups: the same rows, without reading what cannot match."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle

from sentstream.dataset import Report, prepare, score_plan
from sentstream.dataset.folders import Folders, folder_values
from sentstream.errors import (
    ColumnNotFoundError,
    ColumnTypeError,
    InputFormatError,
    InputNotFoundError,
    OutputExistsError,
    UsageError,
)

DAYS = ["2026-08-31", "2026-09-01", "2026-09-02", "__HIVE_DEFAULT_PARTITION__"]
LANGS = ["en", "de", "S%C3%A3o Paulo"]
HOURS = ["07", "12"]


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 files in three levels of folders, each with 30 rows in row groups of ten."""
    root = tmp_path_factory.mktemp("hive")
    rows = random.Random(0)
    number = 0
    for lang in LANGS:
        for day in DAYS:
            for hour in HOURS:
                path = root / "in" / f"lang={lang}" / f"day={day}" / f"hour={hour}" / "part-0.parquet"
                path.parent.mkdir(parents=True)
                ids = list(range(number, number + 30))
                texts = [rows.choice(["i love you", "so bad", None]) for _ in ids]
                table = pa.table(
                    {"id": ids, "text": texts, "likes": [rows.choice([0, 5, None]) for _ in ids]}
                )
                pq.write_table(table, path, row_group_size=10, write_page_checksum=True)
                number += 30
    return root


def run(folder: Path, output: Path, bundle: str, where: str | None, **options: Any) -> Report:
    chosen = {"model": bundle, "provider": "cpu", "threads": 1, **options}
    with prepare([str(folder / "in")], output=f"{output}/", where=where, **chosen) as plan:
        return score_plan(plan)


def ids(output: Path) -> list[int]:
    found = [pq.read_table(path, partitioning=None)["id"].to_pylist() for path in output.rglob("*.parquet")]
    return sorted(one for part in found for one in part)


class TestHiveFolders:
    @pytest.mark.parametrize(
        "where",
        [
            "lang = 'en'",
            "lang = 'en' and day >= '2026-09-01'",
            "lang <> 'en' and hour < 12",
            "hour = '07' or likes = 5",
            "day is null",
            "day is not null and not day in ('2026-09-01')",
            "lang in ('de', 'São Paulo') and likes is null and id < 500",
            "day > '2026-09-01' or (lang = 'de' and likes > 0)",
            "lower(lang) like 's_o%' and hour between 8 and 20",
            "not (lang = 'en' or day = '2026-09-01')",
            "length(lang) < hour",
            "text like '%love%' and hour = 7",
            "id = 17",
        ],
    )
    def test_same_rows_as_duckdb(self, folder: Path, bundle: str, tmp_path: Path, where: str) -> None:
        report = run(folder, tmp_path / "out", bundle, where)
        types = "{'hour': BIGINT}"  # which DuckDB takes for text, for its zeros
        with duckdb.connect() as duck:
            files = (
                f"read_parquet('{folder}/in/**/*.parquet', hive_partitioning = true, hive_types = {types})"
            )
            expected = duck.execute(f"SELECT id FROM {files} WHERE {where} ORDER BY id").fetchall()
            pruned = duck.execute(f"SELECT count(*) FROM {files}").fetchall()
        assert ids(tmp_path / "out") == [row for (row,) in expected]
        assert report.tally.rows == len(expected)
        opened = sum(file.rows for file in report.plan.files)
        assert report.tally.rows + report.left_out == opened <= pruned[0][0]

    def test_rows_score_as_without_where(self, folder: Path, bundle: str, tmp_path: Path) -> None:
        run(folder, tmp_path / "all", bundle, None)
        run(folder, tmp_path / "some", bundle, "likes = 5 and lang = 'en'", threads=3, batch_rows=7)
        name = "lang=en/day=2026-09-01/hour=07/part-0.parquet"
        every, some = (pq.read_table(tmp_path / one / name, partitioning=None) for one in ("all", "some"))
        assert 0 < len(some) < len(every)
        wanted = set(some["id"].to_pylist())
        mask = pa.array([one in wanted for one in every["id"].to_pylist()])
        assert some.equals(every.filter(mask), check_metadata=True)

    def test_files_in_other_folders_are_not_opened(self, folder: Path, bundle: str, tmp_path: Path) -> None:
        """A file there may be corrupt, and its output may be there already."""
        root = tmp_path / "in"
        for lang, good in (("en", True), ("de", False)):
            path = root / f"lang={lang}" / "a.parquet"
            path.parent.mkdir(parents=True)
            path.write_bytes(
                (folder / "in/lang=en/day=2026-09-01/hour=07/part-0.parquet").read_bytes()
                if good
                else b"PAR1 no"
            )
        for place in ("out", "refused"):
            taken = tmp_path / place / "lang=de/a.parquet"
            taken.parent.mkdir(parents=True)
            taken.write_bytes(b"before")
        report = run(tmp_path, tmp_path / "out", bundle, "lang = 'en'")
        assert report.tally.rows == 30
        assert (tmp_path / "out/lang=de/a.parquet").read_bytes() == b"before"
        with pytest.raises(OutputExistsError, match="lang=de"):
            run(tmp_path, tmp_path / "refused", bundle, "lang = 'de'")
        with pytest.raises(InputFormatError, match="lang=de"):
            run(tmp_path, tmp_path / "other", bundle, "lang = 'de' or id = 5")

    def test_file_without_matching_rows_has_an_empty_output(
        self, folder: Path, bundle: str, tmp_path: Path
    ) -> None:
        run(folder, tmp_path / "out", bundle, "lang = 'en' and hour = 7 and id < 0")
        outputs = list((tmp_path / "out").rglob("*.parquet"))
        assert len(outputs) == len(DAYS)
        for output in outputs:
            assert pq.read_table(output, partitioning=None).num_rows == 0
            assert pq.read_schema(output).names[:4] == ["id", "text", "likes", "sentiment"]

    @pytest.mark.parametrize(
        ("where", "error", "message"),
        [
            (
                "lang = 'es'",
                InputNotFoundError,
                "no file matches --where lang = 'es' (the folders are lang=São",
            ),
            ("day > 5", ColumnTypeError, "folder column 'day' of type date32[day]"),
            ("hour = 'x'", ColumnTypeError, "folder column 'hour' of type int64"),
            ("lnag = 'en'", ColumnNotFoundError, "part-0.parquet: no column 'lnag'; did you mean 'lang'"),
            (
                "likes = 'x'",
                ColumnTypeError,
                "part-0.parquet: --where: likes = 'x': column 'likes' of type int64",
            ),
            ("lang = 'en' and", UsageError, "something is missing near 'and'"),
        ],
    )
    def test_errors_come_before_any_work(
        self, folder: Path, bundle: str, tmp_path: Path, where: str, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error) as raised:
            run(folder, tmp_path / "out", bundle, where)
        assert message in str(raised.value)
        assert not (tmp_path / "out").exists()

    def test_folder_columns_in_the_condition(self, folder: Path, bundle: str, tmp_path: Path) -> None:
        run(folder, tmp_path / "out", bundle, "id = 31", columns=["hour", "id", "day", "lang"])
        name = "lang=en/day=2026-08-31/hour=12/part-0.parquet"
        table = pq.read_table(tmp_path / "out" / name, partitioning=None)
        assert table.schema.names[:5] == ["hour", "id", "day", "lang", "sentiment"]
        assert table.schema.types[:4] == [pa.int64(), pa.int64(), pa.date32(), pa.string()]
        assert table.to_pylist()[0]["hour"] == 12

    def test_types_come_from_all_files(self) -> None:
        assert Folders(["a=1/b=x/f", "a=2/b=2/f"]).types == {"a": pa.int64(), "b": pa.string()}
        assert Folders(["d=2026-09-01/f", "d=2026-02-30/f"]).types == {"d": pa.string()}
        assert Folders(["d=2026-09-01/f", f"d={DAYS[-1]}/f"]).types == {"d": pa.date32()}
        assert Folders([f"d={DAYS[-1]}/f"]).of(f"d={DAYS[-1]}/f")["d"].equals(pa.scalar(None, pa.string()))
        assert folder_values("s3://b/a%3D=%2F%FF/x=y=z/=1/w=/f=g") == {"a=": "/\ufffd", "x": "y=z", "w": ""}
        assert folder_values("\udcff=\udcff/f") == {"\ufffd": "\ufffd"}


class TestRowGroups:
    def test_texts_of_non_matching_row_groups_are_not_read(self, bundle: str, tmp_path: Path) -> None:
        path = tmp_path / "in/a.parquet"
        path.parent.mkdir()
        table = pa.table({"id": range(30), "text": ["love"] * 10 + ["PRICELESS" * 9] * 10 + ["hate"] * 10})
        pq.write_table(
            table, path, row_group_size=10, write_page_checksum=True, compression="none", use_dictionary=False
        )
        data = path.read_bytes()
        assert data.count(b"PRICELESS" * 9) >= 10
        path.write_bytes(data.replace(b"PRICELESS" * 9 + b"U", b"x" * 82).replace(b"SPRICE", b"sPRICE"))
        with pytest.raises(InputFormatError, match="row group 1"):
            run(tmp_path, tmp_path / "out", bundle, None)
        with pytest.raises(InputFormatError, match="row group 1"):
            run(tmp_path, tmp_path / "out", bundle, "id = 15")
        report = run(tmp_path, tmp_path / "out", bundle, "id < 10 or id >= 20", columns=["id"])
        assert (report.tally.rows, report.left_out) == (20, 10)
        assert ids(tmp_path / "out") == [*range(10), *range(20, 30)]

    def test_wrong_statistics_do_not_lose_rows(self, bundle: str, tmp_path: Path) -> None:
        """The minimum and maximum in a footer may be wrong, as another program wrote them."""
        path = tmp_path / "in/a.parquet"
        path.parent.mkdir()
        marks = [1234567890123456789, 1234567890123456790]
        table = pa.table({"id": pa.array(marks, pa.int64()), "text": ["love", "hate"]})
        pq.write_table(table, path, compression="none", use_dictionary=False)
        data = path.read_bytes()
        place = data.rindex(b"PAR1", 0, -4) if data.count(b"PAR1") > 2 else 0
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        assert place < footer
        wrong = data[:footer] + data[footer:].replace(
            marks[1].to_bytes(8, "little"), marks[0].to_bytes(8, "little")
        )
        assert wrong != data
        path.write_bytes(wrong)
        assert pq.ParquetFile(path).metadata.row_group(0).column(0).statistics.max == marks[0]
        run(tmp_path, tmp_path / "out", bundle, f"id = {marks[1]}")
        assert ids(tmp_path / "out") == [marks[1]]


def test_parser_is_imported_only_for_where(folder: Path, bundle: str, tmp_path: Path) -> None:
    program = (
        "import sys; from sentstream.dataset import prepare, score_plan\n"
        "with prepare(sys.argv[1:2], output=sys.argv[2], model=sys.argv[3], provider='cpu') as plan:\n"
        "    score_plan(plan)\n"
        "sys.exit('sqlglot' in sys.modules)"
    )
    one = folder / "in/lang=en/day=2026-09-01/hour=07/part-0.parquet"
    arguments = [str(one), str(tmp_path / "out.parquet"), bundle]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)


class TestUntypedFiles:
    """CSV: what is compared with a number is read as numbers."""

    CSV = "\n".join(
        [
            "id,text,likes,day",
            "1,love,5,2026-09-01",
            "1764538765931446273,hate, 10,2026-08-01",
            "3,love,,",
            "4,hate,1e2,",
        ]
    )

    @pytest.mark.parametrize(
        ("where", "rows"),
        [
            ("likes > 5", ["1764538765931446273", "4"]),
            ("likes in (10, 100.0, NULL)", ["1764538765931446273", "4"]),
            ("likes not between 5 and 10", ["4"]),
            ("id > 1764538765931446272", ["1764538765931446273"]),
            ("likes is null and day is null", ["3"]),
            ("day >= '2026-09-01'", ["1"]),
            ("likes = '5'", ["1"]),
            ("length(text) = 4 and not 5 >= likes", ["1764538765931446273", "4"]),
        ],
    )
    def test_rows(self, bundle: str, tmp_path: Path, where: str, rows: list[str]) -> None:
        (tmp_path / "a.csv").write_text(self.CSV)
        options: dict[str, Any] = {"model": bundle, "provider": "cpu", "where": where}
        with prepare([str(tmp_path / "a.csv")], output=str(tmp_path / "b.csv"), **options) as plan:
            score_plan(plan)
        lines = (tmp_path / "b.csv").read_text().splitlines()[1:]
        assert [line.partition(",")[0] for line in lines] == rows

    @pytest.mark.parametrize(
        ("where", "error", "message"),
        [
            ("day > 5", InputFormatError, "a.csv: column 'day' holds '2026-09-01', which is not a number"),
            ("id < likes", ColumnTypeError, "have no types in this format"),
            ("text", ColumnTypeError, "is not a condition"),
        ],
    )
    def test_errors(
        self, bundle: str, tmp_path: Path, where: str, error: type[Exception], message: str
    ) -> None:
        (tmp_path / "a.csv").write_text(self.CSV)
        options: dict[str, Any] = {"model": bundle, "provider": "cpu", "where": where}
        with (
            pytest.raises(error) as raised,
            prepare([str(tmp_path / "a.csv")], output=str(tmp_path / "b.csv"), **options) as plan,
        ):
            score_plan(plan)
        assert message in str(raised.value)
        assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
