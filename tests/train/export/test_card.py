"""The model card: the generated parts, the notes by people, and the names of the files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic import write_synthetic

from sentstream.bundle import load_bundle
from sentstream.errors import InputError, InputNotFoundError, UsageError
from sentstream.session import Session
from sentstream_train.evaluate.run import evaluate
from sentstream_train.export.card.figures import measure_bundle, named_files
from sentstream_train.export.card.sections import Section, read_notes, split_sections, weave
from sentstream_train.export.card.write import write_card

ROOT = Path(__file__).resolve().parents[3]
NOTES = sorted((ROOT / "recipes/cards").glob("*.md"))
NAME = 'Others\' | "set"'
FIGURES: dict[str, Any] = {
    "n": 2000,
    "accuracy": 0.742,
    "interval": [0.722373, 0.760699],
    "macro_recall": 0.735704,
    "macro_f1": 0.729337,
    "calibration_error": 0.023477,
    "log_loss": 0.606102,
}
NEGATION = {
    "group": "texts with",
    "name": "negation",
    "rows": 75,
    "accuracy": 0.826667,
    "interval": [0.725692, 0.895846],
    "macro_recall": 0.802315,
    "score": 0.83,
}
SHORT = {**NEGATION, "group": "length in tokens", "name": "1 to 5"}
SLICES = [NEGATION, {**NEGATION, "name": "emoji"}, SHORT]


def titles(card: str) -> list[str]:
    return [section.title for section in split_sections(card)]


def section(card: str, title: str) -> tuple[str, ...]:
    return next(one.lines for one in split_sections(card) if one.title == title)


def config(**metrics: Any) -> dict[str, Any]:
    """That of a model that ships, with these figures."""
    return {**load_bundle("sentiment140").config, "metrics": metrics}


class TestSections:
    def test_text_is_split_at_headings(self) -> None:
        text = "# title\n\nof all\n\n## One\n\na  \n\n### deeper\nb\n\n\n## Two  \n##three\n#### four\n## \n"
        assert split_sections(text) == (
            Section("One", ("a", "", "### deeper", "b")),
            Section("Two", ("##three", "#### four", "##")),
        )

    def test_fenced_blocks_have_no_headings(self) -> None:
        text = "## One\n````sh\n```\n## a comment\n````\n## Two\n~~~\n```\n## no\n~~~~\n## Three\n"
        found = split_sections(text)
        assert [one.title for one in found] == ["One", "Two", "Three"]
        assert found[0].lines == ("````sh", "```", "## a comment", "````")

    def test_same_title_is_appended(self) -> None:
        generated = [Section("What it is", ("text",)), Section("Limits", ("- one",))]
        notes = [
            Section("limits", ("- two",)),
            Section("What it is", ("more",)),
            Section("Limits", ("end",)),
        ]
        assert weave(generated, notes) == [
            Section("What it is", ("text", "", "more")),
            Section("Limits", ("- one", "- two", "", "end")),
        ]

    def test_new_section_follows_its_predecessor(self) -> None:
        generated = [Section(title, (title,)) for title in "ABCZ"]
        notes = [Section(title, (title.lower(),)) for title in ("x", "y", "B", "p", "q", "Z", "end", "p")]
        woven = weave(generated, notes)
        assert [one.title for one in woven] == ["A", "B", "p", "q", "C", "x", "y", "Z", "end"]
        assert woven[2].lines == ("p", "", "p")

    def test_without_notes_nothing_changes(self) -> None:
        generated = [Section("A", ("a",)), Section("B", ())]
        assert weave(generated, ()) == generated


class TestNotes:
    def test_notes_are_read(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.md"
        path.write_bytes("\ufeffabout this file\r\n\r\n## Übel\r\n\r\nn’importe\r\n".encode())
        assert read_notes(path) == (Section("Übel", ("n’importe",)),)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"## Limits\n\xff\n", "are not UTF-8"),
            (b"", "have no section"),
            (b"# Title\n\ntext\n\n### deeper\n", r"have no section \(start .*## Data and licenses"),
        ],
    )
    def test_unusable_notes(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "notes.md"
        path.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            read_notes(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 10

    def test_missing_notes(self, tmp_path: Path) -> None:
        with pytest.raises(InputNotFoundError, match=r"none\.md do not exist"):
            read_notes(tmp_path / "none.md")
        with pytest.raises(InputError, match="cannot be read"):
            read_notes(tmp_path)

    def test_each_recipe_has_notes(self) -> None:
        assert {path.stem for path in NOTES} == {"sentiment140", "tweets", "tweets-small"}

    @pytest.mark.parametrize("path", NOTES, ids=lambda path: path.stem)
    def test_model_notes_have_the_required_sections(self, path: Path) -> None:
        notes = read_notes(path)
        card = write_card(load_bundle(path.stem).config, notes)
        assert titles(card) == list(dict.fromkeys(titles(card)))
        expected = ["What it is", "Intended use", "How good it is", "Speed", "Where it comes from"]
        assert [title for title in titles(card) if title in expected] == expected
        assert titles(card)[-2:] == ["Limits", "Biases"]
        assert titles(card).index("Data and licenses") == titles(card).index("Where it comes from") + 1
        text = " ".join(card.split())
        assert re.search("[Ss]arcasm", text)
        for words in ("English only", "decisions about people", "Apache-2.0", "Twitter's terms"):
            assert words in text
        assert re.search(r"\b\d+,000 tweets a second\b", text)
        assert all(one.lines for one in notes)


class TestCard:
    def test_metrics_have_rows_and_interval(self) -> None:
        held_out = {"n": 31191, "accuracy": 0.8489307761192322, "loss": 0.35, "epoch": 3}
        card = write_card(config(validation=held_out, **{NAME: FIGURES}))
        lines = section(card, "How good it is")
        assert "| held out in training (Keras) | 31,191 | 84.89 % | 84.5–85.3 |  |  |  |" in lines
        assert r"""| Others' \| "set" | 2,000 | 74.20 % | 72.2–76.1 | 73.57 | 72.93 | 0.0235 |""" in lines
        assert "###" not in card
        wider = write_card(config(x={**FIGURES, "macro_recall_interval": [0.7151, 0.7559]}))
        assert "| 73.57 (71.5–75.6) |" in wider
        assert "| macro-recall (95 % interval) |" in wider

    def test_slices(self) -> None:
        card = write_card(config(**{NAME: {**FIGURES, "slices": SLICES}, "other": FIGURES}))
        lines = section(card, "How good it is")
        start = lines.index(f"### {NAME}")
        assert lines[start + 2] == "| | | n | accuracy | 95 % interval | macro-recall |"
        assert lines[start + 4 :] == (
            "| texts with | negation | 75 | 82.67 % | 72.6–89.6 | 80.23 |",
            "|  | emoji | 75 | 82.67 % | 72.6–89.6 | 80.23 |",
            "| length in tokens | 1 to 5 | 75 | 82.67 % | 72.6–89.6 | 80.23 |",
        )
        assert card.count("### ") == 1

    def test_front_matter_for_model_hubs(self) -> None:
        held_out = {"n": 31191, "accuracy": 0.84893, "loss": 0.35, "epoch": 3}
        card = write_card(config(validation=held_out, **{NAME: FIGURES}))
        front = yaml.safe_load(card.split("---\n")[1])
        (model,) = front["model-index"]
        first, second = model["results"]
        assert model["name"] == "sentiment140"
        assert first["dataset"]["name"] == "held out in training"
        assert first["metrics"] == [{"type": "accuracy", "name": "accuracy (n = 31,191)", "value": 0.8489}]
        assert second["dataset"] == {"name": NAME, "type": NAME}
        assert second["metrics"] == [
            {"type": "accuracy", "name": "accuracy (n = 2,000)", "value": 0.742},
            {
                "type": "recall",
                "name": "macro-recall (n = 2,000)",
                "args": {"average": "macro"},
                "value": 0.7357,
            },
        ]
        assert "model-index" not in yaml.safe_load(write_card(config()).split("---\n")[1])

    def test_no_metrics_section_without_metrics(self) -> None:
        assert section(write_card(config()), "How good it is")[0].startswith("Nothing was measured")

    def test_warnings_come_from_the_config(self) -> None:
        assert "Beware" not in titles(write_card(config()))
        about = config()
        about["provenance"] = {**about["provenance"], "warnings": ["hot", "cold"]}
        found = section(write_card(about, [Section("Beware", ("- old",))]), "Beware")
        assert found == ("- hot", "- cold", "- old")

    def test_word_vectors_and_class_weights(self) -> None:
        vectors = {"name": "glove.txt", "sha256": "ab" * 32, "width": 96, "words": 900, "of_words": 1000}
        made = config()
        weights = {"class_weights": {"negative": 2.0, "positive": 0.5}}
        made["provenance"] = {**made["provenance"], "embeddings": vectors, "training": weights}
        lines = section(write_card(made), "Where it comes from")
        assert "- Training: class_weights negative=2 positive=0.5" in lines
        line = f"- Words began with the vectors of `glove.txt`, which has 900 of 1,000, SHA-256 `{'ab' * 32}`"
        assert line in lines

    def test_settings_order_is_stable(self) -> None:
        about = config()
        training = about["provenance"]["training"]
        turned = dict(reversed(training.items()))
        assert list(turned) != list(training)
        again = {**about, "provenance": {**about["provenance"], "training": turned}}
        assert write_card(again) == write_card(about)
        assert "- Training: epochs 3, batch_size 512, optimizer adam," in write_card(about)

    def test_card_ends_with_one_newline(self) -> None:
        for notes in ((), [Section("Limits", ("end",))], [Section("Limits", ()), Section("Biases", ())]):
            card = write_card(config(), notes)
            assert card.endswith("\n")
            assert not card.endswith("\n\n")
            assert "\n\n\n" not in card


