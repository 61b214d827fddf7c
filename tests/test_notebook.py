"""What a notebook displays: escaped and bounded output, and the progress of a run."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_pages import scored_rows

import sentstream
from sentstream.analyze import analyze
from sentstream.dataset.preparation import score_files
from sentstream.notebook import Bar, progress, rows

HOSTILE = '<script>alert(1)</script>\u202e & "quoted"'
MODEL = sentstream.load("sentiment140", provider="cpu", threads=1)


def tags(markup: str) -> set[str]:
    return set(re.findall(r"</?(\w+)", markup))


class TestObjects:
    def test_model_html(self) -> None:
        shown = MODEL._repr_html_()
        assert MODEL.digest in shown
        assert "negative, positive" in shown

    def test_texts_are_escaped(self) -> None:
        batch = pa.record_batch({"text": [HOSTILE], HOSTILE: [HOSTILE]})
        scored = MODEL.scorer().score(batch)._repr_html_()
        (explanation,) = sentstream.explain(MODEL, HOSTILE)
        for shown in (scored, explanation._repr_html_()):
            assert "script" not in tags(shown)
            assert "\u202e" not in shown
        assert "&lt;script&gt;" in scored

    def test_large_results_are_truncated(self) -> None:
        table = pa.table(
            {"text": ["long " * 5000] * 1000, **{f"c{number}": [1] * 1000 for number in range(40)}}
        )
        shown = rows(table)
        assert "10 of 1,000 rows, without 29 of 41 columns" in shown
        assert len(shown) < 10_000

    def test_values_without_python_type_are_shown_as_text(self) -> None:
        shown = rows(pa.table({"at": pa.array([2**53], pa.timestamp("s")), "none": pa.nulls(1)}))
        assert "9007199254740992" in shown

    def test_unlabeled_text_has_no_explanation(self) -> None:
        (explanation,) = sentstream.explain(MODEL, [" "])
        assert "no label" in explanation._repr_html_()

    def test_rows_without_a_label_are_counted(self) -> None:
        shown = MODEL.scorer().score(pa.record_batch({"text": ["good", None]}))._repr_html_()
        assert "no label" in shown


class TestProgress:
    def test_bar_is_updated_regularly_and_at_the_end(self) -> None:
        drawn: list[str] = []
        now = 0.0
        bar = Bar("scoring", drawn.append, lambda: now)
        for done in range(1, 101):
            now += 0.01
            bar(done, 100)
        bar.end()
        assert 2 <= len(drawn) < 20
        assert 'value="100" max="100"' in drawn[-1]
        assert "100 of 100 rows, 100 rows/s" in drawn[-1]

    def test_indeterminate_bar_without_a_total(self) -> None:
        drawn: list[str] = []
        bar = Bar("reading", drawn.append)
        bar(7, None)
        assert "value=" not in drawn[0]
        assert "7 rows" in drawn[0]

    def test_nothing_is_shown_outside_a_notebook(self, capsys: pytest.CaptureFixture[str]) -> None:
        with progress() as bar:
            bar(1, 2)
        assert capsys.readouterr() == ("", "")


def test_analysis_html_has_groups(tmp_path: Path) -> None:
    rows = scored_rows(60, group=pa.array([HOSTILE, None] * 30))
    pq.write_table(rows, tmp_path / "scored.parquet")
    shown = analyze(tmp_path / "scored.parquet", by=["group"])._repr_html_()
    assert "labels of 60 rows" in shown
    assert "mean value by group" in shown
    assert "script" not in tags(shown)
    assert "\u202e" not in shown


def test_run_html_has_the_result(tmp_path: Path) -> None:
    examples = Path(__file__).resolve().parents[1] / "examples" / "tweets.parquet"
    shown = score_files(examples, tmp_path / "scored.parquet", provider="cpu")._repr_html_()
    assert "rows/s" in shown
    assert "no label" in shown
    assert "skipped" not in shown
