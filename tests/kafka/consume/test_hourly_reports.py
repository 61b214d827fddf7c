"""``examples/hourly_reports.sh``: a topic becomes Parquet files, and each hour of it a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from kafka_tools import Record, fill, make_topic
from processes import output_of

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "hourly_reports.sh"
SEVEN = 1_788_246_000_000  # 2026-09-01T07:00:00Z


def tweets(*minutes: int) -> list[Record]:
    """A tweet at each of these minutes after seven."""
    value = json.dumps({"text": "what a lovely morning"}).encode()
    return [(None, value, (), SEVEN + 60_000 * minute) for minute in minutes]


def test_each_hour_has_a_report(kafka: Any, tmp_path: Path) -> None:
    topic = make_topic(kafka.bootstrap)

    def run() -> dict[str, int]:
        """Run it; return the inode of each page."""
        output_of([SCRIPT, kafka.bootstrap, topic, tmp_path])
        return {page.name: page.stat().st_ino for page in (tmp_path / "reports").iterdir()}

    assert run() == {}
    fill(kafka.bootstrap, topic, tweets(0, 59, 60))
    first = run()
    assert first.keys() == {"2026-09-01T07.html", "2026-09-01T08.html"}
    assert run() == first
    fill(kafka.bootstrap, topic, tweets(61))
    second = run()
    assert second["2026-09-01T07.html"] == first["2026-09-01T07.html"]
    assert second["2026-09-01T08.html"] != first["2026-09-01T08.html"]
    rows = [pq.read_metadata(file).num_rows for file in (tmp_path / "scored").rglob("*.parquet")]
    assert sorted(rows) == [1, 1, 2]
