"""The charts of a report as an image, for any names and rows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.image import imread
from report_pages import HOSTILE, scored_rows

from sentstream.analyze import analyze
from sentstream.cli import main
from sentstream.errors import OutputExistsError
from sentstream_train.report.picture import draw_sentiment

#: What would be a formula, a name that no legend shows, signs that no font has.
NAMES = [HOSTILE, r"$\frac{", "_hidden", "😀 \u202e 名前", "x" * 500, ""]


def height(picture: bytes) -> int:
    rows, columns, _ = imread(io.BytesIO(picture), format="png").shape
    assert columns == 1080
    return int(rows)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_escaped(name: str, tmp_path: Path) -> None:
    table = scored_rows(**{name or " ": pa.array([name, "en"] * 200)})
    pq.write_table(table, tmp_path / "scored.parquet")
    found = analyze(tmp_path / "scored.parquet", by=[name or " "], time_column="created_at")
    assert height(draw_sentiment(found.to_dict())) > 0


def test_largest_groups_are_drawn(tmp_path: Path) -> None:
    def drawn(groups: int) -> int:
        names = pa.array([f"group {row % groups}" for row in range(2000)])
        pq.write_table(scored_rows(2000, group=names), tmp_path / "scored.parquet")
        return height(draw_sentiment(analyze(tmp_path / "scored.parquet", by=["group"], top=1000).to_dict()))

    assert drawn(2) < drawn(20) < drawn(40) == drawn(1000)


def test_picture_without_labels(tmp_path: Path) -> None:
    rows = scored_rows(50)
    none = {name: pa.nulls(50, rows.schema.field(name).type) for name in rows.column_names[3:]}
    table = pa.table({**{name: rows[name] for name in rows.column_names[:3]}, **none})
    pq.write_table(table, tmp_path / "scored.parquet")
    found = analyze(tmp_path / "scored.parquet", time_column="created_at", by=["lang"]).to_dict()
    assert height(draw_sentiment(found)) > 0


def test_any_number_of_labels(tmp_path: Path) -> None:
    names = [f"label {index} $" for index in range(7)]
    shares = {f"sentiment_prob_{name}": [1 / 7] * 40 for name in names}
    table = pa.table({"sentiment": names * 5 + names[:5], "sentiment_score": [1 / 7] * 40, **shares})
    pq.write_table(table, tmp_path / "scored.parquet")
    assert height(draw_sentiment(analyze(tmp_path / "scored.parquet", by=["sentiment"]).to_dict())) > 0


def test_command(tmp_path: Path, capsys: Any) -> None:
    pq.write_table(scored_rows(), tmp_path / "scored.parquet")
    target = tmp_path / "new" / "report.png"
    arguments = [
        "report",
        str(tmp_path / "scored.parquet"),
        "--time-column",
        "created_at",
        "--png",
        str(target),
    ]
    assert main(arguments) == 0
    assert f"image: {target}\n" in capsys.readouterr().err
    assert height(target.read_bytes()) > 0
    assert main(arguments) == OutputExistsError.exit_code
    assert main([*arguments, "--overwrite"]) == 0
