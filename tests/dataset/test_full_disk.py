"""A disk that fills up in the middle of a data set, and is then enlarged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from data_sets import run, tree
from small_disks import SmallDisk, small_disk

from sentstream.dataset.formats import api
from sentstream.errors import OutputWriteError

ROWS = 2000


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(name="inputs")
def _inputs(tmp_path: Path) -> Path:
    """Eight files of texts that do not compress."""
    chance = np.random.default_rng(7)
    for number in range(8):
        texts = [f"good {one:x}" for one in chance.integers(0, 1 << 62, ROWS)]
        table = pa.table({"text": texts, "lang": [("en", "de")[row % 2] for row in range(ROWS)]})
        path = tmp_path / "in" / f"{number}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path, row_group_size=200)
    return tmp_path / "in"


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        yield disk


def size_of(directory: Path) -> int:
    return sum(map(len, tree(directory).values()))


@pytest.mark.parametrize("more", [[], ["--partition-by", "lang"], ["--output-format", "csv"]])
def test_command_reports_the_full_disk(
    inputs: Path, tmp_path: Path, bundle: str, disk: SmallDisk, more: list[str]
) -> None:
    """One line and its exit code; named files are complete, and the run resumes once there is room."""
    command = [sys.executable, "-m", "sentstream", "score", inputs, "--model", bundle, *more, "--output"]
    subprocess.run([*command, tmp_path / "whole/"], check=True, capture_output=True)
    whole = tree(tmp_path / "whole")
    disk.resize(size_of(tmp_path / "whole") // 2)
    full = subprocess.run([*command, disk.path / "out/"], capture_output=True, text=True, check=False)
    assert full.returncode == 21, full.stderr
    (line,) = full.stderr.splitlines()
    assert line.startswith(f"sentstream: error: {disk.path}/out/")
    assert "cannot be written: No space left on device (" in line
    done = tree(disk.path / "out")
    outputs = {name: data for name, data in done.items() if not name.startswith("_sentstream/")}
    assert outputs
    assert outputs == {name: whole[name] for name in outputs}
    assert {path.name for path in disk.path.iterdir()} == {"out"}  # no draft
    disk.resize(4 << 20)
    again = subprocess.run(
        [*command, disk.path / "out/", "--resume"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert " of them in earlier runs" in again.stderr
    assert tree(disk.path / "out") == whole


@pytest.mark.parametrize("partition_by", [[], ["lang"]])
def test_in_the_middle_of_a_large_file(
    inputs: Path,
    tmp_path: Path,
    bundle: str,
    disk: SmallDisk,
    partition_by: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its parts fill the disk; those that are done stay done."""
    monkeypatch.setattr(api, "SMALL_FILE", 0)
    monkeypatch.setattr(api, "PIECE_ROWS", 400)
    options: dict[str, Any] = {"partition_by": partition_by}
    run(inputs / "0.parquet", tmp_path / "whole", bundle, **options)
    disk.resize(size_of(tmp_path / "whole") // 2)
    with pytest.raises(OutputWriteError, match="No space left on device"):
        run(inputs / "0.parquet", disk.path / "out", bundle, **options)
    assert not list((disk.path / "out").glob("**/0.parquet"))
    disk.resize(4 << 20)
    report = run(inputs / "0.parquet", disk.path / "out", bundle, resume=True, **options)
    assert 0 < report.before.rows < report.tally.rows == ROWS
    assert tree(disk.path / "out") == tree(tmp_path / "whole")


def test_disk_full_for_the_first_file(inputs: Path, bundle: str, disk: SmallDisk) -> None:
    """Nothing is left but what makes it possible to go on."""
    disk.resize(4096 * 6)
    for options in ({}, {"partition_by": ["lang"]}):
        with pytest.raises(OutputWriteError, match="No space left on device"):
            run(inputs, disk.path / "out", bundle, **options, resume=True)
        for path in (disk.path / "out").rglob("*.parquet"):  # one folder of the file, at most
            assert pq.read_metadata(path).num_rows == ROWS // 2
        disk.resize(4 << 20)
        assert run(inputs, disk.path / "out", bundle, **options, resume=True).tally.rows == 8 * ROWS
        subprocess.run(["rm", "-r", disk.path / "out"], check=True)
        disk.resize(4096 * 6)
