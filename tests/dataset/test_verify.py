"""Verification finds everything that differs from what was written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle

from sentstream.dataset import prepare, score_plan
from sentstream.dataset.formats.api import Format
from sentstream.dataset.verify import Verification, verify
from sentstream.errors import InputNotFoundError, UsageError

LABELS = ("negative", "neutral", "positive")


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", labels=LABELS))


@pytest.fixture(name="inputs")
def _inputs(tmp_path: Path) -> Path:
    for number in range(5):
        texts = [None if row % 9 == 0 else f"so {'good' if row % 3 else 'bad'} {row}" for row in range(30)]
        path = tmp_path / "in" / f"day={number % 2}" / f"{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": range(number * 30, number * 30 + 30), "text": texts}), path)
    return tmp_path / "in"


@pytest.fixture(name="out")
def _out(tmp_path: Path, inputs: Path, bundle: str) -> Path:
    score(inputs, tmp_path / "out", bundle)
    return tmp_path / "out"


def score(inputs: Path, output: Path, bundle: str, **options: Any) -> None:
    with prepare([str(inputs)], output=f"{output}/", model=bundle, **options) as plan:
        score_plan(plan)


def problems(found: Verification) -> dict[str, str]:
    return {finding.name: finding.problem for finding in found.findings}


def test_unchanged_output_passes(inputs: Path, out: Path, bundle: str) -> None:
    found = verify(out, inputs=[str(inputs)], sample=40, model=bundle)
    assert not found.findings
    assert (found.outputs, found.rows, found.sampled, found.skipped) == (5, 150, 40, 0)
    assert found.bytes == sum(path.stat().st_size for path in out.rglob("*.parquet"))


class TestFindings:
    def test_flipped_bit(self, out: Path) -> None:
        path = out / "day=0" / "2.parquet"
        for at in (0, path.stat().st_size // 2, path.stat().st_size - 1):
            data = bytearray(path.read_bytes())
            data[at] ^= 1
            path.write_bytes(data)
            assert problems(verify(out)) == {"day=0/2.parquet": "differs from what was written"}
            data[at] ^= 1
            path.write_bytes(data)
        assert not verify(out).findings

    def test_file_that_is_missing(self, out: Path) -> None:
        (out / "day=1" / "1.parquet").unlink()
        assert problems(verify(out)) == {"day=1/1.parquet": "is missing"}

    def test_additional_file(self, out: Path) -> None:
        (out / "day=1" / "more.parquet").write_bytes(b"whatever")
        (out / "notes.txt").write_text("mine")
        (out / "_SUCCESS").touch()
        assert problems(verify(out)) == {
            "day=1/more.parquet": "is not in the manifest",
            "notes.txt": "is not in the manifest",
        }

    def test_swapped_files(self, out: Path) -> None:
        one, other = out / "day=0" / "0.parquet", out / "day=1" / "3.parquet"
        one.rename(out / "aside")
        other.rename(one)
        (out / "aside").rename(other)
        assert problems(verify(out)) == {
            "day=0/0.parquet": "has the contents of day=1/3.parquet",
            "day=1/3.parquet": "has the contents of day=0/0.parquet",
        }

    def test_file_of_another_model(self, out: Path, inputs: Path, tmp_path: Path) -> None:
        score(inputs, tmp_path / "other", "sentiment140")
        os.replace(tmp_path / "other" / "day=0" / "0.parquet", out / "day=0" / "0.parquet")
        (problem,) = problems(verify(out)).values()
        assert problem.startswith("was scored by a different model, sentiment140 (sha256:")

    @pytest.mark.parametrize("keep", [0, 1, 3, -1])
    def test_truncated_manifest(self, out: Path, keep: int) -> None:
        path = out / "_sentstream" / "manifest.jsonl"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))
        (problem,) = problems(verify(out)).values()
        assert "is damaged" in problem

    def test_unfinished_run(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        def stop(done: int, total: int | None) -> None:
            if done >= 60:
                raise KeyboardInterrupt

        with (
            prepare([str(inputs)], output=f"{tmp_path / 'out'}/", model=bundle) as plan,
            pytest.raises(KeyboardInterrupt),
        ):
            score_plan(plan, stop)
        assert problems(verify(tmp_path / "out")) == {
            str((tmp_path / "out").resolve()): "the run is not finished: continue with --resume"
        }

    def test_changed_inputs(self, inputs: Path, out: Path) -> None:
        (inputs / "day=0" / "0.parquet").unlink()
        pq.write_table(pa.table({"text": ["new"]}), inputs / "new.parquet")
        pq.write_table(pa.table({"text": ["other"]}), inputs / "day=1" / "1.parquet")
        found = problems(verify(out, inputs=[str(inputs)]))
        assert {os.path.basename(name): problem.partition(",")[0] for name, problem in found.items()} == {
            "0.parquet": "its input",
            "new.parquet": "has no output",
            "1.parquet": "was modified after it was scored",
        }

    def test_results_do_not_match_the_model(self, out: Path, inputs: Path, bundle: str) -> None:
        """A valid manifest says nothing about the results; samples do."""
        path = out / "day=0" / "4.parquet"
        table = pq.read_table(path)
        place = table.schema.get_field_index("sentiment_score")
        scores = table["sentiment_score"].to_pylist()
        scores[7] = 0.123
        changed = table.set_column(place, table.schema.field(place), pa.array(scores, pa.float32()))
        pq.write_table(changed, path)
        seal(out)
        assert not verify(out).findings
        found = verify(out, sample=150, model=bundle)
        assert problems(found) == {
            "day=0/4.parquet": "row 7 (from 0) gets a different result from the one that was written"
        }
        assert found.sampled == 150
        # Rows that moved: found only beside the inputs.
        pq.write_table(table.take([1, 0, *range(2, 30)]), path)
        seal(out)
        assert not verify(out, sample=150, model=bundle).findings
        assert verify(out, sample=150, model=bundle, inputs=[str(inputs)]).findings


def seal(out: Path) -> None:
    """Update the manifest to match the files."""
    from dataclasses import replace

    from sentstream.dataset.manifest.records import end_line, entry_line, header_line, read_records
    from sentstream.dataset.verify import _sha256
    from sentstream.storage.local import local_file

    path = out / "_sentstream" / "manifest.jsonl"
    header, entries = read_records(path.read_bytes(), "it", whole=True)
    lines = [header_line(header)]
    for entry in entries:
        file = local_file(out / entry.output)
        lines.append(entry_line(replace(entry, size=file.size, sha256=_sha256(file))))
    path.write_bytes(b"".join([*lines, end_line(len(entries))]))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "arrow", "orc"])
def test_every_format(inputs: Path, tmp_path: Path, bundle: str, kind: Format) -> None:
    score(inputs, tmp_path / "out", bundle, output_format=kind)
    found = verify(tmp_path / "out", inputs=[str(inputs)], sample=60, model=bundle)
    assert not found.findings
    assert found.sampled == 60
    assert not verify(tmp_path / "out", sample=60, model=bundle).findings


class TestRejected:
    def test_missing_manifest(self, inputs: Path) -> None:
        with pytest.raises(InputNotFoundError, match="has no manifest"):
            verify(inputs)

    def test_different_model_of_the_same_name(self, out: Path, tmp_path: Path) -> None:
        other = make_bundle(tmp_path / "tiny", labels=LABELS, seed=5)
        with pytest.raises(UsageError, match="but the outputs are from sha256:"):
            verify(out, sample=1, model=str(other))

    def test_outputs_without_texts(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        score(inputs, tmp_path / "out", bundle, columns=["id"])
        with pytest.raises(UsageError, match="does not contain its texts"):
            verify(tmp_path / "out", sample=5, model=bundle)
        found = verify(tmp_path / "out", inputs=[str(inputs)], sample=50, model=bundle)
        assert not found.findings


def test_single_file(inputs: Path, tmp_path: Path, bundle: str) -> None:
    source = inputs / "day=0" / "0.parquet"
    with prepare([str(source)], output=str(tmp_path / "one.parquet"), model=bundle, resume=True) as plan:
        score_plan(plan)
    found = verify(tmp_path / "one.parquet", inputs=[str(source)], sample=30, model=bundle)
    assert not found.findings
    assert (found.outputs, found.sampled) == (1, 30)


def test_command(out: Path, bundle: str) -> None:
    command = [sys.executable, "-m", "sentstream", "verify", str(out)]
    sound = subprocess.run(
        [*command, "--sample", "10", "--model", bundle], capture_output=True, text=True, check=False
    )
    assert (sound.returncode, sound.stderr) == (0, "")
    assert sound.stdout.startswith("5 outputs, 150 rows, ")
    assert sound.stdout.endswith(" bytes, 10 rows scored again: matches the manifest\n")
    (out / "day=1" / "1.parquet").unlink()
    broken = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert broken.returncode == 24
    about = json.loads(broken.stdout)
    assert about["ok"] is False
    assert about["findings"] == [{"file": "day=1/1.parquet", "problem": "is missing"}]
    assert "1 finding, the first day=1/1.parquet: is missing" in broken.stderr