class TestNames:
    def test_files_may_be_named(self, tmp_path: Path) -> None:
        (tmp_path / "lang=en").mkdir()
        odd = tmp_path / "lang=en" / "a=b.csv"
        odd.touch()
        found = named_files([tmp_path / "x.csv", "SemEval-2017 validation=d/v.parquet", odd, f" odd ={odd}"])
        assert found == {
            "x.csv": tmp_path / "x.csv",
            "SemEval-2017 validation": Path("d/v.parquet"),
            "a=b.csv": odd,
            "odd": odd,
        }

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["=x.csv"], "has no name or no file"),
            (["name="], "has no name or no file"),
            (["a/x.csv", "b/x.csv"], r"a/x\.csv and b/x\.csv have the same name, x\.csv .*NAME=FILE"),
            (["validation=x.csv"], "is reserved for the rows held out in training"),
            (["a\nb=x.csv"], "cannot be printed"),
        ],
    )
    def test_ambiguous_names(self, given: list[str], message: str) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            named_files(given)
        assert "\n" not in str(caught.value)


def test_metrics_match_evaluate(tmp_path: Path) -> None:
    data = write_synthetic(tmp_path / "rows.parquet", 150, neutral=True)
    bundle = load_bundle("sentiment140")
    found = measure_bundle(bundle, Session(bundle, "cpu"), data)
    expected = evaluate("sentiment140", [data], worst=0).to_dict()
    assert 0 < found["n"] == expected["metrics"]["rows"] < 150  # neutral rows are left out
    for key in ("accuracy", "interval", "macro_recall", "macro_f1"):
        assert found[key] == expected["metrics"][key]
    assert found["calibration_error"] == expected["metrics"]["calibration"]["ece"]
    assert found["log_loss"] == expected["metrics"]["calibration"]["log_loss"]
    assert found["slices"] == expected["slices"]
    assert {one["name"] for one in found["slices"]} >= {"negation", "1 to 5", "6 to 10"}
