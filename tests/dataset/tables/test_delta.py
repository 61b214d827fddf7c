"""Delta tables: exactly the rows of one version."""

from __future__ import annotations

import base64
import datetime
import json
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from data_sets import PIECES, run, stop, tree
from deltalake import DeltaTable, write_deltalake
from deltalake.schema import Field, PrimitiveType
from pyroaring import BitMap

from sentstream.cli import main
from sentstream.dataset import prepare, score_plan
from sentstream.dataset.formats import api
from sentstream.dataset.verify import verify
from sentstream.errors import (
    InputFormatError,
    InputNotFoundError,
    MissingExtraError,
    ResumeError,
    UsageError,
)
from tools.local_stores import LocalS3

#: ZeroMQ's alphabet of base 85, in which a log holds what is small (RFC 32).
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


def rows(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "text": [f"so {'good' if number % 3 else 'bad'} {number}" for number in numbers],
            "lang": [("en", "de", None, "a/b c")[number % 4] for number in numbers],
            "day": [datetime.date(2026, 9, 1 + number % 2) for number in numbers],
        }
    )


@pytest.fixture(name="table")
def _table(tmp_path: Path) -> Path:
    """Three versions; in the third some rows of the first are gone."""
    place = tmp_path / "table"
    write_deltalake(place, rows(0, 40), partition_by=["lang"])
    write_deltalake(place, rows(40, 20), partition_by=["lang"], mode="append")
    DeltaTable(place).delete("id >= 10 AND id < 20")
    return place


def scored(output: Path) -> pa.Table:
    """All rows of the outputs, in the order of their ids, with the columns of the folders."""
    hive = ds.partitioning(pa.schema({"lang": pa.string()}), flavor="hive")
    found = ds.dataset(output, format="parquet", partitioning=hive).to_table()
    views = [pa.types.is_string_view(kind) for kind in found.schema.types]  # which pyarrow cannot sort
    columns = [
        column.cast(pa.string()) if is_view else column
        for column, is_view in zip(found.columns, views, strict=True)
    ]
    return pa.table(columns, found.column_names).sort_by("id")


def edit_log(table: Path, version: int, change: Any) -> None:
    """Change the actions of a commit, to write what only other writers write."""
    path = table / "_delta_log" / f"{version:020}.json"
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(action) + "\n" for action in change(actions)))


