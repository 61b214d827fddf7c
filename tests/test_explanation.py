"""Explanations: the last step is the score, bit for bit, and effects come from scoring without a word."""

from __future__ import annotations

import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.cli import main
from sentstream.errors import ColumnTypeError, OutputExistsError, UsageError
from sentstream.explanation import MOST_TOKENS, NO_WORD, explain
from sentstream.model import Model
from sentstream.report.charts import label_kinds
from sentstream.report.explanation import explanation_page
from sentstream.text import TextRules, tokenize
from tests.text.test_golden import PIECES

TEXTS = st.text(st.sampled_from("ab ilovethsgdn't!?:()#@\n<>&😀é\u202e\x00"), max_size=60)
RULES = [
    TextRules(),
    TextRules(tokenizer="nltk"),
    TextRules(punctuation="space", mentions="keep", links="keep"),
    TextRules(punctuation="strip", mentions="keep", links="keep", letter_repeats=0, symbol_repeats=0),
]


@cache
def loaded() -> Model:
    return Model.load("sentiment140", provider="cpu", threads=1)


@pytest.fixture
def model() -> Model:
    return loaded()


@settings(deadline=None, max_examples=50)
@given(TEXTS)
def test_last_step_is_the_score(text: str) -> None:
    model = loaded()
    (one,) = explain(model, [text])
    (row,) = model.score([text]).to_pylist()
    assert (one.label, one.score) == (row["sentiment"], row["sentiment_score"])
    if one.label is None:
        assert one.steps == ()
        return
    assert list(one.steps[-1].probabilities) == [row[f"sentiment_prob_{label}"] for label in model.labels]
    for step in one.steps:
        assert sum(step.probabilities) == pytest.approx(1, abs=1e-5)
        assert (step.without is None) == (step.effect is None) == (len(one.steps) == 1)


def test_steps_are_prefixes_and_leave_one_out(model: Model) -> None:
    words = ["i", "am", "not", "happy", "today"]
    (one,) = explain(model, [" ".join(words)])
    assert [step.token for step in one.steps] == words
    so_far = [" ".join(words[: end + 1]) for end in range(len(words))]
    without = [" ".join(words[:index] + words[index + 1 :]) for index in range(len(words))]
    names = [f"sentiment_prob_{label}" for label in model.labels]
    for step, begun, rest in zip(
        one.steps, model.score(so_far).to_pylist(), model.score(without).to_pylist(), strict=True
    ):
        assert list(step.probabilities) == [begun[name] for name in names]
        assert list(step.without or ()) == [rest[name] for name in names]
        assert step.effect == pytest.approx(one.score - rest[f"sentiment_prob_{one.label}"], abs=1e-6)
    effects = {step.token: step.effect for step in one.steps}
    assert max(effects, key=lambda token: effects[token] or 0) == "not"
    assert one.label == "negative"


def test_unknown_words_and_texts_without_words(model: Model) -> None:
    unknown, blank, null, bare = explain(model, ["xqxqxq day", " \n", None, "\u200b"])
    assert [step.known for step in unknown.steps] == [False, True]
    assert (blank.label, null.label, blank.steps, null.steps) == (None, None, (), ())
    assert [(step.token, step.known, step.effect) for step in bare.steps] == [(NO_WORD, False, None)]


def test_long_text_is_truncated_and_marked() -> None:
    model = Model.load("sentiment140", provider="cpu", threads=1, max_chars=20)
    (one,) = explain(model, ["good " * 10])
    assert one.truncated
    assert [step.token for step in one.steps] == ["good"] * 4


