"""The progress bar for rows: its figures, how it fits the width, and its look on a real pseudo-terminal."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from rich.cells import cell_len
from rich.console import Console
from terminals import ROOT, Terminal

from sentstream.cli.terminal.row_bar import RowBar


@dataclass
class Clock:
    now: float = 5_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


def drawn(bar: RowBar, width: int = 120) -> str:
    """Return one frame, with `#` for every column of the bar."""
    stream = io.StringIO()
    Console(file=stream, width=width, color_system="standard", force_terminal=True).print(bar, end="")
    return re.sub("[━╸╺]", "#", re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue()))


class TestFigures:
    def test_bar_and_time_are_shown_at_once(self, clock: Clock) -> None:
        bar = RowBar("scoring", clock)
        assert drawn(bar) == f"scoring {'#' * 40} reading  0:00"
        clock.now += 3
        assert drawn(bar).endswith("reading  0:03")
        bar.begin_file("logs/a.parquet", 1, 1)
        bar(0, 1_000_000)
        assert drawn(bar) == f"scoring a.parquet {'#' * 40} 0/1,000,000 rows  0:03"

    def test_bar_moves_before_the_first_rows_are_done(self, clock: Clock) -> None:
        bar = RowBar("scoring", clock)
        bar(0, 1_000_000)
        console = Console(file=io.StringIO(), width=120, color_system="truecolor", force_terminal=True)
        pictures = set()
        for _ in range(5):
            clock.now += 0.1
            pictures.add(str(list(console.render(bar))))
        assert len(pictures) == 5

    def test_rate_is_of_the_last_seconds(self, clock: Clock) -> None:
        bar = RowBar("scoring", clock)
        bar(0, 1_000_000)
        clock.now += 9
        bar(1000, 1_000_000)
        assert "  111 rows/s  " in drawn(bar)
        for step in range(1, 41):
            clock.now += 1
            bar(1000 + 5000 * step, 1_000_000)
        (rate,) = re.findall(r"([\d,]+) rows/s", drawn(bar))
        assert int(rate.replace(",", "")) == pytest.approx(5000, rel=0.06)
        assert drawn(bar).endswith("  2:37 left")

    def test_rate_falls_without_progress(self, clock: Clock) -> None:
        bar = RowBar("scoring", clock)
        bar(0, 100)
        clock.now += 1
        bar(50, 100)
        assert "50 rows/s" in drawn(bar)
        clock.now += 9
        assert "5.0 rows/s" in drawn(bar)
        clock.now += 60
        assert "rows/s" not in drawn(bar)

    def test_earlier_progress_is_not_in_the_rate(self, clock: Clock) -> None:
        bar = RowBar("judging", clock)
        clock.now += 100
        bar(1_000_000, 2_000_000)
        clock.now += 10
        bar(1_000_100, 2_000_000)
        assert "  10 rows/s  " in drawn(bar)

    def test_another_pass_starts_over(self, clock: Clock) -> None:
        bar = RowBar("judging", clock)
        bar(0, 1000)
        clock.now += 1
        bar(1000, 1000)
        bar(0, 1000)
        clock.now += 10
        bar(100, 1000)
        assert "100/1,000 rows  10 rows/s  1:30 left" in drawn(bar)

    def test_bytes_and_rows(self, clock: Clock) -> None:
        bar = RowBar("scoring", clock)
        bar(0, 1_000_000)
        bar.count_bytes(0, 50_000_000)
        clock.now += 10
        bar(100_000, 1_000_000)
        bar.count_bytes(5_000_000, 50_000_000)
        assert drawn(bar).endswith("100,000/1,000,000 rows  10,000 rows/s  0.5 MB/s  1:30 left")

    def test_bytes_show_progress_without_rows(self, clock: Clock) -> None:
        """The number of rows of a CSV file is not known."""
        bar = RowBar("scoring", clock)
        bar(0, None)
        bar.count_bytes(0, 400_000_000)
        clock.now += 10
        bar(500_000, None)
        bar.count_bytes(200_000_000, 400_000_000)
        assert drawn(bar) == f"scoring {'#' * 40} 500,000 rows  50,000 rows/s  20 MB/s  0:10 left"

    def test_skipped_files_are_counted(self, clock: Clock) -> None:
        bar = RowBar("scoring", clock)
        bar(0, None)
        bar.count_bytes(0, 100)
        clock.now += 1
        bar.count_bytes(100, 100)
        assert "0.0 MB/s  0:00 left" in drawn(bar)


class TestWidth:
    @pytest.mark.parametrize("width", range(10, 140, 7))
    @pytest.mark.parametrize(
        "name", ["a.parquet", f"{'long ' * 20}.parquet", "日本語" * 20, "\x1b[2J\n.parquet"]
    )
    def test_one_line_that_fits(self, clock: Clock, width: int, name: str) -> None:
        bar = RowBar("scoring", clock)
        bar.begin_file(f"directory/{name}", 3, 12)
        bar(0, 20_000_000)
        clock.now += 10
        bar(1_234_567, 20_000_000)
        bar.count_bytes(100_000_000, 1_500_000_000)
        shown = drawn(bar, width)
        assert "\n" not in shown
        assert "\x1b" not in shown
        assert cell_len(shown) <= width

    def test_numbers_are_cut_last_then_the_name(self, clock: Clock) -> None:
        bar = RowBar("scoring", clock)
        bar.begin_file("directory/tweets-03.parquet", 3, 12)
        bar(0, 20_000_000)
        clock.now += 10
        bar(1_000_000, 20_000_000)
        figures = "1,000,000/20,000,000 rows  100,000 rows/s  3:10 left"
        name = "scoring tweets-03.parquet (file 3 of 12)"
        assert drawn(bar, 160) == f"{name} {'#' * 40} {figures}"
        assert drawn(bar, 110) == f"{name} {'#' * 16} {figures}"
        assert drawn(bar, 96) == f"{name} {figures}"
        assert drawn(bar, 80).endswith(f"… {figures}")
        assert drawn(bar, 50) == "1,000,000/20,000,000 rows  100,000 rows/s  3:10 l…"
        bar.count_bytes(100_000_000, 2_000_000_000)
        assert drawn(bar, 61) == "1,000,000/20,000,000 rows  100,000 rows/s  10 MB/s  3:10 left"
        assert drawn(bar, 56) == "sc… 1,000,000/20,000,000 rows  100,000 rows/s  3:10 left"


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """Two files, the second longer."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, rows in (("early", 2_000), ("late", 30_000)):
        pq.write_table(
            pa.table({"text": [f"I love it {row}" for row in range(rows)]}), folder / f"{name}.parquet"
        )
    return folder


