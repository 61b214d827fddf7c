"""Iceberg tables: exactly the rows of one snapshot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from data_sets import run, stop, tree
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import IntegerType, LongType, NestedField, StringType

from sentstream.cli import main
from sentstream.dataset import prepare, score_plan
from sentstream.dataset.verify import verify
from sentstream.errors import (
    InputFormatError,
    InputNotFoundError,
    MissingExtraError,
    ResumeError,
)
from tools.local_stores import LocalS3

SCHEMA = Schema(
    NestedField(1, "id", LongType()),
    NestedField(2, "text", StringType()),
    NestedField(3, "lang", StringType()),
)


def rows(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    texts = [f"so {'good' if number % 3 else 'bad'} {number}" for number in numbers]
    langs = [("en", "de", None)[number % 3] for number in numbers]
    return pa.table({"id": pa.array(numbers, pa.int64()), "text": texts, "lang": langs})


@pytest.fixture(name="catalog")
def _catalog(tmp_path: Path) -> Iterator[InMemoryCatalog]:
    catalog = InMemoryCatalog("here", warehouse=f"file://{tmp_path}/lake")
    catalog.create_namespace("db")
    yield catalog
    catalog.close()


@pytest.fixture(name="table")
def _table(catalog: InMemoryCatalog) -> Table:
    """Two snapshots."""
    table = catalog.create_table("db.tweets", SCHEMA)
    table.append(rows(0, 40))
    table.append(rows(40, 20))
    return table


def location(table: Table) -> Path:
    return Path(table.location().removeprefix("file://"))


def scored(output: Path) -> pa.Table:
    return ds.dataset(output, format="parquet").to_table().sort_by("id")


class TestSnapshots:
    def test_latest_and_other_snapshots(self, table: Table, tmp_path: Path, bundle: str) -> None:
        first, second = (one.snapshot_id for one in table.metadata.snapshots)
        for snapshot, count in ((None, 60), (second, 60), (first, 40)):
            run(location(table), tmp_path / f"out{snapshot}", bundle, snapshot=snapshot)
            found = scored(tmp_path / f"out{snapshot}")
            assert found.column_names[:3] == ["id", "text", "lang"]
            assert (
                found.select(["id", "lang"]).to_pydict() == rows(0, count).select(["id", "lang"]).to_pydict()
            )
        assert {path.parent.name for path in (tmp_path / f"out{first}").rglob("*.parquet")} == {"data"}

    def test_metadata_file(self, table: Table, bundle: str, capsys: pytest.CaptureFixture[str]) -> None:
        """As a catalog names it."""
        older = sorted((location(table) / "metadata").glob("00001-*.metadata.json"))[0]
        assert main(["score", "--model", bundle, str(older), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == 40
        assert len(scored(location(table).with_name("tweets.scored"))) == 40

    def test_snapshot_is_pinned_for_the_run(self, table: Table, tmp_path: Path, bundle: str) -> None:
        run(location(table), tmp_path / "whole", bundle)
        stop(location(table), tmp_path / "out", bundle, 20)
        table.append(rows(60, 20))
        latest = table.current_snapshot()
        assert latest is not None
        with pytest.raises(ResumeError, match=f"was started with --snapshot .*, not {latest.snapshot_id}"):
            run(location(table), tmp_path / "out", bundle, resume=True, snapshot=latest.snapshot_id)
        run(location(table), tmp_path / "out", bundle, resume=True)
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")
        found = verify(tmp_path / "out", inputs=[str(location(table))], sample=20, model=bundle)
        assert not found.findings

    def test_rewritten_rows(self, table: Table, tmp_path: Path, bundle: str) -> None:
        """Older files are there, too."""
        table.delete("id >= 10 and id < 50")
        run(location(table), tmp_path / "out", bundle)
        assert scored(tmp_path / "out")["id"].to_pylist() == [*range(10), *range(50, 60)]

    def test_table_on_s3(
        self,
        table: Table,
        tmp_path: Path,
        bundle: str,
        s3_here: LocalS3,
    ) -> None:
        catalog = InMemoryCatalog("there", warehouse="s3://iceberg/lake", **{"s3.endpoint": s3_here.endpoint})
        (s3_here.folder / "iceberg").mkdir()
        catalog.create_namespace("db")
        s3_table = catalog.create_table("db.tweets", SCHEMA)
        s3_table.append(rows(0, 40))
        delete_rows(s3_table, [3, 4])
        with prepare([s3_table.location()], output=f"{tmp_path / 'out'}/", model=bundle) as plan:
            assert score_plan(plan).tally.rows == 38
        assert scored(tmp_path / "out")["id"].to_pylist() == [0, 1, 2, *range(5, 40)]
        catalog.close()


class _Deletes(ManifestWriterV2):
    """A manifest of delete files, which pyiceberg reads but does not write."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def delete_rows(
    table: Table, positions: Sequence[int], content: DataFileContent = DataFileContent.POSITION_DELETES
) -> None:
    """Delete rows of a table's only data file, as Spark does it merge-on-read: a snapshot that says so."""
    (task,) = table.scan().plan_files()
    rows = pa.table(
        {"file_path": [task.file.file_path] * len(positions), "pos": pa.array(positions, pa.int64())}
    )
    path = f"{table.location()}/data/deletes.parquet"
    with table.io.new_output(path).create(overwrite=True) as out:
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink)
        out.write(sink.getvalue().to_pybytes())
    before = table.current_snapshot()
    assert before is not None
    number, sequence = before.snapshot_id + 1, table.metadata.next_sequence_number()
    data = DataFile.from_args(
        content=content,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(positions),
        file_size_in_bytes=len(sink.getvalue()),
        equality_ids=[1] if content == DataFileContent.EQUALITY_DELETES else None,
    )
    data.spec_id = 0
    manifest_path, list_path = (f"{table.location()}/metadata/{name}.avro" for name in ("deletes", "snap"))
    with _Deletes(table.spec(), table.schema(), table.io.new_output(manifest_path), number, "null") as writer:
        entry = ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED, snapshot_id=number, data_file=data, sequence_number=None
        )
        writer.add_entry(entry)
    manifests = [*before.manifests(table.io), writer.to_manifest_file()]
    with write_manifest_list(
        2, table.io.new_output(list_path), number, before.snapshot_id, sequence, "null"
    ) as manifest_list:
        manifest_list.add_manifests(manifests)
    snapshot = Snapshot(
        snapshot_id=number,
        parent_snapshot_id=before.snapshot_id,
        sequence_number=sequence,
        timestamp_ms=before.timestamp_ms + 1,
        manifest_list=list_path,
        summary=Summary(Operation.DELETE),
        schema_id=before.schema_id,
    )
    about = json.loads(table.metadata.model_dump_json())
    about["snapshots"].append(json.loads(snapshot.model_dump_json()))
    about["current-snapshot-id"], about["last-sequence-number"] = number, sequence
    about["refs"]["main"]["snapshot-id"] = number
    with table.io.new_output(f"{table.location()}/metadata/00099-x.metadata.json").create() as out:
        out.write(json.dumps(about).encode())


