"""docs/scale.md: the calculations add up, and the page's figures come from the measurements."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale.__main__ import main
from benchmarks.scale.driver import Job, simulate
from benchmarks.scale.inputs import Inputs
from benchmarks.scale.plan import DAY, Assumed, Batch, Prices, Stream
from benchmarks.scale.scenarios import scenarios
from benchmarks.scale.tables import TABLES, filled

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text("utf-8")
FIGURES: dict[str, Any] = json.loads((ROOT / "benchmarks" / "scale" / "figures.json").read_text("utf-8"))
ROUND = Inputs(
    machine="2 cores of a machine",
    commit="abc",
    date="2026-11-29",
    load=0.0,
    row_seconds=10e-6,
    row_in=50.0,
    row_out=70.0,
    piece_seconds=0.1,
    gets=3.0,
    puts=2.0,
    run_gets=5.0,
    run_puts=10.0,
    done_seconds=1e-4,
    done_bytes=1_000.0,
    client_seconds=20e-6,
    scorer_seconds=10e-6,
    broker_seconds=5e-6,
    message_in=100.0,
    message_out=300.0,
)


class TestDriver:
    def test_ideal_run_takes_the_work_time(self) -> None:
        job = Job(pieces=1_000, workers=10, piece=2.0, spread=0.0)
        found = simulate(job)
        assert found.seconds == pytest.approx(200.0)
        assert found.work == pytest.approx(2_000.0)
        assert (found.lost, found.twice, found.failures) == (0, 0, 0)

    def test_piece_times_have_the_requested_mean(self) -> None:
        found = simulate(Job(pieces=20_000, workers=1, piece=2.0, spread=0.5, copies=False))
        assert found.work / 20_000 == pytest.approx(2.0, rel=0.02)

    def test_seed_determines_the_result(self) -> None:
        job = Job(pieces=2_000, workers=20, failures=20.0, back=5.0, slow=0.1, slowness=3.0)
        assert simulate(job) == simulate(job)
        assert simulate(job) != simulate(replace(job, seed=1))

    def test_slow_driver_is_the_bottleneck(self) -> None:
        job = Job(pieces=1_000, workers=100, piece=1.0, spread=0.0, dispatch=0.1)
        assert simulate(job).seconds == pytest.approx(1_000 * 0.1 + 1.0)
        assert simulate(replace(job, per_task=10)).seconds < 30

    def test_failed_pieces_are_repeated(self) -> None:
        job = Job(pieces=3_000, workers=30, piece=1.0, spread=0.0, failures=60.0, back=10.0, copies=False)
        found = simulate(job)
        assert found.failures > 20
        assert found.lost > 0
        assert found.work == pytest.approx(3_000.0)  # each piece counts once
        assert found.seconds > job.ideal

    def test_more_failures_take_longer(self) -> None:
        job = Job(pieces=5_000, workers=50, piece=1.0, back=10.0)
        redone = [simulate(replace(job, failures=rate)).redone for rate in (0.0, 20.0, 100.0)]
        assert redone == sorted(redone)
        assert redone[-1] > redone[0]

    def test_speculative_copies_shorten_the_tail(self) -> None:
        job = Job(pieces=1_000, workers=100, piece=1.0, spread=0.0, slow=0.05, slowness=20.0)
        with_copies, without = simulate(job), simulate(replace(job, copies=False))
        assert with_copies.tail < without.tail / 2
        assert with_copies.seconds < without.seconds
        assert with_copies.twice > 0 == without.twice

    def test_driver_failure_costs_its_restart_and_work_in_progress(self) -> None:
        job = Job(pieces=1_000, workers=10, piece=1.0, spread=0.0)
        found = simulate(replace(job, driver_fails=0.505, driver_back=30.0, rescan=0.01))
        assert found.seconds == pytest.approx(100 + 30 + 500 * 0.01 + 0.5, abs=1.0)
        assert found.lost == pytest.approx(10 * 0.5, abs=1.0)
        assert found.work == pytest.approx(1_000.0)

    def test_simulated_job_matches_the_plan(self) -> None:
        batch = Batch(100e9, 1_000, ROUND)
        for job in scenarios(ROUND).values():
            assert (job.pieces, job.workers, job.piece) == (1_000_000, 1_000, batch.piece)
        assert {simulate(job).failures for job in scenarios(ROUND, 1_000).values()} != {None}


class TestPlan:
    """By hand: 10 µs a row, 100,000 rows a file."""

    def test_batch(self) -> None:
        batch = Batch(1e9, 100, ROUND, Assumed(latency=0.02), Prices(core_hour=0.05, get=1e-6, put=1e-5))
        assert batch.pieces == 10_000
        assert batch.busy == pytest.approx(1.1)
        assert batch.piece == pytest.approx(1.2)
        assert batch.core_hours == pytest.approx(12_000 / 3600)
        assert batch.hours == pytest.approx(120 / 3600)
        assert (batch.read, batch.written) == (50e9, 70e9)
        assert batch.compute_price == pytest.approx(12_000 / 3600 * 0.05)
        assert batch.request_price == pytest.approx(10_000 * (3e-6 + 2e-5))
        assert batch.month_price == pytest.approx(120 * 0.023)

    def test_first_bottleneck(self) -> None:
        found = Batch(
            1e9, 100, ROUND, Assumed(latency=0.0, dispatch=0.01, get_rate=3_000, put_rate=1_000)
        ).bounds()
        assert list(found.values()) == [
            pytest.approx(110),  # 1.1 s a piece, 10 ms of the driver
            pytest.approx(1.1 * 1_000 / 2),
            pytest.approx(1.1 * 3_000 / 3),
        ]

    def test_stream(self) -> None:
        stream = Stream(60_000, ROUND, Assumed(headroom=0.5, replicas=3, retention=DAY))
        assert stream.per_partition == pytest.approx(25_000)
        assert stream.partitions == 3
        assert stream.cores == pytest.approx(60_000 * 30e-6 / 0.5)
        assert stream.broker_cores == pytest.approx(60_000 * 5e-6 * 3 / 0.5)
        assert stream.disk == pytest.approx(60_000 * 400 * DAY * 3)


class TestPage:
    def test_page_tables_match_the_measurements(self) -> None:
        assert filled(PAGE, Inputs(**FIGURES["inputs"]), FIGURES["simulated"]) == PAGE

    def test_stored_simulation_is_current(self) -> None:
        jobs = scenarios(Inputs(**FIGURES["inputs"]))
        assert list(jobs) == list(FIGURES["simulated"])
        for name, job in jobs.items():
            assert FIGURES["simulated"][name]["ideal"] == pytest.approx(job.ideal)

    def test_page_prose_matches_the_figures(self) -> None:
        inputs, found = Inputs(**FIGURES["inputs"]), FIGURES["simulated"]
        for rows, cores in (500e6, 16), (100e9, 1_000):
            batch = Batch(rows, cores, inputs)
            assert batch.month_price > batch.compute_price + batch.request_price
            assert batch.network < 0.5
        plain = found["no failures"]["longer"]
        assert found["nodes fail at the Llama 3 rate"]["longer"] < plain + 0.01
        assert found["1 worker in 20 is preempted per hour"]["redone"] < 0.01
        slow, alone = (
            found["1 worker in 50 takes 4 times as long"],
            found["the same, without copies of late tasks"],
        )
        assert slow["tail"] < alone["tail"]
        assert found["1 file per task, 5 ms of driver time each"]["longer"] > 0.5
        assert found["100 files per task"]["tail"] > 2 * found["no failures"]["tail"]

    def test_command_prints_the_page_tables(self, capsys: pytest.CaptureFixture[str]) -> None:
        main([])
        printed = capsys.readouterr().out
        for table in re.findall(r"<!-- scale: \w+ -->\n(.+?)\n<!-- end -->", PAGE, re.DOTALL):
            assert table in printed

    def test_table_without_placeholder_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="places"):
            filled(PAGE.replace("<!-- scale: stream -->", ""), ROUND, FIGURES["simulated"])

    def test_every_table_is_filled(self) -> None:
        for make in TABLES.values():
            text = make(ROUND, FIGURES["simulated"])
            assert text.count("\n") > 3
            assert "nan" not in text
            assert not any(math.isinf(float(word)) for word in text.split() if word in ("inf", "-inf"))
