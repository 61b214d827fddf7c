"""An interrupted run resumes where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from data_sets import PIECES, Stopped, entries, kill_loop, run, stop, stop_at, tree
from effort import LONG
from processes import child

from sentstream.dataset import prepare, score_plan
from sentstream.dataset.formats import api
from sentstream.dataset.manifest.records import header_line, read_records
from sentstream.errors import (
    ColumnTypeError,
    InputError,
    InputFormatError,
    ManifestError,
    OutputBusyError,
    OutputExistsError,
    ResumeError,
    UsageError,
)


def write(path: Path, rows: int, first: int = 0, group: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [f"so {'good' if row % 3 else 'bad'} {row}" for row in range(first, first + rows)]
    pq.write_table(pa.table({"id": range(first, first + rows), "text": texts}), path, row_group_size=group)


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    labels = ("negative", "neutral", "positive")
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", labels=labels))


@pytest.fixture(name="inputs")
def _inputs(tmp_path: Path) -> Path:
    for number in range(12):
        write(tmp_path / "in" / f"day={number % 3}" / f"{number}.parquet", 60, number * 60)
    return tmp_path / "in"


@pytest.fixture(name="pieces")
def _pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are cut into pieces, too."""
    for name, value in PIECES.items():
        monkeypatch.setattr(api, name, value)


class TestKilled:
    def test_killed_at_any_moment(self, tmp_path: Path, inputs: Path, bundle: str) -> None:
        files, kills = (200, 50) if LONG else (12, 12)
        for number in range(12, files):
            write(inputs / f"day={number % 3}" / f"{number}.parquet", 60, number * 60)
        run(inputs, tmp_path / "whole", bundle)
        killed = kill_loop(inputs, tmp_path / "out", tmp_path / "whole", bundle, kills=kills, most=7)
        assert killed >= kills // 3
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")
        assert set(entries(tmp_path / "out").values()) == {"done"}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "whole"]

    @pytest.mark.usefixtures("pieces")
    def test_killed_in_a_large_file(self, tmp_path: Path, bundle: str) -> None:
        write(tmp_path / "in" / "large.parquet", 600)
        run(tmp_path / "in", tmp_path / "whole", bundle)
        kills = 50 if LONG else 8
        killed = kill_loop(
            tmp_path / "in", tmp_path / "out", tmp_path / "whole", bundle, kills=kills, most=12, pieces=PIECES
        )
        assert killed >= kills // 3
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")

    def test_resuming_a_finished_run_changes_nothing(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "out", bundle)
        first = tree(tmp_path / "out")
        times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
        report = run(inputs, tmp_path / "out", bundle, resume=True)
        assert report.tally == report.before
        assert report.tally.rows == 720
        assert tree(tmp_path / "out") == first
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == times

    def test_only_unfinished_files_are_visited(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "out", bundle)
        first = tree(tmp_path / "out")
        (tmp_path / "out/day=1/4.parquet").unlink()
        (tmp_path / "out/day=2/5.parquet").write_bytes(b"of another size")
        with prepare([str(inputs)], output=f"{tmp_path / 'out'}/", model=bundle, resume=True) as plan:
            left = {number: file.job.relative for number, file in plan.unfinished()}
            assert sorted(left.values()) == ["day=1/4.parquet", "day=2/5.parquet"]
            assert [plan.files[number - 1].job.relative for number in left] == [*left.values()]
            assert [file.is_done for file in plan.files].count(False) == 2
            assert (plan.rows, plan.before.rows) == (720, 600)
            report = score_plan(plan)
        assert (report.tally.rows, report.before.rows) == (720, 600)
        assert tree(tmp_path / "out") == first


