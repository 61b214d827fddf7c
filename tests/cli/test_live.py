"""The live view in a real pseudo-terminal, the log lines parsed back, and the totals."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from processes import PATIENCE
from rich.cells import cell_len
from rich.console import Console
from terminals import Screen, Terminal

from sentstream.cli import main
from sentstream.cli.live.json_log import JsonLog
from sentstream.cli.live.log import LogView
from sentstream.cli.live.view import LiveView, view
from sentstream.cli.live.watch import RunInfo
from sentstream.cli.terminal.recent import Recent
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.watch.events import Committed, Observer, Observers, Sample
from sentstream.kafka.watch.totals import Totals

ROOT = Path(__file__).resolve().parents[2]
ABOUT = RunInfo(
    source="tweets",
    target="tweets.scored",
    group="sentstream",
    model="sentiment140 1.0.0",
    provider="cpu",
    client="kafka-python",
    delivery="exactly-once",
    drift_from="training",
)
OWNED = [Partition("tweets", number) for number in range(4)]
BATCH = Committed(
    labels={"negative": 25, "positive": 75},
    unlabeled=2,
    tombstones=3,
    truncated=1,
    dead={"MessageDecodeError": 4, "MessageFieldError": 1},
    replicas=5,
    samples=[Sample("I love it", "positive", 0.98), Sample("bad day", "negative", 0.71)],
)


@dataclass
class Clock:
    now: float = 5_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


class TestTotals:
    def test_totals_of_several_batches(self, clock: Clock) -> None:
        totals = Totals(clock)
        watched: Observer = Observers(totals)
        watched.rebalanced("assigned", OWNED, OWNED)
        watched.committed(BATCH)
        watched.committed(BATCH)
        watched.aborted("x")
        watched.lags({OWNED[0]: 3})
        clock.now += 4
        assert totals.to_dict() == {
            "records": 230,
            "scored": 200,
            "labels": {"negative": 50, "positive": 150},
            "unlabeled": 4,
            "tombstones": 6,
            "truncated": 2,
            "dead_letters": {"MessageDecodeError": 8, "MessageFieldError": 2},
            "replicas": 10,
            "aborts": 1,
            "rebalances": 1,
            "seconds": 4.0,
            "records_per_second": 57.5,
        }
        assert totals.records == 2 * BATCH.records
        json.dumps(totals.to_dict())

    def test_totals_of_nothing(self, clock: Clock) -> None:
        assert Totals(clock).to_dict()["records_per_second"] == 0

    def test_labels_without_texts_are_listed(self, clock: Clock) -> None:
        totals = Totals(clock)
        totals.committed(Committed({"negative": 0, "positive": 1}))
        assert totals.to_dict()["labels"] == {"negative": 0, "positive": 1}


class TestRecent:
    def test_steady_stream_has_a_steady_rate(self, clock: Clock) -> None:
        recent = Recent(10, clock)
        for _ in range(400):
            clock.now += 0.1
            recent.add({"records": 50})
            if clock.now > 5_002:
                assert recent.rate() == pytest.approx(500, rel=0.03)

    def test_old_entries_are_dropped(self, clock: Clock) -> None:
        recent = Recent(10, clock)
        recent.add({"a": 5, "b": 0})
        clock.now += 5
        recent.add({"b": 7})
        assert recent.counts() == {"a": 5, "b": 7}
        clock.now += 5.5
        assert recent.counts() == {"b": 7}
        clock.now += 5
        assert recent.counts() == {}
        assert recent.rate() == 0

    def test_single_early_batch_gives_no_huge_rate(self, clock: Clock) -> None:
        recent = Recent(10, clock)
        clock.now += 0.001
        recent.add({"records": 100})
        assert recent.rate() == 100

    def test_memory_does_not_grow(self, clock: Clock) -> None:
        recent = Recent(300, clock)
        for _ in range(5_000):
            clock.now += 1
            recent.add({"a": 1})
        assert len(recent._slots) <= 60
        assert 290 <= recent.counts()["a"] <= 300


def fields(line: str) -> dict[str, str]:
    """The fields of a logfmt line."""
    return dict(word.split("=", 1) for word in shlex.split(line) if "=" in word)


class TestLogView:
    @pytest.fixture(name="stream")
    def _stream(self) -> io.StringIO:
        return io.StringIO()

    @pytest.fixture(name="log")
    def _log(self, clock: Clock, stream: io.StringIO) -> LogView:
        return LogView(ABOUT, every=30, stream=stream, clock=clock, wall=Clock(1_795_600_800.0))

    def test_lines_at_regular_intervals(self, log: LogView, clock: Clock, stream: io.StringIO) -> None:
        for _ in range(95):
            clock.now += 1
            log.lags({})
        assert len(stream.getvalue().splitlines()) == 3

    def test_batches_alone_trigger_lines(self, log: LogView, clock: Clock, stream: io.StringIO) -> None:
        for _ in range(95):
            clock.now += 1
            log.committed(BATCH)
        lines = stream.getvalue().splitlines()
        assert [fields(line)["records"] for line in lines] == ["3450", "6900", "10350"]
        assert {fields(line)["rate"] for line in lines} == {"115.0/s"}

    def test_line_contents(self, log: LogView, clock: Clock, stream: io.StringIO) -> None:
        log.rebalanced("assigned", OWNED, OWNED)
        log.committed(BATCH)
        clock.now += 29.6
        log.committed(BATCH)
        clock.now += 0.4
        log.lags({OWNED[0]: 100, OWNED[1]: 23})
        line = stream.getvalue().splitlines()[-1]
        assert line == (
            "2026-11-25T10:00:00Z sentstream consume rate=7.7/s records=230 scored=200 negative=25.0% "
            "positive=75.0% unlabeled=4 tombstones=6 truncated=2 dead_letters=10 "
            "dead_letters.MessageDecodeError=8 dead_letters.MessageFieldError=2 lag=123 lag_max=100 "
            "partitions=4 aborts=0 rebalances=1 commit_age=0.4s"
        )

    def test_rate_and_shares_cover_the_time_since_the_last_line(
        self, log: LogView, clock: Clock, stream: io.StringIO
    ) -> None:
        for batch in (BATCH, Committed({"negative": 60, "positive": 0}), Committed({})):
            log.committed(batch)
            clock.now += 30
            log.lags({})
        first, second, third = map(fields, stream.getvalue().splitlines())
        assert (first["negative"], second["negative"], third["negative"]) == ("25.0%", "100.0%", "-")
        assert (second["positive"], third["positive"]) == ("0.0%", "-")
        assert (second["rate"], third["rate"]) == ("2.0/s", "0.0/s")
        assert (second["records"], third["records"]) == ("175", "175")

    def test_drift_is_logged(self, clock: Clock, stream: io.StringIO) -> None:
        log = LogView(
            ABOUT, every=30, stream=stream, clock=clock, drift=lambda: {"labels": 0.3, "words": 0.01}
        )
        clock.now += 30
        log.committed(BATCH)
        logged = fields(stream.getvalue())
        assert (logged["psi.labels"], logged["psi.words"]) == ("0.300", "0.010")

    def test_before_the_first_commit(self, log: LogView, clock: Clock, stream: io.StringIO) -> None:
        clock.now += 31
        log.lags({})
        line = fields(stream.getvalue())
        assert (line["commit_age"], line["lag"], line["lag_max"]) == ("-", "0", "0")

    def test_start_end_and_events_have_their_own_lines(self, log: LogView, stream: io.StringIO) -> None:
        with log:
            log.rebalanced("assigned", OWNED, OWNED)
            log.aborted('the group "x" has\nmoved on')
            log.rebalanced("lost", OWNED, [])
        started, assigned, aborted, lost, stopped = stream.getvalue().splitlines()
        assert "sentstream consume started source=tweets target=tweets.scored" in started
        assert fields(started)["model"] == "sentiment140 1.0.0"
        assert "consume assigned partitions=tweets-0,tweets-1,tweets-2,tweets-3 owned=4" in assigned
        assert fields(aborted)["reason"] == 'the group "x" has moved on'
        assert " lost " in lost
        assert fields(lost)["owned"] == fields(stopped)["partitions"] == "0"
        assert "sentstream consume stopped rate=" in stopped

    def test_many_partitions_are_summarized(self, log: LogView, stream: io.StringIO) -> None:
        many = [Partition("tweets", number) for number in range(1_000)]
        log.rebalanced("assigned", many, many)
        assert fields(stream.getvalue())["partitions"].endswith("tweets-7,…992_more")
        assert len(stream.getvalue()) < 250

    def test_lag_of_revoked_partitions_is_not_summed(
        self, log: LogView, clock: Clock, stream: io.StringIO
    ) -> None:
        log.lags({OWNED[0]: 5, OWNED[1]: 7})
        log.rebalanced("revoked", [OWNED[1]], [OWNED[0]])
        clock.now += 30
        log.committed(BATCH)
        assert fields(stream.getvalue().splitlines()[-1])["lag"] == "5"

    def test_unusual_names_stay_one_field(self, log: LogView, clock: Clock, stream: io.StringIO) -> None:
        log.committed(Committed({"very good=\n": 1, "\x1b[2J": 1}))
        log.aborted("\x1b[2J\u202e")
        log.aborted("\u202e")
        log.aborted("")
        clock.now += 30
        log.lags({})
        assert fields(stream.getvalue().splitlines()[-1])["very_good__"] == "50.0%"
        assert "\x1b" not in stream.getvalue()
        assert "\u202e" not in stream.getvalue()
        assert len(stream.getvalue().splitlines()) == 4
        assert 'reason=""' in stream.getvalue()

    def test_closed_stderr_stops_nothing(self, clock: Clock) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with open(writing, "wb", buffering=0) as raw:
            stream = io.TextIOWrapper(raw, write_through=True)
            with LogView(ABOUT, stream=stream, clock=clock) as log:
                log.aborted("x")
            stream.detach()
        closed = io.StringIO()
        closed.close()
        LogView(ABOUT, stream=closed, clock=clock).aborted("x")

    def test_log_on_a_terminal_on_request(self, capsys: pytest.CaptureFixture[str]) -> None:
        with view(ABOUT, as_json=True) as observer:
            observer.aborted("x")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [line["message"] for line in lines] == ["started", "aborted", "stopped"]

    def test_without_standard_error(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        with view(ABOUT) as observer:
            observer.aborted("x")
        assert capsys.readouterr().out == ""


def picture(live: LiveView, width: int, height: int) -> list[str]:
    """Return what the view draws on a terminal of that size."""
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(live)
    return capture.get().rstrip("\n").split("\n")


class TestJsonLog:
    @pytest.fixture(name="stream")
    def _stream(self) -> io.StringIO:
        return io.StringIO()

    @pytest.fixture(name="log")
    def _log(self, clock: Clock, stream: io.StringIO) -> JsonLog:
        drift = {"labels": 0.3}
        wall = Clock(1_795_600_800.25)
        return JsonLog(ABOUT, every=30, stream=stream, clock=clock, wall=wall, drift=lambda: drift)

    def test_line_contents(self, log: JsonLog, clock: Clock, stream: io.StringIO) -> None:
        log.rebalanced("assigned", OWNED, OWNED)
        log.committed(replace(BATCH, offsets={OWNED[1]: 77, OWNED[3]: 5}))
        clock.now += 30
        log.lags({OWNED[0]: 100, OWNED[1]: 23})
        assigned, running = map(json.loads, stream.getvalue().splitlines())
        assert assigned == {
            "time": "2026-11-25T10:00:00.250Z",
            "level": "info",
            "message": "assigned",
            "partitions": [{"topic": "tweets", "partition": number} for number in range(4)],
            "changed": 4,
            "owned": 4,
        }
        assert running["message"] == "running"
        assert running["labels"] == {"negative": 0.25, "positive": 0.75}
        assert running["dead_letters"] == {"MessageDecodeError": 4, "MessageFieldError": 1}
        assert (running["lag"], running["commit_age"], running["psi"]) == (123, 30.0, {"labels": 0.3})
        assert running["positions"] == [
            {"topic": "tweets", "partition": number, "offset": offset, "lag": lag}
            for number, offset, lag in ((0, None, 100), (1, 77, 23), (2, None, None), (3, 5, None))
        ]

    def test_problems_are_warnings(self, log: JsonLog, stream: io.StringIO) -> None:
        with log:
            log.aborted("\x1b[2J\u202e\nlate")
            log.rebalanced("revoked", OWNED[:1], OWNED[1:])
            log.rebalanced("lost", OWNED, [])
        lines = stream.getvalue().splitlines()
        found = [json.loads(line) for line in lines]
        assert [one["level"] for one in found] == ["info", "warning", "info", "warning", "info"]
        assert found[0]["source"] == "tweets"
        assert found[1]["reason"] == "\x1b[2J\u202e\nlate"
        assert "\x1b" not in lines[1]
        assert "\u202e" not in lines[1]

    def test_many_partitions_are_summarized(self, log: JsonLog, clock: Clock, stream: io.StringIO) -> None:
        many = [Partition("tweets", number) for number in range(1_000)]
        log.rebalanced("assigned", many, many)
        clock.now += 30
        log.lags({one: one.partition for one in many})
        assigned, running = map(json.loads, stream.getvalue().splitlines())
        assert (assigned["changed"], len(assigned["partitions"])) == (1_000, 8)
        assert [one["partition"] for one in running["positions"]] == list(range(999, 991, -1))

    @pytest.mark.parametrize("by", ["option", "environment"])
    def test_all_messages_are_json(
        self, by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        nobody = ["--bootstrap-servers", "127.0.0.1:1", "--retry-for", "1ms"]
        if by == "environment":
            monkeypatch.setenv("SENTSTREAM_CONSUME_LOG_FORMAT", "json")
        options = ["--log-format", "json"] if by == "option" else []
        code = main(["consume", "--topic", "x", *nobody, *options])
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert code > 0
        assert lines[-1]["level"] == "error"
        assert lines[-1]["exit_code"] == code
        assert all({"time", "level", "message"} <= set(line) for line in lines)
        assert main(["explain", "-", "x"]) > 0  # the next command in this process has lines for people
        assert capsys.readouterr().err.startswith("sentstream: error: ")


class TestPicture:
    @pytest.fixture(name="live")
    def _live(self, clock: Clock) -> LiveView:
        console = Console(file=io.StringIO(), force_terminal=True)
        return LiveView(ABOUT, console=console, clock=clock, wall=Clock(1_795_600_800.0))

    def test_full_picture_in_80_columns(self, live: LiveView, clock: Clock) -> None:
        live.rebalanced("assigned", OWNED, OWNED)
        for _ in range(100):
            clock.now += 0.5
            live.committed(BATCH)
        live.lags({OWNED[0]: 0, OWNED[1]: 1_500, OWNED[2]: 750, OWNED[3]: 1})
        clock.now += 0.2
        lines = picture(live, 80, 24)
        assert re.fullmatch(r"tweets → tweets\.scored · group sentstream +0:00:50", lines[0])
        assert lines[1] == "sentiment140 1.0.0 · cpu · kafka-python · exactly-once"
        assert re.match(r"2[23]\d/s over 10 s · 229/s since the start · 11,500 messages", lines[3])
        assert lines[4] == "scored 10,000 · unlabeled 200 · tombstones 300 · truncated 100"
        assert lines[5].startswith("aborts 0 · rebalances 1 · commit 0.2 s ago · dead letters 500 (")
        assert re.fullmatch(r"\d\d:\d\d:00 assigned tweets-0,tweets-1,tweets-2,tweets-3", lines[6])
        assert re.fullmatch(r"labels over 5 min +lag 2,251 in 4 partitions", lines[8])
        assert re.fullmatch(r"negative  25\.0% █+\S? +tweets-1 1,500 █+", lines[9])
        assert re.fullmatch(r"positive  75\.0% █+\S? +tweets-2   750 █+\S?", lines[10])
        assert [line.split()[0] for line in lines[11:13]] == ["tweets-3", "tweets-0"]
        assert lines[11].endswith("1 ▏")
        assert lines[14] == "latest"
        assert set(lines[15:]) == {"positive 0.98  I love it", "negative 0.71  bad day"} or (
            lines[-1] == "negative 0.71  bad day"
        )

    def test_drift_is_shown_with_a_reference(self, live: LiveView, clock: Clock) -> None:
        console = Console(file=io.StringIO(), width=120, height=24)
        drifting = LiveView(
            ABOUT, console=console, clock=clock, drift=lambda: {"labels": 0.3, "words": 0.014}
        )
        for view_, shown in (drifting, True), (live, False):
            with console.capture() as captured:
                console.print(view_)
            assert ("truncated 0 · drift from training: labels 0.30, words 0.01" in captured.get()) == shown

    def test_before_the_first_batch(self, live: LiveView) -> None:
        lines = picture(live, 80, 24)
        assert "waiting for partitions" in lines
        assert any("no partitions" in line for line in lines)
        assert "0.0/s over 10 s" in lines[3]

    @pytest.mark.parametrize(
        ("width", "height"),
        [(80, 24), (200, 50), (63, 24), (64, 20), (40, 16), (20, 8), (10, 4), (4, 2), (300, 9)],
    )
    @pytest.mark.parametrize("labels", [1, 2, 28])
    @pytest.mark.parametrize("partitions", [0, 3, 1_000])
    def test_picture_fits_the_terminal(
        self, live: LiveView, clock: Clock, width: int, height: int, labels: int, partitions: int
    ) -> None:
        owned = [Partition("a-topic-with-a-name-of-some-length", number) for number in range(partitions)]
        live.rebalanced("assigned", owned, owned)
        live.lags({partition: partition.partition * 10**6 for partition in owned})
        samples = [Sample("今日は " * 300, f"感情{index}", 0.5) for index in range(9)]
        live.committed(
            Committed({f"感情{index}": 10**9 for index in range(labels)}, dead={"E" * 99: 1}, samples=samples)
        )
        lines = picture(live, width, height)
        assert len(lines) < height
        assert max(map(cell_len, lines)) <= width
        if height >= 24:
            assert "latest" in lines
            assert lines[-1].startswith("感情8")
            assert any(re.match(r"感情\d+ +\d+\.\d%", line) for line in lines)
            if partitions:
                assert any(re.search(rf"-{partitions - 1} [\d,]+ █", line) for line in lines)

    def test_most_frequent_of_many_labels(self, live: LiveView) -> None:
        live.committed(Committed({f"label{index:02}": index for index in range(40)}))
        lines = picture(live, 80, 24)
        title = next(line for line in lines if line.startswith("labels over 5 min, "))
        assert re.search(r"\d+ of 40", title)
        assert lines[lines.index(title) + 1].startswith("label39")

    def test_shares_cover_five_minutes(self, live: LiveView, clock: Clock) -> None:
        live.committed(Committed({"negative": 100, "positive": 0}))
        clock.now += 200
        live.committed(Committed({"negative": 0, "positive": 100}))
        assert any(line.startswith("negative  50.0%") for line in picture(live, 80, 24))
        clock.now += 110
        assert any(line.startswith("positive 100.0%") for line in picture(live, 80, 24))
        clock.now += 300
        assert any(line.startswith("positive   0.0%") for line in picture(live, 80, 24))

    def test_one_tweet_per_second(self, live: LiveView, clock: Clock) -> None:
        for number in range(100):
            live.committed(Committed({"positive": 1}, samples=[Sample(f"tweet {number}", "positive", 0.5)]))
            clock.now += 0.1
        seen = [int(line.split()[-1]) for line in picture(live, 80, 24) if "0.50  tweet" in line]
        assert len(seen) == 5
        assert all(9 <= later - earlier <= 11 for earlier, later in pairwise(seen))

    def test_control_characters_in_texts_are_escaped(self, live: LiveView) -> None:
        evil = "[bold]not markup[/bold] :smile: \x1b[2J\x1b]0;title\x07\u202e\n\r\ttail"
        live.committed(Committed({"[red]x": 1}, samples=[Sample(evil, "[red]x", 0.5)]))
        live.aborted("[blink]why\x1b[H")
        drawn = "\n".join(picture(live, 100, 24))
        assert "[bold]not markup[/bold] :smile: �[2J�]0;title�� tail" in drawn
        assert "[red]x 100.0%" in drawn
        assert "aborted: [blink]why�[H" in drawn
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", drawn)

    def test_lag_of_a_revoked_partition_disappears(self, live: LiveView) -> None:
        live.rebalanced("assigned", OWNED, OWNED)
        live.lags({OWNED[0]: 5, OWNED[1]: 7})
        live.rebalanced("revoked", [OWNED[1]], [OWNED[0]])
        drawn = "\n".join(picture(live, 80, 24))
        assert "lag 5 in 1 partition" in drawn
        assert "tweets-1 7" not in drawn

    def test_batches_are_cheap(self, live: LiveView) -> None:
        calls = Counter[str]()
        sys.setprofile(lambda frame, event, _: calls.update([event]))
        try:
            for _ in range(2_000):
                live.committed(BATCH)
        finally:
            sys.setprofile(None)
        assert (calls["call"] + calls["c_call"]) / 2_000 < 200

    def test_drawing_is_thread_safe(self, live: LiveView, clock: Clock) -> None:
        stop, failed = threading.Event(), []

        def turn() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                clock.now += 0.3
                many = [Partition("tweets", index) for index in range(number % 50)]
                live.rebalanced("assigned", many, many)
                live.lags(dict.fromkeys(many, number))
                live.committed(Committed({f"l{number % 7}": 1}, samples=BATCH.samples))

        thread = threading.Thread(target=turn)
        thread.start()
        try:
            for _ in range(200):
                picture(live, 80, 24)
        except Exception as error:
            failed.append(error)
        finally:
            stop.set()
            thread.join()
        assert not failed


PROGRAM = """
import sys
from sentstream.cli.live.view import view
from sentstream.cli.live.watch import RunInfo
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.watch.events import Committed, Sample