class TestDeleted:
    def test_position_deletes(self, catalog: InMemoryCatalog, tmp_path: Path, bundle: str) -> None:
        table = catalog.create_table("db.one", SCHEMA)
        table.append(rows(0, 40))
        delete_rows(table, [0, 7, 39, 8])
        report = run(location(table), tmp_path / "out", bundle)
        assert report.tally.rows == report.plan.rows == 36
        wanted = [one for one in range(40) if one not in (0, 7, 8, 39)]
        assert scored(tmp_path / "out")["id"].to_pylist() == wanted
        run(location(table), tmp_path / "some", bundle, where="id < 9", partition_by=["lang"])
        assert scored(tmp_path / "some")["id"].to_pylist() == [1, 2, 3, 4, 5, 6]

    def test_equality_deletes(self, catalog: InMemoryCatalog, tmp_path: Path, bundle: str) -> None:
        table = catalog.create_table("db.one", SCHEMA)
        table.append(rows(0, 40))
        delete_rows(table, [1], DataFileContent.EQUALITY_DELETES)
        with pytest.raises(InputFormatError, match="equality deletes"):
            run(location(table), tmp_path / "out", bundle)


class TestColumns:
    def test_renamed_added_dropped(self, table: Table, tmp_path: Path, bundle: str) -> None:
        """The name of a dropped column means nothing."""
        with table.update_schema() as change:
            change.rename_column("text", "body").delete_column("lang").add_column("stars", IntegerType())
        with table.update_schema() as change:
            change.add_column("lang", IntegerType())
        more = pa.table(
            {
                "id": [60],
                "body": ["so good"],
                "stars": pa.array([5], pa.int32()),
                "lang": pa.array([7], pa.int32()),
            }
        )
        table.append(more)
        run(location(table), tmp_path / "out", bundle, text_column="body")
        found = scored(tmp_path / "out")
        assert found.column_names[:4] == ["id", "body", "stars", "lang"]
        assert found["body"].to_pylist() == [*rows(0, 60)["text"].to_pylist(), "so good"]
        assert found["stars"].to_pylist() == [None] * 60 + [5]
        assert found["lang"].to_pylist() == [None] * 60 + [7]
        first = table.metadata.snapshots[0].snapshot_id
        run(location(table), tmp_path / "first", bundle, snapshot=first)
        assert scored(tmp_path / "first").column_names[:3] == ["id", "text", "lang"]

    def test_partitions(self, catalog: InMemoryCatalog, tmp_path: Path, bundle: str) -> None:
        spec = PartitionSpec(PartitionField(3, 1000, IdentityTransform(), "lang"))
        table = catalog.create_table("db.parts", SCHEMA, partition_spec=spec)
        table.append(rows(0, 30))
        run(location(table), tmp_path / "all", bundle)
        assert scored(tmp_path / "all")["lang"].to_pylist() == rows(0, 30)["lang"].to_pylist()
        assert {path.parts[-2] for path in (tmp_path / "all").rglob("*.parquet")} == {
            "lang-de",
            "lang-en",
            "lang-null",
        }
        for number, (where, first) in enumerate((("lang = 'de'", 1), ("lang IS NULL", 2))):
            run(location(table), tmp_path / f"out{number}", bundle, where=where)
            assert scored(tmp_path / f"out{number}")["id"].to_pylist() == list(range(first, 30, 3))
        run(location(table), tmp_path / "by", bundle, partition_by=["lang"])
        folders = {path.name for path in (tmp_path / "by").glob("lang=*")}
        assert folders == {"lang=de", "lang=en", "lang=__HIVE_DEFAULT_PARTITION__"}

    def test_fields_of_structs(self, catalog: InMemoryCatalog, tmp_path: Path, bundle: str) -> None:
        inner = pa.array([{"a": 1}], pa.struct([("a", pa.int64())]))
        data = pa.table({"text": ["x"], "inner": inner})
        table = catalog.create_table("db.structs", data.schema)
        table.append(data)
        run(location(table), tmp_path / "out", bundle)
        with table.update_schema() as change:
            change.rename_column(("inner", "a"), "b")
        with pytest.raises(InputFormatError, match="the field 'a' in column 'inner' was renamed or dropped"):
            run(location(table), tmp_path / "again", bundle)