class TestScore:
    def line(self, folder: Path, *more: str) -> list[str]:
        model = folder.parent / "tiny"
        if not model.exists():
            make_bundle(model)
        out = folder.parent / "out"
        return ["-m", "sentstream", "score", str(folder), "--model", str(model), "--output", str(out), *more]

    def test_terminal_shows_each_file_and_keeps_the_summary(self, folder: Path) -> None:
        with Terminal(self.line(folder, "--batch-rows", "500"), 120, 24) as terminal:
            code, out = terminal.finish()
        assert (code, out) == (0, "")
        seen = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", terminal.raw)
        assert "scoring late.parquet (file 2 of 2)" in seen
        assert re.search(r"[\d,]+/32,000 rows", seen)
        assert terminal.screen.cursor
        lines = [line for line in terminal.screen.lines if line]
        assert lines[0] == "rows      32,000"
        assert not any("scoring" in line for line in lines)

    def test_bar_is_only_drawn_on_terminals(self, folder: Path) -> None:
        with Terminal(self.line(folder, "--json"), 120, 24) as terminal:
            code, out = terminal.finish()
        assert code == 0
        assert json.loads(out)["rows"] == 32_000
        run = subprocess.run(
            [sys.executable, *self.line(folder, "--overwrite")],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        assert run.stdout == ""
        assert run.stderr.startswith("rows ")
        assert "scoring" not in run.stderr

    def test_csv(self, folder: Path) -> None:
        lines = "".join(f"I love it {row}\n" for row in range(60_000))
        source = folder.parent / "tweets.csv"
        source.write_text(f"text\n{lines}")
        with Terminal(self.line(source, "--batch-rows", "500"), 120, 24) as terminal:
            code, _ = terminal.finish()
        assert code == 0
        seen = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", terminal.raw)
        assert re.search(r"scoring tweets\.csv .*[\d,]+ rows", seen)

    def test_no_bar_in_ci(self, folder: Path) -> None:
        with Terminal(self.line(folder), 120, 24, CI="true") as terminal:
            code, _ = terminal.finish()
        assert code == 0
        assert "scoring" not in terminal.raw
        assert terminal.screen.lines[0] == "rows      32,000"

    def test_dry_run_has_no_bar(self, folder: Path) -> None:
        with Terminal(self.line(folder, "--dry-run")) as terminal:
            code, out = terminal.finish()
        assert code == 0
        assert out.endswith("dry run: nothing was written\n")
        assert terminal.raw == ""

    def test_error_replaces_the_bar(self, folder: Path) -> None:
        (folder / "broken.parquet").write_bytes(b"PAR1 not really PAR1")
        with Terminal(self.line(folder), 200) as terminal:
            code, _ = terminal.finish()
        assert code == 11
        lines = [line for line in terminal.screen.lines if line]
        assert len(lines) == 1
        assert lines[0].startswith("sentstream: error: ")