class TestInput:
    def test_texts_the_model_accepts(self, model: Model) -> None:
        mended, sound = explain(model, (text for text in ["\ud800 good", "\ufffd good"]))
        assert mended == sound
        assert explain(model, []) == []

    @pytest.mark.parametrize(
        ("texts", "message"), [(b"good", "bytes are not text"), (["good", 3], "item 1 is of")]
    )
    def test_invalid_texts(self, model: Model, texts: Any, message: str) -> None:
        with pytest.raises(ColumnTypeError, match=message):
            explain(model, texts)

    @settings(deadline=None)  # the first of NLTK loads it
    @given(TEXTS | st.text(max_size=40), st.sampled_from(RULES))
    def test_tokens_are_bounded_by_characters(self, text: str, rules: TextRules) -> None:
        tokens, _ = tokenize(pa.array([text], pa.string()), rules, MOST_TOKENS)
        assert len(tokens.text) <= len(text)

    def test_too_many_tokens_are_rejected_early(self) -> None:
        model = Model.load("sentiment140", provider="cpu", threads=1, max_chars=3 * MOST_TOKENS)
        with pytest.raises(UsageError, match="the tweet has 1,001 tokens; at most 1,000"):
            explain(model, ["a!" * (MOST_TOKENS // 2) + "a"])
        assert main(["explain", "a!" * 501, "--max-chars", "1002"]) == UsageError.exit_code


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the newest rules."""
    return make_bundle(tmp_path_factory.mktemp("new") / "tiny", rules=TextRules.preset("tweets-3"))


class TestWordSources:
    """The source is shown next to the word, whatever the rules changed."""

    @settings(deadline=None, max_examples=50)
    @given(text=st.lists(st.sampled_from([*PIECES, "#GoodDay", "#gooddaybad"]), max_size=8).map("".join))
    def test_last_step_is_the_score(self, newest: Path, text: str) -> None:
        model = Model.load(newest, provider="cpu", threads=1)
        (one,) = explain(model, [text])
        (row,) = model.score([text]).to_pylist()
        assert (one.label, one.score) == (row["sentiment"], row["sentiment_score"])
        for step in one.steps:
            if step.start is not None and step.source is not None:
                assert text[step.start :].startswith(step.source)

    def test_sources_in_json_and_on_pages(self, newest: Path, tmp_path: Path, capsys: Any) -> None:
        text = "\U0001d4f0\U0001d4f8\U0001d4f8\U0001d4ed R&amp;B #GoodDay #gooddaybad <b>"
        command = ["explain", text, "--model", str(newest)]
        assert main([*command, "--json"]) == 0
        (tweet,) = json.loads(capsys.readouterr().out)["tweets"]
        assert [(step["token"], step["start"], step["source"]) for step in tweet["steps"]] == [
            ("good", 0, "\U0001d4f0\U0001d4f8\U0001d4f8\U0001d4ed"),
            *(("r", 5, "R"), ("&", 6, "&amp;"), ("b", 11, "B"), ("#", 13, "#")),
            *(("good", 14, "Good"), ("day", 18, "Day"), ("#", 22, "#")),
            *(("good", 23, "good"), ("day", 27, "day"), ("bad", 30, "bad")),
            *(("<", 34, "<"), ("b", 35, "b"), (">", 36, ">")),
        ]
        page = tmp_path / "page.html"
        assert main([*command, "--html", str(page)]) == 0
        assert "& from &amp;" in capsys.readouterr().out
        assert page.read_text("utf-8").count("<small> from ") == 2
        assert "<small> from &amp;amp;</small>" in page.read_text("utf-8")

    def test_long_sources_are_shortened(self, model: Model, capsys: Any) -> None:
        assert main(["explain", "see http://t.co/abcdefghijklmnop", "--model", "sentiment140"]) == 0
        assert "http://t.co/abc…" in capsys.readouterr().out

    def test_other_tokenizers_have_no_sources(self, tmp_path: Path) -> None:
        make_bundle(tmp_path / "tiny", rules=TextRules.preset("keras-tokenizer"))
        (one,) = explain(Model.load(tmp_path / "tiny", provider="cpu", threads=1), ["Good day"])
        assert [(step.token, step.start, step.source) for step in one.steps] == [
            ("good", None, None),
            ("day", None, None),
        ]


class TestLabels:
    """Labels of any bundle: their number, their colors, and names that look like markup."""

    @pytest.mark.parametrize(
        "labels", [("negative", "positive"), ("bad", "[red]so so[/red]", "[/]"), tuple("abcdefgh")]
    )
    def test_terminal_and_page(
        self, labels: tuple[str, ...], tmp_path: Path, capsys: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setenv("COLUMNS", "120")
        make_bundle(tmp_path / "tiny", labels=labels, name="tiny")
        page = tmp_path / "page.html"
        arguments = ["explain", "not so bad, a great day :)", "--model", str(tmp_path / "tiny")]
        assert main([*arguments, "--html", str(page)]) == 0
        out = capsys.readouterr().out
        assert "speaks for" in out
        head = "".join(out.splitlines()[1:3])
        for label in labels:
            assert label in head
        assert page.read_text("utf-8").count("<polyline") == len(labels)

    def test_words_have_the_color_of_their_label(self, model: Model) -> None:
        (one,) = explain(model, ["not a good day, but the cake was lovely"])
        about = {"name": "m", "version": "1", "digest": "sha256:0"}
        data = {"sentstream": "0", "model": about, "labels": list(model.labels), "tweets": [one.to_dict()]}
        page = explanation_page(data)
        found = {word: kind for kind, word in re.findall(r'<span class="label l(\d)[^>]*>([^<]*)<', page)}
        assert set(found.values()) == {"0", "2"}
        for step in one.steps:
            for kind, label in (("0", "negative"), ("2", "positive")):
                place = model.labels.index(label)
                assert step.without
                gain = one.steps[-1].probabilities[place] - step.without[place]
                if gain >= 0.02:
                    assert found[step.token] == kind
        assert found["lovely"] == "2"
        assert "</span> <span" in page  # where a line may break

    @pytest.mark.parametrize(
        "labels", [["negative", "positive"], ["x", "negative"], ["a", "positive", "b", "neutral", "c", "d"]]
    )
    def test_up_to_six_labels_have_their_own_style(self, labels: list[str]) -> None:
        kinds = label_kinds(labels)
        assert len(set(kinds)) == len(labels)
        for label, kind in (("negative", 0), ("neutral", 1), ("positive", 2)):
            assert label not in labels or kinds[labels.index(label)] == kind

    def test_more_labels_share_styles(self) -> None:
        kinds = label_kinds([*"abcdefghij", "neutral"])
        assert set(kinds) == set(range(6))
        assert kinds.count(1) == 1


class TestCommand:
    def test_json(self, capsys: Any, model: Model) -> None:
        assert main(["explain", "so good", "bad \udcff", "--json", "--model", "sentiment140"]) == 0
        output = json.loads(capsys.readouterr().out)
        assert output["model"] == {"name": model.name, "version": model.version, "digest": model.digest}
        assert output["labels"] == list(model.labels)
        assert [len(one["steps"]) for one in output["tweets"]] == [2, 2]
        expected = model.score(pa.array(["so good", "bad \ufffd"]))["sentiment_score"].to_pylist()
        assert [one["score"] for one in output["tweets"]] == expected

    def test_standard_input_has_one_tweet_per_line(self, capsys: Any, monkeypatch: Any) -> None:
        given = "one\x1cstill one\u2028 and still\r\n\n".encode() + b"\xff two\n"
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert main(["explain", "-", "--json", "--model", "sentiment140"]) == 0
        tweets = json.loads(capsys.readouterr().out)["tweets"]
        assert [one["text"] for one in tweets] == ["one\x1cstill one\u2028 and still", "", "\ufffd two"]
        assert tweets[1]["label"] is None

    def test_closed_standard_input(self, capsys: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr("sys.stdin", None)
        assert main(["explain", "-"]) == UsageError.exit_code
        assert "closed" in capsys.readouterr().err

    def test_no_control_characters_on_the_terminal(self, capsys: Any) -> None:
        assert main(["explain", "good \x1b]0;owned\x07 \u202eevil [red]day[/red]", "   ", "<b>"]) == 0
        out = capsys.readouterr().out
        assert not set(out) & set("\x1b\x07\u202e")
        assert "no text, so no label" in out
        assert "effect" in out

    def test_page(self, tmp_path: Any, capsys: Any) -> None:
        path = tmp_path / "page.html"
        arguments = ["explain", "good <script>alert(1)</script> day", " ", "--html", str(path)]
        assert main(arguments) == 0
        page = path.read_text("utf-8")
        assert "<script" not in page
        assert "&lt;" in page
        assert page.count("<svg") == 1
        assert main(arguments) == OutputExistsError.exit_code
        assert main([*arguments, "--overwrite"]) == 0
        capsys.readouterr()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [(["-", "more"], "must be the only argument"), (["-"], "no tweets on standard input")],
    )
    def test_unexplainable_input(
        self, arguments: list[str], words: str, capsys: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
        assert main(["explain", *arguments]) == UsageError.exit_code
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("count", [2, 3, 7])
def test_page_with_any_labels(count: int) -> None:
    labels = [f"label {index} <&>" for index in range(count)]
    step = {
        "token": "x",
        "known": True,
        "without": None,
        "effect": None,
        "probabilities": [1 / count] * count,
    }
    tweet = {"text": "x", "label": labels[0], "score": 1 / count, "steps": [step], "truncated": True}
    about = {"name": "m", "version": "1", "digest": "sha256:0"}
    page = explanation_page({"sentstream": "0", "model": about, "labels": labels, "tweets": [tweet]})
    assert page.count("<polyline") == count
    assert "label 0 &lt;&amp;&gt;" in page
    assert "<&>" not in page
    assert "longer than the model reads" in page


class TestRowSelection:
    """``explain FILE --where``."""

    @pytest.fixture(name="file")
    def _file(self, tmp_path: Path) -> Path:
        folder = tmp_path / "lang=en"
        folder.mkdir()
        texts = ["good day", "bad day", None, *["so so"] * 7]
        path = folder / "tweets.parquet"
        pq.write_table(pa.table({"id": range(10), "text": texts}), path, row_group_size=2)
        return path

    @pytest.mark.parametrize(
        ("where", "texts", "message"),
        [
            ("id = 1", ["bad day"], "explained: row 1\n"),
            ("lang = 'en' and id in (0, 2)", ["good day", None], "explained: rows 0, 2\n"),
            ("id > 4", ["so so"] * 5, "explained: rows 5, 6, 7, 8, 9\n"),
            ("text like 'so%'", ["so so"] * 5, "rows 3, 4, 5, 6, 7, the first 5 of more matching rows\n"),
        ],
    )
    def test_first_matching_rows(
        self, where: str, texts: list[str | None], message: str, file: Path, capsys: Any
    ) -> None:
        assert main(["explain", str(file), "--where", where, "--json", "--model", "sentiment140"]) == 0
        printed = capsys.readouterr()
        assert [one["text"] for one in json.loads(printed.out)["tweets"]] == texts
        assert printed.err.endswith(message)

    def test_csv_texts_compare_as_numbers(self, tmp_path: Path, capsys: Any) -> None:
        path = tmp_path / "tweets.csv"
        path.write_text("id,text\n07,good\n8,bad\n", "utf-8")
        assert main(["explain", str(path), "--where", "id = 7", "--json"]) == 0
        assert '"text": "good"' in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("where", "words"),
        [("id = 77", "no row in "), ("id = ", "--where"), ("lang = 'de'", "the folders are lang=en")],
    )
    def test_condition_without_matches(self, where: str, words: str, file: Path, capsys: Any) -> None:
        assert main(["explain", str(file), "--where", where]) > 0
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1

    def test_one_way_to_select_rows(self, file: Path, capsys: Any) -> None:
        assert main(["explain", str(file), "--where", "id = 1", "--row", "1"]) == UsageError.exit_code
        assert main(["explain", "-", "--where", "id = 1"]) == UsageError.exit_code
        assert "needs exactly one file" in capsys.readouterr().err
