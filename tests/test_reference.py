"""A drift reference: measured by a command, saved to a file, rejected if it does not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle

from sentstream.cli import main
from sentstream.drift.distribution import LEAST_TEXTS
from sentstream.errors import ColumnNotFoundError, DriftReferenceError, InputNotFoundError, OutputExistsError
from sentstream.model import Model
from sentstream.reference import Reference, measure


def tweets(count: int) -> list[str]:
    words = "i love you hate it this is not so good bad great awful zebra day".split()
    return [
        " ".join(words[(row * step) % len(words)] for step in range(1, 2 + row % 9)) for row in range(count)
    ]


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(name="model", scope="module")
def _model(bundle: Path) -> Model:
    return Model.load(str(bundle), provider="cpu", threads=1)


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> Path:
    texts = tweets(1_500)
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"text": texts[:700], "id": range(700)}), tmp_path / "in" / "a.parquet")
    lines = [json.dumps({"text": text}) for text in [*texts[700:], None, ""]]
    (tmp_path / "in" / "b.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "in"


def test_counts_match_score(model: Model, files: Path) -> None:
    found = measure([str(files)], model)
    table = model.score(tweets(1_500))
    assert found.texts.texts == 1_500
    assert dict(found.texts.labels) == {
        label: table["sentiment"].to_pylist().count(label) for label in model.labels
    }
    assert (found.model, found.digest, found.abstain) == (model.name, model.digest, None)
    assert found.texts.unknown is not None
    assert 0 < found.texts.unknown < found.texts.words


def test_file_round_trip(model: Model, files: Path, tmp_path: Path) -> None:
    found = measure([str(files)], model, abstain=0.6)
    found.save(tmp_path / "reference.json")
    assert Reference.load(tmp_path / "reference.json") == found
    with pytest.raises(OutputExistsError):
        found.save(tmp_path / "reference.json")


def test_progress_ends_with_all_rows(model: Model, files: Path) -> None:
    progress_calls: list[tuple[int, int | None]] = []
    measure(
        [str(files / "a.parquet"), str(files / "b.jsonl")],
        model,
        progress=lambda *at: progress_calls.append(at),
    )
    assert progress_calls[0][0] == 0
    assert progress_calls[-1][0] == 1_502


class TestMismatches:
    @pytest.fixture(name="reference")
    def _reference(self, model: Model, files: Path) -> Reference:
        return measure([str(files)], model)

    def test_same_model_fits(self, reference: Reference, model: Model) -> None:
        reference.check(model.name, model.digest, None)

    def test_another_model(self, reference: Reference, tmp_path: Path) -> None:
        other = Model.load(str(make_bundle(tmp_path / "other", seed=3, name="other")), provider="cpu")
        with pytest.raises(DriftReferenceError, match=r"of model tiny \(.*not of other"):
            reference.check(other.name, other.digest, None)

    def test_another_threshold(self, reference: Reference, model: Model) -> None:
        with pytest.raises(DriftReferenceError, match=r"--abstain None, but this run has 0\.7"):
            reference.check(model.name, model.digest, 0.7)

    def test_too_few_texts(self, model: Model, tmp_path: Path) -> None:
        pq.write_table(pa.table({"text": tweets(LEAST_TEXTS - 1) + [None] * 50}), tmp_path / "few.parquet")
        with pytest.raises(DriftReferenceError, match="999 labeled texts are too few"):
            measure([str(tmp_path / "few.parquet")], model)

    def test_missing_file_or_column(self, model: Model, files: Path) -> None:
        with pytest.raises(InputNotFoundError):
            measure([str(files / "nowhere.parquet")], model)
        with pytest.raises(ColumnNotFoundError):
            measure([str(files / "a.parquet")], model, text_column="txt")

    @pytest.mark.parametrize(
        "change",
        [
            lambda kept: kept.update(format=2),
            lambda kept: kept.update(model="tiny"),
            lambda kept: kept["model"].pop("digest"),
            lambda kept: kept.update(scores=kept["scores"][1:]),
            lambda kept: kept["scores"].__setitem__(0, -1),
            lambda kept: kept["labels"].update(positive="many"),
            lambda kept: kept.update(unknown=kept["words"] + 1),
            lambda kept: kept.update(words=True),
            lambda kept: kept.update(score_sum=None),
            lambda kept: kept.update(abstain="0.7"),
            lambda kept: kept.update(scores=[0] * 20),
        ],
    )
    def test_changed_file(self, reference: Reference, change: Any, tmp_path: Path) -> None:
        kept = reference.to_dict()
        change(kept)
        (tmp_path / "changed.json").write_text(json.dumps(kept))
        with pytest.raises(DriftReferenceError, match=re.escape(str(tmp_path / "changed.json"))):
            Reference.load(tmp_path / "changed.json")

    @pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null", None])
    def test_invalid_file(self, content: bytes | None, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "none.json").write_bytes(content)
        with pytest.raises(DriftReferenceError, match="sentstream reference INPUT"):
            Reference.load(tmp_path / "none.json")


class TestCommand:
    def test_command_writes_the_file_and_prints_counts(
        self, files: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "reference.json"
        arguments = ["reference", str(files), "-o", str(target), "--model", str(bundle), "--provider", "cpu"]
        assert main(arguments) == 0
        output = capsys.readouterr().out
        assert re.fullmatch(
            rf"{re.escape(str(target))}: 1,500 texts, negative [\d.]+%, positive [\d.]+%, "
            r"mean score 0\.\d+, unknown words [\d.]+%\n",
            output,
        )
        assert Reference.load(target).texts.texts == 1_500
        assert main(arguments) == 20
        assert "--overwrite" in capsys.readouterr().err
        assert main([*arguments, "--overwrite", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == json.loads(target.read_text())
