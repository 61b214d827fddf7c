"""Scored rows compared with their model's training data, if the bundle has its counts."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from bundles import WORDS, add_reference, make_bundle

from sentstream.analyze import analyze
from sentstream.bundle import load_bundle
from sentstream.cli import main
from sentstream.dataset.preparation import score_files
from sentstream.drift.distances import PSI_LARGE, PSI_SOME, jensen_shannon
from sentstream.model import Model
from sentstream.report.sentiment.page import sentiment_page

LABELS = ("negative", "neutral", "positive")
KNOWN = [word for word in WORDS if word.isalpha()]


def drawn(rows: int, seed: int, words: list[str] = KNOWN) -> list[str]:
    """Texts of a few words each."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(words, random.integers(3, 9))) for _ in range(rows)]


USUAL, STRANGE = drawn(3_000, 1), drawn(2_000, 2, ["zebra", "quagga", "okapi", "not", "!"])


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a reference."""
    bundle = make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", labels=LABELS)
    add_reference(bundle, USUAL)
    return bundle


def score(bundle: Path, texts: list[str], output: Path, **options: Any) -> Path:
    """A file or directory of these texts, scored."""
    source = output.parent / "source" / f"{output.name.partition('.')[0]}.parquet"
    source.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"text": texts}), source)
    score_files(source, output, model=str(bundle), provider="cpu", threads=1, **options)
    return output


def test_distances_match_the_counts(bundle: Path, tmp_path: Path) -> None:
    """As ``/metrics`` has them: of the same 20 cells."""
    found = analyze(score(bundle, STRANGE, tmp_path / "a.parquet"), model=str(bundle)).training
    scorer = Model.load(str(bundle), provider="cpu").scorer(columns=[])
    seen = scorer.score(pa.record_batch({"text": STRANGE})).distribution
    reference = load_bundle(bundle).reference
    assert reference is not None
    assert {one.what: one.psi for one in found.drift} == pytest.approx(reference.texts.distances(seen))
    for one in found.drift:
        assert one.jensen_shannon == pytest.approx(jensen_shannon(*reference.texts.cells(seen)[one.what]))
    assert {one.label: one.after for one in found.shares} == {
        label: count / 2_000 for label, count in seen.labels.items()
    }
    assert {one.label: one.before for one in found.shares} == {
        label: count / 3_000 for label, count in reference.texts.labels.items()
    }
    assert (found.of, found.why) == ("3,000 validation rows of mine.parquet", None)
    assert {one.what for one in found.drift if one.psi > PSI_LARGE} >= {"words"}


def test_similar_rows_are_close(bundle: Path, tmp_path: Path) -> None:
    found = analyze(score(bundle, drawn(1_500, 3), tmp_path / "a.parquet"), model=str(bundle)).training
    assert [one.what for one in found.drift] == ["labels", "scores", "words"]
    assert all(one.psi < PSI_SOME for one in found.drift)


def test_uncertain_rows_count_with_their_best_label(bundle: Path, tmp_path: Path) -> None:
    plain, unsure = (
        analyze(score(bundle, STRANGE, tmp_path / f"{name}.parquet", **options), model=str(bundle))
        for name, options in (("plain", {}), ("unsure", {"abstain": 1.0}))
    )
    assert any(share.label == "uncertain" and share.rows for share in unsure.scores.figures.shares)
    assert unsure.training == plain.training


def test_no_word_drift_without_texts(bundle: Path, tmp_path: Path) -> None:
    path = score(bundle, STRANGE, tmp_path / "a.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["text"]), path)
    assert [one.what for one in analyze(path, model=str(bundle)).training.drift] == ["labels", "scores"]


def test_manifest_names_the_model_of_csv_rows(bundle: Path, tmp_path: Path) -> None:
    """A shipped bundle is found by name; any other has to be given, and must be the same."""
    pq.write_table(pa.table({"text": USUAL}), tmp_path / "a.parquet")
    out = tmp_path / "out"
    score_files([tmp_path], out, model="tweets-small", resume=True, output_format="csv", abstain=0.4)
    named = analyze(out)
    assert named.training.of == str(load_bundle("tweets-small").reference)
    assert named.training.why is None
    (model,) = named.scores.models
    assert (model.model.name, model.model.abstain) == ("tweets-small", 0.4)
    (file,) = out.glob("*.csv")
    alone = analyze(file).training
    assert alone.why is not None
    assert "do not record which model" in alone.why
    assert analyze(file, model="tweets-small").training == named.training
    assert pc.read_csv(file).num_rows == 3_000


class TestReasons:
    def test_few_rows(self, bundle: Path, tmp_path: Path) -> None:
        texts = [*USUAL[:999], "", "  "]
        found = analyze(score(bundle, texts, tmp_path / "a.parquet"), model=str(bundle)).training
        assert found.why == "999 labeled rows are too few: below 1,000, differences are mostly chance"
        assert (found.of, found.drift, found.shares) == ("3,000 validation rows of mine.parquet", (), ())
        more = analyze(score(bundle, USUAL[:1_000], tmp_path / "b.parquet"), model=str(bundle)).training
        assert more.why is None

    def test_missing_bundle(self, bundle: Path, tmp_path: Path) -> None:
        found = analyze(score(bundle, USUAL, tmp_path / "a.parquet")).training
        assert found.why == "the bundle of tiny that scored them was not found: give it with --model"
        assert found.of is None

    def test_bundle_without_reference(self, tmp_path: Path) -> None:
        plain = make_bundle(tmp_path / "plain", labels=LABELS)
        found = analyze(score(plain, USUAL, tmp_path / "a.parquet"), model=str(plain)).training
        assert found.why is not None
        assert found.why.startswith("the bundle of tiny has no reference")

    def test_bundle_with_different_labels(self, bundle: Path, tmp_path: Path) -> None:
        """Given for rows that do not name their model."""
        table = pq.read_table(score(bundle, USUAL, tmp_path / "a.parquet"))
        pc.write_csv(table, tmp_path / "a.csv")
        assert analyze(tmp_path / "a.csv", model=str(bundle)).training.why is None
        found = analyze(tmp_path / "a.csv", model="sentiment140").training
        assert found.why == "the bundle of sentiment140 has different labels: it did not score these rows"

    def test_several_models(self, bundle: Path, tmp_path: Path) -> None:
        other = make_bundle(tmp_path / "other", labels=LABELS, seed=3)
        rows = tmp_path / "rows"
        rows.mkdir()
        for name, one in (("a", bundle), ("b", other)):
            shutil.copy(score(one, USUAL, tmp_path / f"{name}.parquet"), rows)
        found = analyze(rows, model=str(bundle)).training
        assert found.why == "several models scored these rows: report them separately"


def test_page_terminal_and_json_report_it(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = score(bundle, STRANGE, tmp_path / "far.parquet")
    page = tmp_path / "page.html"
    title = "Drift from the training data"
    assert main(["report", str(far), "--model", str(bundle), "--output", str(page), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    (words,) = (one for one in data["training"]["drift"] if one["what"] == "words")
    shown = page.read_text("utf-8")
    for part in (title, "3,000 validation rows of mine.parquet", "known and unknown words"):
        assert part in shown
    assert re.search(rf"<td[^>]*>{words['psi']:.3f}</td>", shown)
    assert main(["report", str(far), "--model", str(bundle)]) == 0
    output = capsys.readouterr().out
    for part in (title, "3,000 validation rows of mine.parquet", f"{words['psi']:.3f}", "much"):
        assert part in output
    assert main(["report", str(far), "--output", str(page), "--overwrite"]) == 0
    why = "the bundle of tiny that scored them was not found"
    assert f"Not measured: {why}" in page.read_text("utf-8")
    assert main(["report", str(far)]) == 0
    assert f"{title}: Not measured: {why}" in " ".join(capsys.readouterr().out.split())
    assert title in sentiment_page(data)
