"""``run.json``: a record is read as it was written, and those of earlier versions are, too."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from sentstream.errors import CheckpointError
from sentstream.text import TextRules
from sentstream_train.config import Columns, DataConfig, FitConfig, NetworkConfig
from sentstream_train.data.labeled import SourceInfo
from sentstream_train.data.split import DataReport
from sentstream_train.store.folder import RunFolder
from sentstream_train.store.record import (
    RUN_FORMAT,
    Figures,
    FineTuning,
    NamedFile,
    RunRecord,
    Settings,
    StageResult,
    Teacher,
    TrialScore,
    Versions,
    VocabularySize,
    WordVectors,
)

RECORD = RunRecord(
    labels=("negative", "positive"),
    rules=TextRules(lowercase=False),
    max_chars=500,
    vocabulary=VocabularySize(100, 20, ("more.parquet",)),
    settings=Settings(
        NetworkConfig(units=(8, 4)),
        FitConfig(epochs=9, class_weights={"negative": 2.0}),
        DataConfig(validation=0.2, max_chars=500, rules=TextRules(lowercase=False)),
        Columns(text="tweet"),
        ("negative", "positive"),
    ),
    data=(SourceInfo("tweets.csv", 10, 9, "ab" * 32, 1, (("neutral", 3),), 2),),
    rows=DataReport(9, 0, 0, 0, 1, 6, 2),
    repeat_held_out=1,
    held_out=(NamedFile("test.csv", "cd" * 32),),
    teachers=(Teacher("large", "sha256:1"), Teacher("columns p_*", None)),
    embeddings=WordVectors("glove.txt", "ef" * 32, 8, 80, 98, 0.93),
    fine_tuning=FineTuning("chain", 0.8, ("probabilities", "all"), "sha256:2"),
    stages=(StageResult("probabilities", 3, 0, Figures(0.5, 0.7), Figures(0.5, 0.7), "no lower loss"),),
    started_from={"name": "before", "labels": ["negative", "positive"]},
    search=TrialScore(3, "accuracy", 0.75),
    begun=5,
    metrics={"validation": {"n": 2, "accuracy": 0.5, "loss": 0.7, "epoch": 2}},
    versions=Versions("0.1.0", "3.11.7", "3.15.1", "2.21.0"),
    started="2026-11-29T10:00:00+00:00",
)

#: What the first version wrote, with all that a run of `train` has.
FIRST: dict[str, Any] = {
    "format": 1,
    "labels": ["negative", "positive"],
    "text": TextRules().to_dict(),
    "max_chars": 1000,
    "architecture": {"words": 200, "pairs": 0, "units": [8], "cell": "simple", "pooling": "last"},
    "training": {"epochs": 3, "batch_size": 32, "patience": 0, "class_weights": "none", "seed": 1},
    "preparation": {"validation": 0.2, "limit": 0, "max_chars": 1000, "rules": TextRules().to_dict()},
    "columns": {"text": None, "label": None, "user": None},
    "only_labels": None,
    "data": [SourceInfo("tweets.parquet", 900, 900, "ab" * 32).to_dict()],
    "rows": {**DataReport(900, 0, 0, 0, 0, 720, 180).to_dict(), "repeat_held_out": 0},
    "held_out": [],
    "versions": {"sentstream": "0.1.0", "python": "3.11.7", "keras": "3.15.1", "tensorflow": "2.21.0"},
    "started": "2026-11-24T23:06:43+00:00",
    "vocabulary": {"words": 53, "pairs": 0, "also_from": []},
    "metrics": {"validation": {"n": 180, "accuracy": 0.9, "loss": 0.3, "epoch": 3}},
    "finished": "2026-11-24T23:19:53+00:00",
}


def through_json(record: RunRecord) -> RunRecord:
    return RunRecord.from_dict(json.loads(json.dumps(record.to_dict())))


def test_record_round_trip() -> None:
    assert through_json(RECORD) == RECORD
    done = RECORD.done(metrics={})
    assert through_json(done) == done
    assert done.finished is not None
    assert RECORD.finished is None  # the record itself never changes
    with pytest.raises(FrozenInstanceError):
        RECORD.begun = 1  # type: ignore[misc]
    assert RECORD.to_dict()["format"] == RUN_FORMAT


def test_calibration_passes_on_earlier_facts() -> None:
    """Provenance of a bundle that this version would not write is kept unchanged."""
    passed_on = {
        "training": {"epochs": 3, "setting of tomorrow": 1},
        "data": [{"name": "x"}],
        "finished": "then",
    }
    record = RunRecord(
        labels=("a", "b"),
        rules=TextRules(),
        max_chars=1000,
        vocabulary=VocabularySize(5, 0),
        finished="now",
        passed_on=passed_on,
        calibration={"temperature": 1.5},
    )
    written = record.to_dict()
    assert written["training"] == passed_on["training"]
    assert written["finished"] == "then"
    assert through_json(record).provenance() == {**passed_on, "calibration": {"temperature": 1.5}}


def test_first_version_is_readable() -> None:
    record = RunRecord.from_dict(FIRST)
    assert record.settings is not None
    assert record.settings.network == NetworkConfig(words=200, units=(8,))
    assert record.settings.fitting == FitConfig(epochs=3, batch_size=32, patience=0)
    assert record.held_out == ()
    assert record.stages == ()
    provenance = record.provenance()
    assert provenance["data"] == FIRST["data"]
    assert provenance["rows"] == FIRST["rows"]
    assert provenance["finished"] == FIRST["finished"]
    tuned = {
        **FIRST,
        "fine_tuning": {"thaw": "all", "layer_decay": 1.0, "stages": ["all"], "fingerprint": "x"},
    }
    del tuned["architecture"]
    again = RunRecord.from_dict(tuned)
    assert again.fine_tuning == FineTuning("all", 1.0, ("all",), "x")
    assert again.settings is not None
    assert again.settings.network is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": RUN_FORMAT + 1}, "a run of format 3; this version supports 1 to 2"),
        ({"format": None}, "a run of format None"),
        ({"labels": None}, "does not support"),
        ({"training": {"momentum": 1}}, "unknown setting 'momentum'"),
        ({"training": {"epochs": 0}}, "epochs must be at least 1"),
        ({"rows": {}}, "does not support"),
        ({"versions": {"torch": "2"}}, "torch"),
    ],
)
def test_unreadable_records_give_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json(folder.run, {**FIRST, **change})
    with pytest.raises(CheckpointError, match=message) as error:
        folder.read_record()
    assert str(error.value).startswith(f"{folder.run}: ")
    assert "\n" not in str(error.value)


def test_inapplicable_fields_are_not_written() -> None:
    bare = replace(RECORD, teachers=(), embeddings=None, fine_tuning=None, stages=(), search=None, begun=0)
    assert not {"teachers", "embeddings", "fine_tuning", "stages", "search", "begun", "finished"} & set(
        bare.to_dict()
    )
