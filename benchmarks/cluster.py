"""Ray and Spark compared with one process on the same cores, and the cost of Ray's driver itself.

beside      2 M rows in 100 files: seconds of one process, and of as many Ray workers as it has threads,
            without startup (measured by a run of one row)
nodes       half of these rows on one Ray node with one core, and on two
spark       the rows of ``beside``: seconds of one process, and of Spark with as many tasks as it has threads,
            after its Python workers have started; both read and write Parquet
driver      very many files of 2 rows: CPU seconds and memory of Ray's driver process

python benchmarks/cluster.py            # some minutes
python benchmarks/cluster.py --quick    # a tenth of the files
python benchmarks/cluster.py --only driver --files 1000000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.datasets import write  # noqa: E402
from benchmarks.machine import ROOT, commit, machine_line  # noqa: E402
from benchmarks.process import ContenderFailed, run  # noqa: E402
from sentstream.session import usable_cpus  # noqa: E402

#: No token in the home directory, no usage statistics.
#: Workers keep the normal niceness, unlike Ray's default: the process they are compared with has it, too.
_ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


@contextlib.contextmanager
def cluster(*cpus: int) -> Iterator[dict[str, str]]:
    """A Ray cluster on this machine, with a node for each number of CPUs; yield a driver's environment."""
    os.environ.update(_ENVIRONMENT, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    from ray.cluster_utils import Cluster

    test_cluster: Any = Cluster(
        initialize_head=True, head_node_args={"num_cpus": cpus[0], "include_dashboard": False}
    )
    try:
        for count in cpus[1:]:
            test_cluster.add_node(num_cpus=count)
        yield {"RAY_ADDRESS": test_cluster.address}
    finally:
        test_cluster.shutdown()


def score(source: Path, output: Path, *options: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run the command in its own process."""
    command = [sys.executable, "-m", "sentstream", "score", str(source), "-o", f"{output}/", "--json"]
    return run([*command, "--provider", "cpu", *options], env)


def compare_with_one_process(folder: Path, files: int) -> dict[str, float]:
    """Compare one process with workers on the same cores."""
    source = write(folder / "in", files, 20_000)
    start = write(folder / "start", 1, 1)
    cores = usable_cpus()
    plain = score(source, folder / "plain", "--threads", str(cores))
    with cluster(cores) as env:
        started = score(start, folder / "nothing", "--on", "ray", env=env)
        on_ray = score(source, folder / "ray", "--on", "ray", env=env)
    work = on_ray["seconds"] - started["seconds"]
    return {
        "cores": cores,
        "plain_s": plain["seconds"],
        "start_s": started["seconds"],
        "ray_s": work,
        "slower": work / plain["seconds"] - 1,
    }


def nodes(folder: Path, files: int) -> dict[str, float]:
    """Compare one single-core node with two."""
    source = write(folder / "in", files, 20_000)
    start = write(folder / "start", 1, 1)
    seconds = []
    for cpus in ((1,), (1, 1)):
        with cluster(*cpus) as env:
            started = score(start, folder / f"nothing{len(cpus)}", "--on", "ray", env=env)["seconds"]
            result = score(source, folder / f"out{len(cpus)}", "--on", "ray", env=env)["seconds"]
            seconds.append(result - started)
    return {"one_s": seconds[0], "two_s": seconds[1], "faster": seconds[0] / seconds[1]}


def spark(folder: Path, files: int) -> dict[str, float]:
    """Compare one process with Spark on the same cores."""
    source = write(folder / "in", files, 20_000)
    cores = usable_cpus()
    plain = score(source, folder / "plain", "--threads", str(cores))["seconds"]
    job = str(HERE / "spark_job.py")
    result = run([sys.executable, job, str(source), str(folder / "spark"), str(cores)])
    if result["rows"] != files * 20_000:
        raise ContenderFailed(f"Spark wrote {result['rows']:,} rows")
    return {
        "cores": cores,
        "plain_s": plain,
        "first_s": result["first_s"],
        "spark_s": result["seconds"],
        "rate": plain / result["seconds"],
    }


def driver(folder: Path, files: int) -> dict[str, float]:
    """Measure the cost of the driver itself."""
    few, many = write(folder / "few", 10, 2), write(folder / "many", files, 2)
    with cluster(usable_cpus()) as env:
        bare = score(few, folder / "a", "--on", "ray", env=env)
        full = score(many, folder / "b", "--on", "ray", env=env)
    cpu = full["cpu"] - bare["cpu"]
    memory = full["peak_mb"] - bare["peak_mb"]
    return {
        "files": files,
        "cpu_s": full["cpu"],
        "cpu_s_a_million": cpu / files * 1e6,
        "mb": full["peak_mb"],
        "mb_a_million": bare["peak_mb"] + memory / files * 1e6,
    }


PARTS: dict[str, tuple[Callable[[Path, int], dict[str, float]], int]] = {
    "beside": (compare_with_one_process, 100),
    "nodes": (nodes, 50),
    "spark": (spark, 100),
    "driver": (driver, 100_000),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a line of JSON for each part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="use a tenth of the files")
    parser.add_argument("--files", type=int, help="number of files")
    parser.add_argument("--only", action="append", choices=PARTS, help="run only this part; may be repeated")
    options = parser.parse_args(arguments)
    print(f"{machine_line()}; {commit()}")
    (ROOT / "build").mkdir(exist_ok=True)
    for name in options.only or PARTS:
        measure, files = PARTS[name]
        folder = Path(tempfile.mkdtemp(prefix="sentstream-bench-", dir=ROOT / "build"))
        try:
            figures = measure(folder, options.files or files // (10 if options.quick else 1))
        finally:
            shutil.rmtree(folder)
        print(json.dumps({name: {key: round(value, 3) for key, value in figures.items()}}), flush=True)


if __name__ == "__main__":
    main()