class TestRejected:
    def test_without_resume(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        stop(inputs, tmp_path / "out", bundle, 200)
        with pytest.raises(OutputExistsError, match="already exists") as caught:
            run(inputs, tmp_path / "out", bundle)
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("continue with --resume")
        run(inputs, tmp_path / "out", bundle, overwrite=True)
        assert len(entries(tmp_path / "out")) == 12

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"prefix": "mood"}, r"was started with --prefix \['sentiment'\], not \['mood'\]"),
            ({"abstain": 0.5}, "--abstain unset, not 0.5"),
            ({"columns": ["id"]}, r"--columns unset, not \['id'\]"),
            ({"max_chars": 20}, "--max-chars unset, not 20"),
            ({"bundle": "sentiment140"}, r"the model .*, not sentiment140 "),
        ],
    )
    def test_other_options(
        self, inputs: Path, tmp_path: Path, bundle: str, options: dict[str, Any], message: str
    ) -> None:
        stop(inputs, tmp_path / "out", bundle, 200)
        before = tree(tmp_path / "out")
        with pytest.raises(ResumeError, match=message):
            run(inputs, tmp_path / "out", **{"bundle": bundle, "resume": True, **options})
        assert tree(tmp_path / "out") == before

    @pytest.mark.parametrize("change", ["longer", "touched", "other rows"])
    def test_another_input(self, inputs: Path, tmp_path: Path, bundle: str, change: str) -> None:
        stop(inputs, tmp_path / "out", bundle, 300)
        path = inputs / "day=0" / "0.parquet"
        about = path.stat()
        if change == "longer":
            write(path, 61)
        else:
            data = path.read_bytes()
            path.write_bytes(data if change == "touched" else data.replace(b"so bad 0", b"so bad 1"))
            if change == "other rows":  # of the same size and age
                os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        with pytest.raises(ResumeError, match=r"0\.parquet changed after it was scored"):
            run(inputs, tmp_path / "out", bundle, resume=True)

    def test_output_without_manifest(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        write(tmp_path / "out" / "day=0" / "0.parquet", 3)
        with pytest.raises(OutputExistsError) as caught:
            run(inputs, tmp_path / "out", bundle, resume=True)
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("it has no manifest")

    @pytest.mark.parametrize("options", [{"resume": True}, {"shard": "1/2"}])
    def test_contradictions(self, inputs: Path, tmp_path: Path, bundle: str, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="cannot be combined"):
            run(inputs, tmp_path / "out", bundle, overwrite=True, **options)

    def test_unrecorded_outputs(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        """Killed between the first output's name and the first entry."""
        run(inputs, tmp_path / "whole", bundle)
        code = (
            "import os, sys; from sentstream.dataset import prepare, score_plan\n"
            "from sentstream.dataset.manifest import ledger\n"
            "ledger.Ledger.append = lambda self, entries: entries and os._exit(9)\n"
            "with prepare([sys.argv[1]], output=sys.argv[2], model=sys.argv[3]) as plan: score_plan(plan)"
        )
        command = [sys.executable, "-c", code, str(inputs), f"{tmp_path / 'out'}/", bundle]
        assert subprocess.run(command, check=False).returncode == 9
        assert list((tmp_path / "out").rglob("*.parquet"))
        run(inputs, tmp_path / "out", bundle, resume=True)
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")

    def test_two_runs_at_once(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        with prepare([str(inputs)], output=f"{tmp_path / 'out'}/", model=bundle) as plan:
            assert plan.ledger is not None
            with plan.ledger.writing(fresh=False):
                with pytest.raises(OutputBusyError, match="is being written by another run"):
                    run(inputs, tmp_path / "out", bundle)
                with pytest.raises(OutputBusyError):
                    run(inputs, tmp_path / "out", bundle, shard="1/2")
        run(inputs, tmp_path / "out", bundle)

    def test_run_planned_before_another_ended(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        with prepare([str(inputs)], output=f"{tmp_path / 'out'}/", model=bundle) as plan:
            run(inputs, tmp_path / "out", bundle)
            with pytest.raises(OutputBusyError, match="until now"):
                score_plan(plan)


class TestManifest:
    @pytest.fixture(name="path")
    def _path(self, inputs: Path, tmp_path: Path, bundle: str) -> Path:
        run(inputs, tmp_path / "out", bundle)
        return tmp_path / "out" / "_sentstream" / "manifest.jsonl"

    @pytest.mark.parametrize("at", [0, 100, 700, -1, -3])
    def test_damaged(self, inputs: Path, tmp_path: Path, bundle: str, path: Path, at: int) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises(ManifestError, match="is damaged") as caught:
            run(inputs, tmp_path / "out", bundle, resume=True)
        assert caught.value.hint is not None
        assert caught.value.hint.endswith("start over with --overwrite")
        run(inputs, tmp_path / "out", bundle, overwrite=True)
        assert len(entries(tmp_path / "out")) == 12

    def test_truncated_anywhere(self, path: Path) -> None:
        data = path.read_bytes()
        for length in range(0, len(data), 97):
            with pytest.raises(ManifestError, match="is damaged"):
                read_records(data[:length], str(path), whole=True)
        lines = data.splitlines(keepends=True)
        for count in range(len(lines)):
            with pytest.raises(ManifestError, match="is damaged"):
                read_records(b"".join(lines[:count]), str(path), whole=True)

    def test_manifest_from_a_newer_version(
        self, inputs: Path, tmp_path: Path, bundle: str, path: Path
    ) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        header, _ = read_records(lines[0] + lines[1], "a journal", whole=False)
        lines[0] = header_line(replace(header, format=2, sentstream="9.0"))
        path.write_bytes(b"".join(lines))
        with pytest.raises(ManifestError, match="has format 2") as caught:
            run(inputs, tmp_path / "out", bundle, resume=True)
        assert caught.value.hint == "use sentstream 9.0 or newer, which wrote it"

    def test_journal_with_truncated_last_line(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "whole", bundle)
        stop(inputs, tmp_path / "cut", bundle, 400)
        (journal,) = (tmp_path / "cut" / "_sentstream").glob("journal-*")
        journal.write_bytes(journal.read_bytes()[:-20])
        report = run(inputs, tmp_path / "cut", bundle, resume=True)
        assert 0 < report.before.rows < 400
        assert tree(tmp_path / "cut") == tree(tmp_path / "whole")

    def test_new_files_are_scored_too(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "out", bundle)
        write(inputs / "day=9" / "new.parquet", 10)
        report = run(inputs, tmp_path / "out", bundle, resume=True)
        assert (report.tally.rows, report.before.rows) == (730, 720)
        assert "day=9/new.parquet" in entries(tmp_path / "out")

    def test_removed_output_is_rewritten(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "out", bundle)
        first = tree(tmp_path / "out")
        (tmp_path / "out" / "day=0" / "3.parquet").unlink()
        (tmp_path / "out" / "day=1" / "4.parquet").write_bytes(b"cut")
        run(inputs, tmp_path / "out", bundle, resume=True)
        assert tree(tmp_path / "out") == first


class TestOneFile:
    def test_small_file_leaves_no_manifest(self, tmp_path: Path, bundle: str) -> None:
        write(tmp_path / "in.parquet", 50)
        with prepare([str(tmp_path / "in.parquet")], model=bundle) as plan:
            score_plan(plan)
        assert sorted(tree(tmp_path)) == ["in.parquet", "in.scored.parquet"]

    @pytest.mark.usefixtures("pieces")
    def test_file_run_resumed_as_directory(self, tmp_path: Path, bundle: str) -> None:
        """Once, the output of a directory with a single file was a file."""
        write(tmp_path / "in" / "a.parquet", 400)
        output = str(tmp_path / "out")
        with (
            prepare([str(tmp_path / "in" / "a.parquet")], output=output, model=bundle) as plan,
            pytest.raises(Stopped),
        ):
            score_plan(plan, stop_at(200))
        with prepare([str(tmp_path / "in")], output=output, model=bundle, resume=True) as plan:
            assert [file.shown_output for file in plan.files] == [output]
            assert plan.before.rows
            assert score_plan(plan).tally.rows == 400
        with (
            pytest.raises(OutputExistsError, match="out already exists"),
            prepare([str(tmp_path / "in")], output=output, model=bundle),
        ):
            pass

    @pytest.mark.usefixtures("pieces")
    @pytest.mark.parametrize("resume", [False, True])
    def test_large_file(self, tmp_path: Path, bundle: str, resume: bool) -> None:
        write(tmp_path / "in.parquet", 400)
        with (
            prepare([str(tmp_path / "in.parquet")], model=bundle, resume=resume) as plan,
            pytest.raises(Stopped),
        ):
            score_plan(plan, stop_at(150))
        assert not (tmp_path / "in.scored.parquet").exists()
        with prepare([str(tmp_path / "in.parquet")], model=bundle, resume=True) as plan:
            report = score_plan(plan)
        assert report.before.rows >= 80
        assert report.tally.rows == 400
        table = pq.read_table(tmp_path / "in.scored.parquet")
        assert table["id"].to_pylist() == list(range(400))
        with prepare([str(tmp_path / "in.parquet")], model=bundle, resume=True) as plan:
            assert score_plan(plan).before.rows == 400

    @pytest.mark.usefixtures("pieces")
    def test_output_location_does_not_matter(self, tmp_path: Path, bundle: str) -> None:
        """Threads, batches, a pipe, a directory: the same bytes."""
        write(tmp_path / "in.parquet", 400)
        run(tmp_path / "in.parquet", tmp_path / "a", bundle, threads=1, batch_rows=7)
        run(tmp_path / "in.parquet", tmp_path / "b", bundle, threads=3)
        with prepare(
            [str(tmp_path / "in.parquet")], output=str(tmp_path / "c.parquet"), model=bundle
        ) as plan:
            score_plan(plan)
        piped = subprocess.run(
            [sys.executable, "-c", _PIPED, str(tmp_path / "in.parquet"), bundle, json.dumps(PIECES)],
            capture_output=True,
            check=True,
        )
        wanted = (tmp_path / "a" / "in.parquet").read_bytes()
        assert (tmp_path / "b" / "in.parquet").read_bytes() == wanted
        assert (tmp_path / "c.parquet").read_bytes() == wanted
        assert piped.stdout == wanted
        assert pq.read_metadata(tmp_path / "c.parquet").num_row_groups == 10


_PIPED = """
import json, sys
from sentstream.dataset import prepare, score_plan
from sentstream.dataset.formats import api
for name, value in json.loads(sys.argv[3]).items():
    setattr(api, name, value)
with prepare([sys.argv[1]], output="-", model=sys.argv[2]) as plan:
    score_plan(plan)
"""


class TestShards:
    @pytest.mark.usefixtures("pieces")
    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_shards_form_one_run(self, inputs: Path, tmp_path: Path, bundle: str, count: int) -> None:
        write(inputs / "large.parquet", 400)
        run(inputs, tmp_path / "whole", bundle)
        rows = []
        for number in range(count, 0, -1):
            report = run(inputs, tmp_path / "out", bundle, shard=f"{number}/{count}")
            assert bool(report.pending) == (number > 1)
            rows.append(report.tally.rows)
        assert sum(rows) == 1120
        assert max(rows) - min(rows) <= 200
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")

    @pytest.mark.usefixtures("pieces")
    def test_stopped_shard_resumes(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        write(inputs / "large.parquet", 400)
        run(inputs, tmp_path / "whole", bundle)
        stop(inputs, tmp_path / "out", bundle, 100, shard="2/2")
        run(inputs, tmp_path / "out", bundle, shard="1/2")
        report = run(inputs, tmp_path / "out", bundle, shard="2/2", resume=True)
        assert report.before.rows
        assert not report.pending
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")

    def test_concurrent_shards(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "whole", bundle)
        command = [sys.executable, "-m", "sentstream", "score", inputs, "-o", f"{tmp_path / 'out'}/"]
        with ExitStack() as stack:
            shards = [
                stack.enter_context(child([*command, "--model", bundle, "--shard", f"{number}/3"]))
                for number in (1, 2, 3)
            ]
            assert [shard.wait(300) for shard in shards] == [0, 0, 0]
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")

    def test_different_split_is_rejected_while_one_runs(
        self, inputs: Path, tmp_path: Path, bundle: str
    ) -> None:
        with prepare([str(inputs)], output=f"{tmp_path / 'out'}/", model=bundle, shard="1/2") as plan:
            assert plan.ledger is not None
            with plan.ledger.writing(fresh=False):
                with pytest.raises(OutputBusyError):
                    run(inputs, tmp_path / "out", bundle, shard="1/3")
                run(inputs, tmp_path / "out", bundle, shard="2/2")

    @pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0", ""])
    def test_invalid_shards(self, inputs: Path, tmp_path: Path, bundle: str, shard: str) -> None:
        with pytest.raises(UsageError, match="is not a shard"):
            run(inputs, tmp_path / "out", bundle, shard=shard)


class TestInvalidInputs:
    @pytest.fixture(name="unsound")
    def _unsound(self, inputs: Path) -> Path:
        """One file without a footer, and one with changed pages."""
        (inputs / "day=0" / "0.parquet").write_bytes(b"not Parquet at all")
        path = inputs / "day=1" / "4.parquet"
        table = pq.read_table(path)
        pq.write_table(table, path, write_page_checksum=True, compression="none")
        data = path.read_bytes()
        path.write_bytes(data.replace(b"so good 250", b"so good 999"))
        return inputs

    def test_invalid_inputs_are_skipped(self, unsound: Path, tmp_path: Path, bundle: str) -> None:
        with pytest.raises(InputFormatError):
            run(unsound, tmp_path / "out", bundle)
        report = run(unsound, tmp_path / "out", bundle, on_error="skip")
        assert report.tally.rows == 600
        assert [os.path.basename(item.job.name) for item in report.skipped] == ["0.parquet", "4.parquet"]
        states = entries(tmp_path / "out")
        assert {name for name, state in states.items() if state == "skipped"} == {
            "day=0/0.parquet",
            "day=1/4.parquet",
        }
        assert len(list((tmp_path / "out").rglob("*.parquet"))) == 10

    def test_repaired_inputs_are_scored(self, unsound: Path, tmp_path: Path, bundle: str) -> None:
        run(unsound, tmp_path / "out", bundle, on_error="skip")
        write(unsound / "day=0" / "0.parquet", 60)
        write(unsound / "day=1" / "4.parquet", 60, 240)
        report = run(unsound, tmp_path / "out", bundle, resume=True)
        assert not report.skipped
        assert (report.tally.rows, report.before.rows) == (720, 600)
        run(unsound, tmp_path / "whole", bundle)
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")

    def test_command_reports_skipped_inputs(self, unsound: Path, tmp_path: Path, bundle: str) -> None:
        command = [sys.executable, "-m", "sentstream", "score", unsound, "-o", f"{tmp_path / 'out'}/"]
        done = subprocess.run(
            [*command, "--model", bundle, "--on-error", "skip", "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 15
        assert [item["input"][-9:] for item in json.loads(done.stdout)["skipped"]] == [
            "0.parquet",
            "4.parquet",
        ]
        assert "2 inputs skipped, the first " in done.stderr


def test_same_schema(inputs: Path, tmp_path: Path, bundle: str) -> None:
    run(inputs, tmp_path / "a", bundle, same_schema=True)
    pq.write_table(pa.table({"id": ["x"], "text": ["hi"]}), inputs / "other.parquet")
    with pytest.raises(ColumnTypeError, match=r"different columns: 'id' is int64 and string"):
        run(inputs, tmp_path / "b", bundle, same_schema=True)
    assert not (tmp_path / "b").exists()
    run(inputs, tmp_path / "b", bundle)


def test_file_grows_while_being_read(inputs: Path, tmp_path: Path, bundle: str) -> None:
    with prepare([str(inputs)], output=f"{tmp_path / 'out'}/", model=bundle) as plan:
        with (inputs / "day=2" / "11.parquet").open("ab") as file:
            file.write(b"more")
        with pytest.raises(InputError, match=r"11\.parquet grew from [\d,]+ to [\d,]+ bytes"):
            score_plan(plan)
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 8
