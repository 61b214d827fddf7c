"""The model in the loop's process and in its own: the same bits, the same errors, no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from bundles import make_bundle
from processes import child, wait_until

from sentstream.errors import BundleNotFoundError, SentstreamError, UsageError
from sentstream.kafka.scoring.process import ChildProcessScoring, in_child_process, in_this_process
from sentstream.model import Model, ModelOptions

TEXTS = pa.array(["good", None, "", "so bad", "good " * 300, "😂 né", "a\0b"] * 500, pa.string())


@pytest.fixture(scope="module", name="bundle")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("model") / "bundle")


def on_cpu(model: Path, threads: int = 1) -> ModelOptions:
    return ModelOptions(model=model, provider="cpu", threads=threads)


@pytest.fixture(scope="module", name="scoring")
def _scoring(bundle: Path) -> ChildProcessScoring:
    with in_child_process(on_cpu(bundle, 2), "mood") as scoring:
        yield scoring


def test_both_match_the_model_bits(bundle: Path, scoring: ChildProcessScoring) -> None:
    wanted = Model.load(bundle, provider="cpu").score(TEXTS, prefix="mood").drop_columns("text")
    with in_this_process(on_cpu(bundle), "mood") as in_process:
        near, far = in_process.score(TEXTS), scoring.score(TEXTS)
        assert in_process.model_info.schema == scoring.model_info.schema == wanted.schema
        assert (in_process.model_info.threads, scoring.model_info.threads) == (1, 2)
    assert near.batch.equals(far.batch)
    assert pa.Table.from_batches([far.batch]).equals(wanted.combine_chunks())
    assert near.tally == far.tally
    assert far.tally.rows == len(TEXTS)


def test_both_abstain_like_the_model(bundle: Path, tmp_path: Path) -> None:
    model = Model.load(bundle, provider="cpu")
    below = pc.max(model.score(TEXTS)["sentiment_score"]).as_py()
    wanted = model.score(TEXTS, prefix="mood", abstain=below).drop_columns("text")
    assert {"uncertain", None} < set(wanted["mood"].to_pylist())
    for make in in_this_process, in_child_process:
        with make(on_cpu(bundle, 2), "mood", below) as scoring:
            scored = scoring.score(TEXTS)
        assert pa.Table.from_batches([scored.batch]).equals(wanted.combine_chunks(), check_metadata=True)
        assert scored.tally.labels["uncertain"] == wanted["mood"].to_pylist().count("uncertain")
    unsure = make_bundle(tmp_path / "unsure", labels=("certain", "uncertain"))
    for make in in_this_process, in_child_process:
        with pytest.raises(UsageError, match="label 'uncertain'"), make(on_cpu(unsure), "mood", 0.9):
            pass


def test_no_texts(scoring: ChildProcessScoring) -> None:
    scored = scoring.score(pa.array([], pa.string()))
    assert (len(scored.batch), scored.tally.rows) == (0, 0)
    assert scored.batch.schema == scoring.model_info.schema


def test_sliced_input(scoring: ChildProcessScoring) -> None:
    assert scoring.score(TEXTS[3:5]).batch.equals(scoring.score(TEXTS).batch.slice(3, 2))


def test_startup_error_is_the_same(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError) as in_process, in_this_process(on_cpu(tmp_path / "none"), "mood"):
        pass
    with pytest.raises(BundleNotFoundError) as far, in_child_process(on_cpu(tmp_path / "none"), "mood"):
        pass
    assert str(far.value) == str(in_process.value)
    assert far.value.hint == in_process.value.hint


def test_dead_process_is_reported(bundle: Path) -> None:
    with in_child_process(on_cpu(bundle), "mood") as scoring:
        os.kill(scoring.pid, signal.SIGKILL)
        with pytest.raises(SentstreamError, match="the scoring process exited with code -9"):
            scoring.score(TEXTS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_ignored_by_the_child(bundle: Path, number: int) -> None:
    with in_child_process(on_cpu(bundle), "mood") as scoring:
        os.kill(scoring.pid, number)
        assert len(scoring.score(TEXTS).batch) == len(TEXTS)


def test_child_ends_with_a_killed_parent(bundle: Path) -> None:
    program = (
        "import sys, time\nfrom sentstream.kafka.scoring.process import in_child_process\n"
        "from sentstream.model import ModelOptions\n"
        "if __name__ == '__main__':\n"
        "    with in_child_process(ModelOptions(model=sys.argv[1], provider='cpu'), 'mood') as scoring:\n"
        "        print(scoring.pid, flush=True)\n        time.sleep(3600)\n"
    )
    with child([sys.executable, "-c", program, bundle], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        scoring = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    wait_until(lambda: not is_running(scoring), "the process that scores ends with its parent")


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
