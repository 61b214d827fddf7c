"""The drift reference of an exported bundle: its outputs on the rows that its run held out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import synthetic_table, write_synthetic

pytest.importorskip("tensorflow")

from sentstream.bundle import Bundle, load_bundle
from sentstream.cli import main
from sentstream.drift.distribution import Distribution
from sentstream.model import Model
from sentstream_train.config import ANY_COLUMNS, DataConfig, FitConfig, NetworkConfig
from sentstream_train.data.labeled import read_labeled
from sentstream_train.data.lengths import evenly, taken
from sentstream_train.export.run import export
from sentstream_train.fit.distill import NOBODY
from sentstream_train.runs.calibrate import calibrate
from sentstream_train.runs.fine_tune import fine_tune
from sentstream_train.runs.preparation import prepare
from sentstream_train.runs.train import train
from sentstream_train.store.folder import RunFolder
from sentstream_train.store.record import Settings

NETWORK = NetworkConfig(words=200, pairs=50, min_count=1, embedding=6, units=(6,), pooling="mean-max")
FITTING = FitConfig(epochs=1, batch_size=256, learning_rate=1e-2)
DATA = DataConfig(validation=1_200)


@pytest.fixture(name="rows", scope="module")
def _rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("rows") / "tweets.parquet", 3_000)


@pytest.fixture(name="run", scope="module")
def _run(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("reference") / "run"
    return train([rows], output, network=NETWORK, fitting=FITTING, data=DATA).folder.path


def held_out_texts(rows: Path) -> pa.Array:
    """Those of the validation rows, found once more."""
    prepared = prepare([rows], Settings(None, FITTING, DATA, ANY_COLUMNS, None), teachers=NOBODY)
    return read_labeled(rows).text.take(pa.array(prepared.split.validation_rows))


def scored(bundle: Bundle, texts: pa.Array) -> Distribution:
    scorer = Model.load(str(bundle.path), provider="cpu").scorer(columns=[])
    return scorer.score(pa.record_batch({"text": texts})).distribution


def check(bundle: Bundle, texts: pa.Array) -> None:
    """Check that a bundle's reference matches scoring these texts with it."""
    assert bundle.reference is not None
    wanted = scored(bundle, texts)
    assert dict(bundle.reference.texts.labels) == dict(wanted.labels)
    assert bundle.reference.texts.scores == wanted.scores
    assert bundle.reference.texts.score_sum == pytest.approx(wanted.score_sum, abs=0.01)
    assert (bundle.reference.texts.words, bundle.reference.texts.unknown) == (wanted.words, wanted.unknown)


@pytest.mark.parametrize("tables", ["float32", "int8"])
def test_reference_is_computed_from_the_validation_rows(
    tables: str, run: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bundle"
    assert main(["export-onnx", str(run), "--output", str(output), "--tables", tables]) == 0
    bundle, texts = load_bundle(output), held_out_texts(rows)
    check(bundle, texts)
    assert str(bundle.reference) == f"{len(texts):,} validation rows of tweets.parquet"
    assert f"drift:   measured against {bundle.reference}\n" in capsys.readouterr().out


def test_calibrated_run_uses_its_rows_with_new_scores(run: Path, rows: Path, tmp_path: Path) -> None:
    others = write_synthetic(tmp_path / "others.parquet", 300, seed=7)
    output = calibrate(run, [others], tmp_path / "calibrated").folder.path
    plain, warm = (export(one, tmp_path / f"of-{one.name}").bundle for one in (run, output))
    check(warm, held_out_texts(rows))
    assert plain.reference is not None
    assert warm.reference is not None
    assert warm.reference.of == plain.reference.of
    assert warm.reference.texts.labels == plain.reference.texts.labels
    assert warm.reference.texts.scores != plain.reference.texts.scores


def test_fine_tuning_uses_its_own_rows(run: Path, tmp_path: Path) -> None:
    """And only the files that held-out rows stand in are named: those without labels hold none out."""
    new = write_synthetic(tmp_path / "new.parquet", 3_000, seed=3)
    tuned = fine_tune(run, [new], tmp_path / "tuned", fitting=FITTING, data=DATA, thaw="head")
    bundle = export(tuned.folder.path, tmp_path / "bundle").bundle
    assert bundle.reference is not None
    assert bundle.reference.of == "validation rows of new.parquet"


def test_held_out_files_are_named(tmp_path: Path) -> None:
    settings = Settings(None, FITTING, DataConfig(validation=0.4), ANY_COLUMNS, None)
    table = synthetic_table(900)
    for number in range(3):
        pq.write_table(table.slice(300 * number, 300), tmp_path / f"{number}.parquet")
    files = sorted(tmp_path.glob("*.parquet"))
    for many, name in ((1, ""), (2, " and another file"), (3, " and 2 other files")):
        prepared = prepare(files[:many], settings, teachers=NOBODY)
        assert prepared.validation_name == f"validation rows of 0.parquet{name}"
    pq.write_table(table.drop_columns(["label"]).slice(0, 300), tmp_path / "0.parquet")
    prepared = prepare(files, settings, teachers=NOBODY, taught=True)
    assert prepared.validation_name == "validation rows of 1.parquet and another file"


def test_no_reference_with_few_held_out_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_synthetic(tmp_path / "few.parquet", 400)
    run = train([rows], tmp_path / "run", network=NETWORK, fitting=FITTING, data=DataConfig(validation=0.3))
    assert main(["export-onnx", str(run.folder.path), "--output", str(tmp_path / "b"), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["reference"] is None
    assert output["notes"] == ["drift:   no reference: fewer than 1,000 rows were held out (--validation)"]
    bundle = load_bundle(tmp_path / "b")
    assert bundle.reference is None
    assert bundle.config["schema_version"] == 1


def test_no_reference_for_runs_of_earlier_versions(run: Path, tmp_path: Path) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    (old / "held_out.npz").unlink()
    done = export(old, tmp_path / "bundle")
    assert (done.bundle.reference, done.notes) == (None, ())


def test_many_rows_are_sampled_evenly(run: Path) -> None:
    kept = RunFolder(run).read_held_out()
    assert kept is not None
    assert evenly(kept.ids, len(kept.ids)) is kept.ids
    some = evenly(kept.ids, 100)
    assert len(some) == 100
    for place, row in ((0, 0), (99, len(kept.ids) - 1)):
        one = taken(kept.ids, pa.array([row]).to_numpy())
        assert one.words.tolist() == some.words[some.offsets[place] : some.offsets[place + 1]].tolist()