class TestRejected:
    def test_missing_table(self, table: Table, tmp_path: Path, bundle: str) -> None:
        with pytest.raises(InputNotFoundError, match="has no snapshot 5; it has"):
            run(location(table), tmp_path / "out", bundle, snapshot=5)
        shutil.move(location(table), tmp_path / "moved")
        with pytest.raises((InputNotFoundError, InputFormatError), match="was the table moved"):
            run(tmp_path / "moved", tmp_path / "out", bundle)
        report = run(tmp_path / "moved" / "data", tmp_path / "out", bundle)
        assert report.tally.rows == 60

    def test_ambiguous_metadata_file(self, table: Table, tmp_path: Path, bundle: str) -> None:
        newest = max((location(table) / "metadata").glob("*.metadata.json"))
        shutil.copy(newest, newest.with_name(f"{newest.name[:5]}-other.metadata.json"))
        with pytest.raises(InputFormatError, match="has several metadata files of version 2"):
            run(location(table), tmp_path / "out", bundle)
        (newest.parent / "version-hint.text").write_text("7")
        shutil.copy(newest, newest.with_name("v7.metadata.json"))
        run(location(table), tmp_path / "out", bundle)

    def test_damaged_metadata(self, table: Table, tmp_path: Path, bundle: str) -> None:
        max((location(table) / "metadata").glob("*.metadata.json")).write_text("{")
        with pytest.raises(InputFormatError, match="cannot be read as Iceberg metadata") as caught:
            run(location(table), tmp_path / "out", bundle)
        assert "\n" not in caught.value.message
        with pytest.raises(InputFormatError, match="is not a Delta table"):
            run(location(table), tmp_path / "out", bundle, table="delta")

    def test_library_is_not_installed(
        self, table: Table, tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "pyiceberg.table", None)
        with pytest.raises(MissingExtraError, match="pyiceberg, which reads it, is not installed"):
            run(location(table), tmp_path / "out", bundle)