owned = [Partition("tweets", number) for number in range(12)]
tweets = ["I love it \\U0001f602", "今日はいい天気 " * 40, "[bold]x[/] \\x1b[2J"]
samples = [Sample(text, "positive", 0.9) for text in tweets]
run_info = RunInfo("tweets", "tweets.scored", "sentstream", "tiny 1.0", "cpu", "kafka-python", "exactly-once")
with view(run_info) as observer:
    for line in sys.stdin:
        if line == "work\\n":
            observer.rebalanced("assigned", owned, owned)
            observer.committed(Committed({"negative": 3, "positive": 9}, samples=samples))
            observer.lags({one: one.partition * 10 for one in owned})
        elif line == "warn\\n":
            print("a warning", file=sys.stderr)
        elif line == "fail\\n":
            raise SystemExit("it failed")
print("data")
"""


def watched(width: int, height: int, **more: str) -> Terminal:
    return Terminal(["-W", "error", "-c", PROGRAM], width, height, **more)


def assert_summary(screen: Screen, *after: str) -> None:
    """Check that the display is gone and the summary is left, followed by ``after``."""
    lines = [line.rstrip() for line in screen.text.rstrip().splitlines()]
    assert re.fullmatch(r"messages      12 in 0:\d\d:\d\d, \d+\.\d/s", lines[0]), lines
    assert lines[1:] == [
        "labels        negative 3 (25.0%), positive 9 (75.0%)",
        "unlabeled     0",
        "tombstones    0",
        "truncated     0",
        "dead letters  0",
        "lag           660 in 12 partitions",
        "model         tiny 1.0, cpu",
        "output        tweets.scored, exactly-once",
        *after,
    ]


class TestTerminal:
    @pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (48, 18)])
    def test_screen_during_and_after_the_run(self, width: int, height: int) -> None:
        with watched(width, height) as terminal:
            terminal.read_until(lambda screen: "waiting for partitions" in screen.text)
            assert not terminal.screen.cursor
            terminal.say("work")
            # A picture may come in several parts: all of it is waited for.
            terminal.read_until(
                lambda screen: all(
                    what in screen.text
                    for what in (
                        "scored 12 · unlabeled 0",
                        "positive  75.0% █",
                        "tweets-11 110 █",
                        "positive 0.90  I love it 😂",
                        "[bold]x[/] �[2J",
                    )
                )
            )
            assert terminal.screen.lines[0].startswith("tweets → tweets.scored")
            assert not terminal.screen.wide
            code, out = terminal.finish()
        screen = terminal.screen
        assert (code, out) == (0, "data\n")
        assert screen.cursor
        assert_summary(screen)
        assert not any(screen.scrolled)

    def test_messages_appear_above_the_picture(self) -> None:
        with watched(80, 24) as terminal:
            terminal.say("work")
            terminal.say("warn")
            terminal.read_until(lambda screen: "a warning" in screen.text and "lag 660" in screen.text)
            assert terminal.screen.lines[0].strip() == "a warning"
            terminal.finish()
        assert terminal.screen.text.count("a warning") == 1
        assert terminal.screen.lines[1].startswith("messages ")

    def test_error_restores_the_terminal(self) -> None:
        with watched(80, 24) as terminal:
            terminal.say("work")
            terminal.read_until(lambda screen: "lag 660" in screen.text)
            terminal.say("fail")
            terminal.read_until(lambda screen: "it failed" in screen.text)
            code, out = terminal.finish()
        assert (code, out) == (1, "")
        assert terminal.screen.cursor
        assert_summary(terminal.screen, "it failed")

    def test_at_most_four_frames_per_second(self) -> None:
        begun = time.monotonic()
        with watched(80, 24) as terminal:
            terminal.read_until(lambda screen: "waiting" in screen.text)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                terminal.say("work")
                terminal._read()
            pictures = terminal.raw.count("exactly-once")
            assert pictures <= 4 * (time.monotonic() - begun) + 2
            terminal.finish()

    def test_closed_terminal_does_not_stop_the_run(self) -> None:
        with watched(80, 24) as terminal:
            terminal.read_until(lambda screen: "waiting" in screen.text)
            os.close(terminal._master)
            terminal._master = os.open(os.devnull, os.O_RDONLY)
            terminal.say("work")
            out, _ = terminal.process.communicate(timeout=PATIENCE)
        assert out == "data\n"

    @pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
    def test_log_lines_on_a_dumb_terminal(self, more: dict[str, str]) -> None:
        with watched(300, 24, **more) as terminal:
            terminal.say("work")
            code, _ = terminal.finish()
        assert code == 0
        assert "\x1b[" not in terminal.raw
        assert "sentstream consume stopped rate=" in terminal.raw


class TestView:
    def test_log_lines_without_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        with view(ABOUT) as observer:
            assert isinstance(observer, LogView)
            observer.committed(BATCH)
        out, err = capsys.readouterr()
        assert out == ""
        assert fields(err.splitlines()[-1])["records"] == "115"
