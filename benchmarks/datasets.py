"""Data sets of many files: the cost of kills, of small files, and of resuming a finished run.

Figures are ratios within one run, or memory:

    killed      a run that is killed several times and resumed, compared with an uninterrupted one
    small       many files of 200 rows, compared with the same rows in 10 files: as one run, and as two
                shards at the same time
    done        seconds to find out that nothing is left to do, with many files
    many        files of 100,000 rows: memory, and the rows/s of all files compared with those of 10
    store       from an S3 server on this machine and back, compared with the disk; needs Go

    python benchmarks/datasets.py            # half an hour
    python benchmarks/datasets.py --quick    # a tenth of the files
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.machine import ROOT, commit, machine_line  # noqa: E402
from benchmarks.process import run  # noqa: E402
from benchmarks.rows import tweets  # noqa: E402
from tools.local_stores import LocalS3  # noqa: E402

_KILLS = 5
_ROUNDS = 3


def write(folder: Path, files: int, rows: int) -> Path:
    """Write ``files`` files of ``rows`` rows in Hive folders, in a separate process.

    Linux counts the peak memory of a process as that of the processes that it starts later.
    """
    code = "import sys; from pathlib import Path; from benchmarks.datasets import write_here; "
    code += "write_here(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))"
    subprocess.run([sys.executable, "-c", code, str(folder), str(files), str(rows)], check=True, cwd=ROOT)
    return folder


def write_here(folder: Path, files: int, rows: int) -> None:
    """Do the work of ``write`` in this process."""
    texts = tweets(min(files * rows, 1_000_000)).combine_chunks()
    for number in range(files):
        path = folder / f"day={number % 10}" / f"{number:06}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = number * rows % (len(texts) - rows + 1)
        ids = range(number * rows, number * rows + rows)
        table = pa.table({"id": ids, "text": texts.slice(start, rows)})
        pq.write_table(table, path, compression="zstd")


def score(source: Path | str, output: Path | str, *options: str) -> dict[str, Any]:
    """Run the command in its own process; also return its ``wall`` seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "sentstream", "score", str(source), "-o", f"{output}/", "--json"]
    figures = run([*command, *options])
    figures["wall"] = time.perf_counter() - start
    return figures


def killed(folder: Path, scale: int) -> dict[str, float]:
    """Compare a run that is killed repeatedly and resumed with an uninterrupted one, in seconds."""
    source = write(folder / "in", 400 // scale, 10_000)
    whole = score(source, folder / "whole")["wall"]
    pause, total = whole / (_KILLS + 1), 0.0
    command = [
        sys.executable,
        "-m",
        "sentstream",
        "score",
        str(source),
        "-o",
        f"{folder / 'out'}/",
        "--resume",
    ]
    for number in range(_KILLS + 20):
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=None if number >= _KILLS else pause)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        total += time.perf_counter() - start
        if not process.returncode:
            break
    starts = score(source, folder / "whole", "--resume")["wall"] * _KILLS
    return {
        "unbroken_s": whole,
        "killed_s": total,
        "ratio": total / whole,
        "without_starts": (total - starts) / whole,
    }


def small(folder: Path, scale: int) -> dict[str, float]:
    """Compare many small files with the same rows in ten."""
    files = 10_000 // scale
    few, source = write(folder / "few", 10, files * 20), write(folder / "many", files, 200)
    ten = score(few, folder / "a")
    many = score(source, folder / "b")
    start = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        shards = [
            pool.submit(score, source, folder / "c", "--shard", f"{number}/2", "--threads", "1")
            for number in (1, 2)
        ]
        for shard in shards:
            shard.result()
    both = time.perf_counter() - start
    return {
        "files": files,
        "ten_s": ten["seconds"],
        "many_s": many["seconds"],
        "ratio": many["seconds"] / ten["seconds"],
        "ratio_cpu": many["cpu"] / ten["cpu"],
        "ratio_two_shards": both / ten["wall"],
        "ten_mb": ten["peak_mb"],
        "many_mb": many["peak_mb"],
    }


def done(folder: Path, scale: int) -> dict[str, float]:
    """Measure the time to find out that nothing is left to do."""
    files = 100_000 // scale
    source = write(folder / "in", files, 2)
    score(source, folder / "out")
    again = score(source, folder / "out", "--resume")
    return {"files": files, "seconds": again["wall"], "mb": again["peak_mb"]}


def many(folder: Path, scale: int) -> dict[str, float]:
    """Measure memory, and whether scoring gets slower with more files."""
    files = 200 // scale
    source = write(folder / "in", files, 100_000)
    first = score(write(folder / "few", 10, 100_000), folder / "few_out")
    all_ = score(source, folder / "out")
    return {
        "files": files,
        "mb": all_["peak_mb"],
        "rows_per_s": all_["rows_per_second"],
        "beside_1M_rows": all_["rows_per_second"] / first["rows_per_second"],
    }


def store(folder: Path, scale: int) -> dict[str, float]:
    """Compare an object store, whose server uses the same cores, with the disk, in turn."""
    files = 100 // scale
    pairs = []
    with LocalS3(folder / "s3", "tweets") as server:
        source = write(server.folder / "tweets" / "in", files, 20_000)
        os.environ.update(server.environment)
        for number in range(_ROUNDS):
            disk = score(source, folder / f"out{number}")
            pairs.append((disk, score("s3://tweets/in", f"s3://tweets/out{number}")))
    return {
        "files": files,
        "disk_s": statistics.median(disk["wall"] for disk, _ in pairs),
        "ratio": statistics.median(remote["wall"] / disk["wall"] for disk, remote in pairs),
        "ratio_cpu": statistics.median(remote["cpu"] / disk["cpu"] for disk, remote in pairs),
        "mb": max(remote["peak_mb"] for _, remote in pairs),
    }


PARTS: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "killed": killed,
    "small": small,
    "done": done,
    "many": many,
    "store": store,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print one line of JSON per part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="use a tenth of the files")
    parser.add_argument("--only", action="append", choices=PARTS, help="run only this part; may be repeated")
    options = parser.parse_args(arguments)
    print(f"{machine_line()}; {commit()}")
    for name in options.only or PARTS:
        folder = Path(tempfile.mkdtemp(prefix="sentstream-bench-", dir=ROOT / "build"))
        try:
            figures = PARTS[name](folder, 10 if options.quick else 1)
        finally:
            shutil.rmtree(folder)
        print(json.dumps({name: {key: round(value, 3) for key, value in figures.items()}}), flush=True)


if __name__ == "__main__":
    main()
