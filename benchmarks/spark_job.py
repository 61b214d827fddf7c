"""Score Parquet files in Spark on this machine; print the seconds of the second pass as JSON.

    python benchmarks/spark_job.py INPUT OUTPUT CORES

The first pass scores two files per core: it starts the Python workers, which load the model and stay.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sentstream.spark


def main() -> None:
    """Run both passes."""
    from pyspark.sql import SparkSession

    source, output, cores = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "localhost")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "4g")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "32768")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")

    def score(inputs: list[str], name: str) -> float:
        began = time.perf_counter()
        sentstream.spark.score(session.read.parquet(*inputs)).write.parquet(str(output / name))
        return time.perf_counter() - began

    files = sorted(map(str, source.rglob("*.parquet")))
    first = score(files[: 2 * cores], "first")
    seconds = score(files, "all")
    rows = session.read.parquet(str(output / "all")).count()
    session.stop()
    print(json.dumps({"first_s": first, "seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