class TestSnapshots:
    def test_latest_and_other_snapshots(self, table: Path, tmp_path: Path, bundle: str) -> None:
        for version, ids in (
            (None, [*range(10), *range(20, 60)]),
            (0, range(40)),
            (1, range(60)),
            (2, [*range(10), *range(20, 60)]),
        ):
            run(table, tmp_path / f"out{version}", bundle, snapshot=version)
            found = scored(tmp_path / f"out{version}")
            assert found["id"].to_pylist() == [*ids]
            assert found["lang"].to_pylist() == [("en", "de", None, "a/b c")[number % 4] for number in ids]
        assert pq.read_schema(next((tmp_path / "out0").rglob("*.parquet"))).names[:3] == ["id", "text", "day"]

    def test_partition_columns(self, table: Path, tmp_path: Path, bundle: str) -> None:
        run(table, tmp_path / "out", bundle, where="lang = 'de' and id > 30", columns=["lang", "id"])
        found = ds.dataset(tmp_path / "out", format="parquet").to_table().sort_by("id")
        assert found.column_names[:2] == ["lang", "id"]
        assert found["id"].to_pylist() == list(range(33, 60, 4))
        assert {*found["lang"].to_pylist()} == {"de"}

    def test_output_next_to_the_table(
        self,
        table: Path,
        bundle: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SENTSTREAM_SCORE_TABLE", "delta")
        assert main(["score", "--model", bundle, str(table), "--snapshot", "0", "--json"]) == 0
        about = json.loads(capsys.readouterr().out)
        assert about["rows"] == 40
        assert [*about["snapshots"].values()] == [0]
        assert scored(table.with_name("table.scored")).num_rows == 40

    def test_checkpoint(self, table: Path, tmp_path: Path, bundle: str) -> None:
        DeltaTable(table).create_checkpoint()
        write_deltalake(table, rows(60, 4), partition_by=["lang"], mode="append")
        run(table, tmp_path / "out", bundle)
        assert scored(tmp_path / "out").num_rows == 54

    def test_snapshot_is_pinned_for_the_run(self, table: Path, tmp_path: Path, bundle: str) -> None:
        """The table changes meanwhile; an interrupted run keeps its snapshot unless told otherwise."""
        run(table, tmp_path / "whole", bundle)
        stop(table, tmp_path / "out", bundle, 20)
        write_deltalake(table, rows(60, 20), partition_by=["lang"], mode="append")
        with pytest.raises(ResumeError, match="was started with --snapshot 2, not 3"):
            run(table, tmp_path / "out", bundle, resume=True, snapshot=3)
        run(table, tmp_path / "out", bundle, resume=True)
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")
        assert not verify(tmp_path / "out", inputs=[str(table)], sample=20, model=bundle).findings
        for number in (1, 2):
            run(table, tmp_path / "shards", bundle, shard=f"{number}/2", snapshot=2)
            write_deltalake(table, rows(80, 4), partition_by=["lang"], mode="append")
        assert tree(tmp_path / "shards") == tree(tmp_path / "whole")
        run(table, tmp_path / "out", bundle, overwrite=True)
        assert scored(tmp_path / "out").num_rows == 78

    def test_table_on_s3(
        self,
        table: Path,
        tmp_path: Path,
        bundle: str,
        s3_here: LocalS3,
    ) -> None:
        delete_rows(table, 2, [0], inline=False)
        DeltaTable(table).create_checkpoint()
        shutil.copytree(table, s3_here.folder / "delta" / "table")
        run(table, tmp_path / "whole", bundle)
        for given, below in (("s3://delta/table", ""), ("s3://delta/ta*", "table")):
            with prepare([given], output=f"{tmp_path / 'out' / given[-2:]}/", model=bundle) as plan:
                assert score_plan(plan).tally.rows == 49
            found = scored(tmp_path / "out" / given[-2:] / below)
            assert found["id"].equals(scored(tmp_path / "whole")["id"])


def delete_rows(table: Path, version: int, rows: Sequence[int], *, inline: bool) -> set[int]:
    """Delete rows of a file by a vector, as Spark does: see Delta's PROTOCOL.md, "Deletion Vectors".

    Returns:
        Their ids.
    """
    bits = BitMap(rows).serialize()
    data = struct.pack("<iqi", 1681511377, 1, 0) + bits
    name = next(iter(sorted(pa.table(DeltaTable(table).get_add_actions())["path"].to_pylist())))
    vector: dict[str, Any] = {"sizeInBytes": len(data), "cardinality": len(rows)}
    if inline:
        data += b"\0" * (-len(data) % 4)
        text = base64.b85encode(data).decode().translate(str.maketrans(_B85, _Z85))
        vector |= {"storageType": "i", "pathOrInlineDv": text}
    else:
        packed = b"\1" + struct.pack(">i", len(data)) + data + struct.pack(">I", zlib.crc32(data))
        (table / "deletion_vector_00000000-0000-0000-0000-000000000001.bin").write_bytes(packed)
        number = (b"\0" * 15) + b"\1"
        text = base64.b85encode(number).decode().translate(str.maketrans(_B85, _Z85))
        vector |= {"storageType": "u", "pathOrInlineDv": text, "offset": 1}

    def change(actions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        old = next(
            action["add"]
            for number in range(version + 1)
            for action in map(
                json.loads, (table / "_delta_log" / f"{number:020}.json").read_text().splitlines()
            )
            if action.get("add", {}).get("path") == name
        )
        protocol = {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"],
            "writerFeatures": ["deletionVectors"],
        }
        remove = {"path": name, "deletionTimestamp": 0, "dataChange": True}
        return [
            {"protocol": protocol},
            {"remove": remove},
            {"add": {**old, "deletionVector": vector, "dataChange": True}},
        ]

    log = table / "_delta_log" / f"{version + 1:020}.json"
    log.write_text("")
    edit_log(table, version + 1, change)
    ids = pq.ParquetFile(table / name.replace("%25", "%")).read()["id"].to_pylist()
    return {ids[index] for index in rows}


class TestDeletionVectors:
    @pytest.mark.parametrize("inline", [True, False])
    @pytest.mark.parametrize("pieces", [{}, PIECES | {"PIECE_ROWS": 1}])
    def test_deleted_rows(
        self,
        tmp_path: Path,
        bundle: str,
        inline: bool,
        pieces: dict[str, int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """In files of one piece and of several, with and without a condition."""
        for name, value in pieces.items():
            monkeypatch.setattr(api, name, value)
        table = tmp_path / "table"
        write_deltalake(table, rows(0, 300), writer_properties=None)
        path = table / pa.table(DeltaTable(table).get_add_actions())["path"][0].as_py()
        pq.write_table(pq.ParquetFile(path).read(), path, row_group_size=64)
        edit_log(table, 0, lambda actions: [_resized(action, path) for action in actions])
        gone = delete_rows(table, 0, [0, 63, 64, 65, *range(128, 192), 299], inline=inline)
        report = run(table, tmp_path / "out", bundle, batch_rows=50)
        assert scored(tmp_path / "out")["id"].to_pylist() == [one for one in range(300) if one not in gone]
        assert report.tally.rows == report.plan.rows == 300 - len(gone)
        run(table, tmp_path / "some", bundle, where="id > 60 and id < 250 and id <> 100")
        wanted = [one for one in range(61, 250) if one not in gone and one != 100]
        assert scored(tmp_path / "some")["id"].to_pylist() == wanted
        assert not verify(tmp_path / "out", inputs=[str(table)], sample=100, model=bundle).findings

    def test_shards(self, tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in PIECES.items():
            monkeypatch.setattr(api, name, value)
        table = tmp_path / "table"
        write_deltalake(table, rows(0, 300))
        gone = delete_rows(table, 0, range(20, 100), inline=True)
        for number in (1, 2):
            run(table, tmp_path / "out", bundle, shard=f"{number}/2")
        assert len(scored(tmp_path / "out")) == 300 - len(gone)


def _resized(action: dict[str, Any], path: Path) -> dict[str, Any]:
    if "add" in action:
        action["add"]["size"] = path.stat().st_size
    return action


class TestColumns:
    def test_added_column_is_null_in_older_files(self, tmp_path: Path, bundle: str) -> None:
        table = tmp_path / "table"
        write_deltalake(table, rows(0, 5).select(["id", "text"]))
        more = rows(5, 5).select(["id", "text"]).append_column("stars", pa.array([1, 2, 3, 4, 5], pa.int32()))
        write_deltalake(table, more, mode="append", schema_mode="merge")
        run(table, tmp_path / "out", bundle)
        found = scored(tmp_path / "out")
        assert found["stars"].to_pylist() == [None] * 5 + [1, 2, 3, 4, 5]
        run(table, tmp_path / "some", bundle, where="stars IS NULL", columns=["stars"])
        assert ds.dataset(tmp_path / "some").to_table()["stars"].to_pylist() == [None] * 5
        DeltaTable(table).alter.add_columns([Field("note", PrimitiveType("string"))])
        run(table, tmp_path / "new", bundle, text_column="note")
        assert scored(tmp_path / "new")["sentiment"].null_count == 10

    def test_column_mapping(self, table: Path, tmp_path: Path, bundle: str) -> None:
        """Column mapping: a rename does not touch the files."""
        edit_log(table, 0, mapped)
        run(table, tmp_path / "out", bundle, snapshot=0, text_column="new text", where="`new id` < 30")
        found = ds.dataset(tmp_path / "out", format="parquet").to_table().sort_by("new id")
        assert found.column_names[:4] == ["new id", "new text", "new lang", "new day"]
        assert found["new id"].to_pylist() == list(range(30))
        assert found["new lang"].to_pylist() == rows(0, 30)["lang"].to_pylist()

    def test_partition_value_only_in_the_log(self, table: Path, tmp_path: Path, bundle: str) -> None:
        """Files need not be in folders named after their values."""

        def moved(actions: list[dict[str, Any]]) -> list[dict[str, Any]]:
            for number, action in enumerate(actions):
                if "add" in action:
                    path = table / action["add"]["path"].replace("%25", "%")
                    action["add"]["path"] = f"file-{number}.parquet"
                    path.rename(table / action["add"]["path"])
            return actions

        edit_log(table, 0, moved)
        run(table, tmp_path / "out", bundle, snapshot=0)
        found = ds.dataset(tmp_path / "out", format="parquet").to_table().sort_by("id")
        assert found.column_names[:4] == ["id", "text", "lang", "day"]
        assert found["lang"].to_pylist() == rows(0, 40)["lang"].to_pylist()
        run(table, tmp_path / "some", bundle, snapshot=0, where="lang = 'en'", partition_by=["lang"])
        assert scored(tmp_path / "some")["id"].to_pylist() == list(range(0, 40, 4))


def mapped(actions: list[dict[str, Any]], mode: str = "name") -> list[dict[str, Any]]:
    """Columns that were renamed, to ``new …``: the files have the old names, and so has the log."""

    def renamed(fields: list[dict[str, Any]]) -> None:
        for number, field in enumerate(fields, start=1):
            field["metadata"] = {
                "delta.columnMapping.physicalName": field["name"],
                "delta.columnMapping.id": number + 100 * len(fields),
            }
            field["name"] = f"new {field['name']}"
            if isinstance(field["type"], dict):
                renamed(field["type"]["fields"])

    for action in actions:
        if "metaData" in action:
            about = action["metaData"]
            about["configuration"] = {
                "delta.columnMapping.mode": mode,
                "delta.columnMapping.maxColumnId": "999",
            }
            schema = json.loads(about["schemaString"])
            renamed(schema["fields"])
            about["schemaString"] = json.dumps(schema)
            about["partitionColumns"] = [f"new {name}" for name in about["partitionColumns"]]
        if "protocol" in action:
            action["protocol"] = {"minReaderVersion": 2, "minWriterVersion": 5}
    return actions


class TestRejected:
    def test_column_mapping_by_id(self, table: Path, tmp_path: Path, bundle: str) -> None:
        edit_log(table, 0, lambda actions: mapped(actions, "id"))
        with pytest.raises(InputFormatError, match=r"delta\.columnMapping\.mode = id"):
            run(table, tmp_path / "out", bundle)

    def test_mapped_nested_fields(self, tmp_path: Path, bundle: str) -> None:
        table = tmp_path / "table"
        inner = pa.array([{"a": 1}], pa.struct([("a", pa.int64())]))
        write_deltalake(table, pa.table({"text": ["x"], "inner": inner}))
        edit_log(table, 0, mapped)
        with pytest.raises(
            InputFormatError, match="the field 'new a' in column 'new inner' has another name"
        ):
            run(table, tmp_path / "out", bundle)

    def test_unknown_reader_feature(self, table: Path, tmp_path: Path, bundle: str) -> None:
        def newer(actions: list[dict[str, Any]]) -> list[dict[str, Any]]:
            for action in actions:
                if "protocol" in action:
                    action["protocol"] = {
                        "minReaderVersion": 3,
                        "minWriterVersion": 7,
                        "readerFeatures": ["telepathy"],
                        "writerFeatures": ["telepathy"],
                    }
            return actions

        edit_log(table, 0, newer)
        with pytest.raises(InputFormatError, match="telepathy"):
            run(table, tmp_path / "out", bundle)

    def test_folder_contradicts_the_log(self, table: Path, tmp_path: Path, bundle: str) -> None:
        def lies(actions: list[dict[str, Any]]) -> list[dict[str, Any]]:
            for action in actions:
                if action.get("add", {}).get("partitionValues") == {"lang": "en"}:
                    action["add"]["partitionValues"] = {"lang": "fr"}
            return actions

        edit_log(table, 0, lies)
        with pytest.raises(InputFormatError, match="is in lang=en, but the log says 'fr'"):
            run(table, tmp_path / "out", bundle, snapshot=0)

    def test_missing_data_file(self, table: Path, tmp_path: Path, bundle: str) -> None:
        for path in table.glob("lang=en/*.parquet"):
            path.unlink()
        with pytest.raises(InputNotFoundError, match=r"a file of version 2, is missing \(was it vacuumed"):
            run(table, tmp_path / "out", bundle)

    def test_invalid_versions(self, table: Path, tmp_path: Path, bundle: str) -> None:
        with pytest.raises(InputNotFoundError, match="has no version 3; the latest is 2"):
            run(table, tmp_path / "out", bundle, snapshot=3)
        shutil.copytree(table, tmp_path / "plain", ignore=shutil.ignore_patterns("_delta_log"))
        with pytest.raises(UsageError, match="--snapshot takes one table, but the inputs are 0"):
            run(tmp_path / "plain", tmp_path / "out", bundle, snapshot=1)
        with pytest.raises(InputFormatError, match="is not a Delta table"):
            run(tmp_path / "plain", tmp_path / "out", bundle, table="delta")

    def test_nested_table(self, table: Path, tmp_path: Path, bundle: str) -> None:
        (tmp_path / "all").mkdir()
        table.rename(tmp_path / "all" / "table")
        with pytest.raises(UsageError, match="is a Delta table inside"):
            run(tmp_path / "all", tmp_path / "out", bundle)
        report = run(tmp_path / "all", tmp_path / "out", bundle, table="none")
        assert report.tally.rows > 60  # with those that were deleted, twice

    def test_damaged_log(self, table: Path, tmp_path: Path, bundle: str) -> None:
        (table / "_delta_log" / f"{1:020}.json").write_bytes(b"{")
        with pytest.raises(InputFormatError, match="cannot be read as a Delta table") as caught:
            run(table, tmp_path / "out", bundle)
        assert "\n" not in caught.value.message

    def test_library_is_not_installed(
        self, table: Path, tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "deltalake", None)
        with pytest.raises(MissingExtraError, match="deltalake, which reads its log, is not installed"):
            run(table, tmp_path / "out", bundle)
