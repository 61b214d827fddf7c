"""Data inspection compared with brute force, its command, and the NLTK part."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.analyze.keys import mix, text_keys
from sentstream.analyze.word_counts import WordCounts
from sentstream.cli import main
from sentstream.errors import MissingExtraError, UsageError
from sentstream.text import TextRules, Tokens, tokenize
from sentstream_train.data.keys import token_keys, word_keys
from sentstream_train.data.labeled import LabeledData, SourceInfo, read_labeled
from sentstream_train.data.same_text import repeats_of, same_text
from sentstream_train.inspect.collocations import inspect_with_nltk
from sentstream_train.inspect.figures import (
    cover_vocabulary,
    describe_lengths,
    describe_repeats,
    describe_users,
    share_of,
)
from sentstream_train.inspect.overlap import find_overlap
from sentstream_train.inspect.run import CONTENTS, inspect_data

TEXTS = ["I love it", "i LOVE it!", "hate it", "I love it", None, "", "  ", "so sad :(", "@bob so sad :("]
LABELS = ["pos", "pos", "neg", "neg", "neg", "pos", "neg", "neg", "neg"]


def made(
    texts: list[str | None], labels: list[str] | None = None, users: list[str | None] | None = None
) -> LabeledData:
    names = tuple(sorted(set(labels or ())))
    numbers = np.array([names.index(label) for label in labels] if labels else [-1] * len(texts), np.int32)
    source = SourceInfo("made.csv", len(texts) + 3, len(texts), "0" * 64, 1, (("odd", 2),), 0)
    user = None if users is None else pa.array(users, pa.string())
    return LabeledData(pa.array(texts, pa.string()), numbers, names, user, np.arange(len(texts)), (source,))


def lists_of(tokens: Tokens) -> list[list[str]]:
    flat, bounds = tokens.text.to_pylist(), tokens.offsets.tolist()
    return [flat[bounds[row] : bounds[row + 1]] for row in range(len(tokens.blank))]


class TestKeys:
    @given(st.lists(st.text(max_size=8), max_size=30))
    def test_only_equal_texts_share_a_key(self, texts: list[str]) -> None:
        keys = text_keys(pa.array(texts, pa.string())).tolist()
        assert len(set(keys)) == len(set(texts))
        assert len(set(zip(keys, texts, strict=True))) == len(set(texts))

    def test_slices_and_wide_strings(self) -> None:
        texts = pa.array(["x", "one", "two", "one"])
        keys = text_keys(texts)
        assert np.array_equal(text_keys(texts.slice(1)), keys[1:])
        assert np.array_equal(text_keys(texts.cast(pa.large_string())), keys)

    def test_order_matters(self) -> None:
        assert len(set(text_keys(pa.array(["ab", "ba", "aab", "aba", "", "a"])).tolist())) == 6

    def test_token_keys_do_not_depend_on_portions(self) -> None:
        def keys(*texts: str) -> list[int]:
            return token_keys(tokenize(pa.array(texts), TextRules(), 1000)[0]).tolist()

        together = keys("Good day", "bad day", "GOOD  day", "day good")
        assert together[0] == together[2] != together[3]
        assert keys("bad day") == together[1:2]

    def test_word_keys_depend_only_on_words(self) -> None:
        def keys(*texts: str) -> list[int]:
            return word_keys(tokenize(pa.array(texts), TextRules(), 1000)[0]).tolist()

        same = keys(
            "What a day",
            '"what a day!!" ',
            "@ann what a day http://a.b",
            "RT: what a day :)"[4:],
            "WHAT @bob A day",
        )
        assert len(set(same)) == 1
        assert len(set(keys("what a day", "a what day", "what day", "what a day 2", ""))) == 5
        assert keys(":)") == keys("!!") == keys("")

    def test_splitmix64(self) -> None:
        # The first outputs of the generator seeded with 1234567 (Vigna's reference implementation).
        state = (np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) + np.uint64(1234567)
        assert mix(state).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


class TestWordCounts:
    @settings(deadline=None, max_examples=50)
    @given(
        st.lists(
            st.lists(st.tuples(st.text("ab ", max_size=6), st.integers(0, 2)), min_size=1, max_size=5),
            max_size=5,
        )
    )
    def test_counts_in_portions(self, portions: list[list[tuple[str, int]]]) -> None:
        counts, expected = WordCounts(3), Counter[tuple[str, int]]()
        for portion in portions:
            tokens = tokenize(pa.array([text for text, _ in portion]), TextRules(), 1000)[0]
            counts.add(tokens, np.array([column for _, column in portion]))
            for words, (_, column) in zip(lists_of(tokens), portion, strict=True):
                expected.update((word, column) for word in words)
        words, table = counts.merged()
        found = {
            (word, column): int(table[row, column])
            for row, word in enumerate(words.to_pylist())
            for column in range(3)
        }
        assert {key: value for key, value in found.items() if value} == expected
        assert len(set(words.to_pylist())) == len(words)

    def test_merges_in_bounded_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sentstream.analyze.word_counts._MERGE_AT", 3)
        counts = WordCounts(1)
        for _ in range(5):
            counts.add(
                tokenize(pa.array(["one two three four"]), TextRules(), 1000)[0], np.zeros(1, np.int64)
            )
            assert sum(map(len, counts._sums._keys)) <= 4
        assert counts.merged()[1].tolist() == [[5]] * 4


class TestFigures:
    def test_lengths_by_hand(self) -> None:
        found = describe_lengths(np.array([1, 2, 2, 3, 10]))
        assert found["rows"] == 5
        assert (found["mean"], found["min"], found["p50"], found["max"]) == (3.6, 1, 2, 10)
        assert found["histogram"] == {"bin_width": 1, "rows": [0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 1]}
        assert describe_lengths(np.zeros(0, np.int64)) == {"rows": 0}

    @given(st.lists(st.integers(0, 5000), min_size=1, max_size=300))
    def test_histogram_counts_every_row(self, lengths: list[int]) -> None:
        found = describe_lengths(np.array(lengths))
        histogram = found["histogram"]
        assert sum(histogram["rows"]) == len(lengths)
        assert len(histogram["rows"]) <= 41
        assert found["min"] <= found["p1"] <= found["p50"] <= found["p99"] <= found["max"]
        shown = found["p99"] // histogram["bin_width"]
        within = [length // histogram["bin_width"] for length in lengths]
        for index, number in enumerate(histogram["rows"][:shown]):
            assert within.count(index) == number

    def test_coverage_by_hand(self) -> None:
        words, counts = pa.array(["a", "b", "c"]), np.array([1, 6, 3])
        found = cover_vocabulary(words, counts, [4, 3, 100, 5, 4, 1])
        assert [one["size"] for one in found["coverage"]] == [1, 3, 4, 5]  # 100 holds no more than 5
        assert [one["tokens"] for one in found["coverage"]] == [0.0, 0.6, 0.9, 1.0]
        assert [one["rarest_count"] for one in found["coverage"]] == [0, 6, 3, 1]
        assert (found["tokens"], found["types"], found["types_seen_once"]) == (10, 3, 1)
        assert found["most_frequent"][0] == {"word": "b", "share": 0.6}

    def test_coverage_of_no_texts(self) -> None:
        found = cover_vocabulary(pa.array([], pa.string()), np.zeros(0, np.int64), [10])
        assert found["coverage"] == [{"size": 10, "tokens": 0.0, "types": 0.0, "rarest_count": 0}]
        assert found["most_frequent"] == []

    @given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=40))
    def test_repeats(self, rows: list[tuple[int, int]]) -> None:
        keys = np.array([key for key, _ in rows], np.uint64)
        found = describe_repeats(keys, keys, np.array([label for _, label in rows], np.int32))
        sizes = Counter(key for key, _ in rows)
        torn = {key for key in sizes if len({label for other, label in rows if other == key}) > 1}
        assert found == {
            "texts": sum(size > 1 for size in sizes.values()),
            "rows": len(rows) - len(sizes),
            "conflicting_texts": len(torn),
            "conflicting_rows": sum(sizes[key] for key in torn),
        }

    def test_users(self) -> None:
        assert describe_users(None) is None
        assert describe_users(pa.array(["a", "b", None, "a"])) == {
            "users": 2,
            "rows_with_a_user": 0.75,
            "most_rows_of_one": 2,
            "users_with_one_row": 1,
        }
        nobody = describe_users(pa.nulls(3, pa.string()))
        assert nobody is not None
        assert (nobody["users"], nobody["most_rows_of_one"]) == (0, 0)

    def test_shares(self) -> None:
        assert (share_of(1, 3), share_of(0, 0), share_of(np.int64(2), 2)) == (0.333333, 0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("see http://a.b and www.c.d", {"links"}),
        ("hi @bob", {"mentions"}),
        ("mail a@b.c", set()),
        ("#tag &amp; more", {"hashtags", "HTML entities"}),
        ("#1 &#39;", {"HTML entities"}),
        ("ok 😂", {"emoji"}),
        ("❤️", {"emoji"}),
        ("sad :(", {"emoticons"}),
        ("=D wow", {"emoticons"}),
        ("cool 8) xD", {"emoticons"}),
        ("I <3 it", {"emoticons"}),
        ("windows XP at 83 or 8/ pages", set()),
        ("cafÃ© ï¿½", {"UTF-8 read as Latin-1"}),
        ("naïve Ångström café", set()),
        ("<user> said", {"mentions"}),
    ],
)
def test_contents(text: str, kinds: set[str]) -> None:
    found = {
        kind
        for kind, pattern in CONTENTS.items()
        if pc.match_substring_regex(pa.array([text]), pattern)[0].as_py()
    }
    assert found == kinds


class TestInspectData:
    def test_by_hand(self) -> None:
        found = inspect_data(made(TEXTS, LABELS, ["ann", "bob", "ann", None, None, None, None, None, None]))
        assert found["rows"] == {
            "read": 12,
            "without_label": 1,
            "other_labels": 2,
            "inspected": 9,
            "null": 1,
            "written_missing": 0,
            "empty": 2,
            "wordless": 0,
            "broken_utf8": 0,
            "truncated": 0,
        }
        assert found["labels"] == [
            {"label": "neg", "rows": 6, "share": 0.666667},
            {"label": "pos", "rows": 3, "share": 0.333333},
        ]
        assert found["lengths"]["characters"]["max"] == len(TEXTS[-1] or "")
        assert found["lengths"]["tokens"]["rows"] == 6
        assert found["duplicates"]["exact"] == {
            "texts": 1,
            "rows": 1,
            "conflicting_texts": 1,
            "conflicting_rows": 2,
        }
        assert found["duplicates"]["same_text"] == {
            "texts": 2,
            "rows": 3,
            "conflicting_texts": 1,
            "conflicting_rows": 3,
        }
        assert found["users"]["users"] == 2
        assert found["contents"]["mentions"] == share_of(1, 9)
        assert [one["word"] for one in found["frequent_words"]["neg"]][:3]
        assert "love" in [one["word"] for one in found["frequent_words"]["pos"]]
        assert json.loads(json.dumps(found, allow_nan=False)) == found

    def test_without_labels(self) -> None:
        found = inspect_data(made(["a b", "a b", "c"]))
        assert found["labels"] == []
        assert found["frequent_words"] == {}
        assert found["users"] is None
        assert found["duplicates"]["exact"]["rows"] == 1
        assert found["duplicates"]["exact"]["conflicting_texts"] == 0

    def test_nothing_but_blanks(self) -> None:
        found = inspect_data(made([None, " "], ["a", "b"]))
        assert found["lengths"]["tokens"] == {"rows": 0}
        assert found["duplicates"]["exact"]["rows"] == 0
        assert found["vocabulary"]["tokens"] == 0

    @settings(deadline=None, max_examples=25)
    @given(
        st.lists(
            st.tuples(st.none() | st.text("ab! ", max_size=6), st.sampled_from("xyz")),
            min_size=1,
            max_size=40,
        )
    )
    def test_portions_change_nothing(self, rows: list[tuple[str | None, str]]) -> None:
        data = made([text for text, _ in rows], [label for _, label in rows])
        whole = inspect_data(data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sentstream_train.inspect.run._ROWS_AT_ONCE", 3)
            done: list[tuple[int, int]] = []
            assert inspect_data(data, progress=lambda *rows: done.append(rows)) == whole
        assert done[-1] == (len(rows), len(rows))
        tokens = lists_of(tokenize(data.text, TextRules(), 1000)[0])
        assert whole["vocabulary"]["tokens"] == sum(map(len, tokens))
        same = Counter(
            "".join(filter(str.isalpha, "".join(row))) or "!" * len(row[0]) for row in tokens if row
        )
        assert whole["duplicates"]["same_text"]["rows"] == sum(same.values()) - len(same)

    def test_texts_are_truncated_at_max_chars(self) -> None:
        found = inspect_data(made(["x" * 30 + " http://a.b"], ["a"]), max_chars=20)
        assert found["rows"]["truncated"] == 1
        assert found["contents"]["links"] == 0.0
        assert found["lengths"]["characters"]["max"] == 41

    def test_small_labels_share_a_count(self) -> None:
        labels = [f"label{number:02}" for number in range(30) for _ in range(30 - number)]
        found = inspect_data(made([f"word{label} the" for label in labels], labels))
        assert list(found["frequent_words"]) == sorted(set(labels))[:20]
        assert found["frequent_words"]["label00"][0]["word"] == "wordlabel00"
        assert len(found["labels"]) == 30

    def test_rules(self) -> None:
        found = inspect_data(made(["Sooo GOOD"], ["a"]), rules=TextRules(lowercase=False))
        assert {one["word"] for one in found["vocabulary"]["most_frequent"]} == {"Soo", "GOOD"}
        assert found["rules"]["lowercase"] is False

    def test_empty_vocabulary(self) -> None:
        with pytest.raises(UsageError, match="vocabulary sizes must be positive integers, not 0"):
            inspect_data(made(["a"]), vocabulary_sizes=[5, 0])


class TestNltk:
    TEXTS = (*["new york is big and new york is loud ! http://a.b"] * 6, *["big is new and loud is york"] * 3)

    def test_collocations(self) -> None:
        pytest.importorskip("nltk")
        found = inspect_with_nltk(made([*self.TEXTS]), rules=TextRules(), max_chars=1000)
        assert found["rows"] == 9
        pairs = [tuple(one["words"]) for one in found["collocations"]]
        assert pairs[0] == ("new", "york")
        assert found["collocations"][0]["count"] == 12
        assert not any({"!", "@url"} & set(pair) for pair in pairs)
        ratios = [one["log_likelihood"] for one in found["collocations"]]
        assert ratios == sorted(ratios, reverse=True)

    def test_negatively_associated_words_are_not_collocations(self) -> None:
        pytest.importorskip("nltk")
        # "a" and "b" are neighbors less often than chance would have it, but often enough to be counted.
        texts = [*["a c a c a c"] * 30, *["b d b d b d"] * 30, *["a b"] * 6]
        found = inspect_with_nltk(made([*texts]), rules=TextRules(), max_chars=1000)
        assert ["a", "b"] not in [one["words"] for one in found["collocations"]]
        assert ["a", "c"] in [one["words"] for one in found["collocations"]]

    def test_diversity(self) -> None:
        pytest.importorskip("nltk")
        found = inspect_with_nltk(made(["a a b", "c", None]), rules=TextRules(), max_chars=1000)
        assert (found["tokens"], found["types"], found["hapaxes"], found["type_token_ratio"]) == (
            4,
            3,
            2,
            0.75,
        )

    def test_sample_depends_on_the_seed(self) -> None:
        pytest.importorskip("nltk")
        data = made([f"word{number}" for number in range(100)])
        first, again, other = (
            inspect_with_nltk(data, rules=TextRules(), max_chars=1000, sample_rows=10, seed=seed)
            for seed in (1, 1, 2)
        )
        assert first["rows"] == first["types"] == 10
        assert first == again
        assert other["tokens"] == 10

    def test_needs_nltk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "nltk.collocations", None)
        with pytest.raises(MissingExtraError, match=r"\[nltk\]"):
            inspect_with_nltk(made(["a"]), rules=TextRules(), max_chars=1000)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path / "some.parquet"
    pq.write_table(pa.table({"body": pa.array(TEXTS, pa.string()), "mood": LABELS, "user": ["u"] * 9}), path)
    return path


class TestCommand:
    def inspect(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
        code = main(["data", "inspect", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    def test_json(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = self.inspect(
            capsys, file, "--text-column", "body", "--label-column", "mood", "--json"
        )
        assert (code, err) == (0, "")
        data: dict[str, Any] = json.loads(out)
        assert data["rows"]["inspected"] == 9
        assert data["users"]["users"] == 1
        assert "nltk" not in data
        assert data == inspect_data(read_labeled(file, text_column="body", label_column="mood"))

    def test_tables(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("nltk")
        code, out, err = self.inspect(
            capsys,
            file,
            "--text-column",
            "body",
            "--label-column",
            "mood",
            "--nltk",
            "--vocabulary-sizes",
            "4,8",
        )
        assert (code, err) == (0, "")
        for words in (
            "rows inspected",
            "Vocabulary coverage",
            "repeated texts",
            "A sample analyzed with NLTK",
            "neg",
        ):
            assert words in out

    def test_without_or_with_some_labels(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = self.inspect(capsys, file, "--text-column", "body", "--json")
        assert code == 0
        assert json.loads(out)["labels"] == []
        columns = ("--text-column", "body", "--label-column", "mood")
        code, out, _ = self.inspect(capsys, file, *columns, "--labels", "neg", "--json")
        data = json.loads(out)
        assert [one["label"] for one in data["labels"]] == ["neg"]
        assert data["rows"]["other_labels"] == 3

    def test_html(self, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        page = tmp_path / "pages" / "inspection.html"
        code, out, err = self.inspect(capsys, file, "--text-column", "body", "--html", page, "--json")
        assert code == 0
        assert json.loads(out)["report"] == "inspection"
        assert err == f"page: {page}\n"
        assert page.read_text().startswith("<!DOCTYPE html>")
        code, out, err = self.inspect(capsys, file, "--text-column", "body", "--html", page)
        assert (code, out) == (20, "")
        assert "--overwrite" in err
        assert self.inspect(capsys, file, "--text-column", "body", "--html", page, "--overwrite")[0] == 0
        assert [path.name for path in page.parent.iterdir()] == ["inspection.html"]

    def test_nltk_tokenizer(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("nltk")
        code, out, _ = self.inspect(capsys, file, "--text-column", "body", "--tokenizer", "nltk", "--json")
        assert code == 0
        assert json.loads(out)["rules"]["tokenizer"] == "nltk"

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["--text-column", "nobody"], 12, "did you mean 'body'"),
            (["--text-column", "body", "--label-column", "moo"], 12, "did you mean 'mood'"),
            (["--text-column", "body", "--tokenizer", "spacy"], 2, "spacy"),
            (["--text-column", "body", "--vocabulary-sizes", "ten"], 2, "takes integers"),
            (["--text-column", "body", "--vocabulary-sizes", "-1"], 2, "must be positive integers, not -1"),
            (["--text-column", "body", "--label-column", "mood", "--labels", "x"], 60, "no rows"),
        ],
    )
    def test_errors(
        self, file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
    ) -> None:
        found, out, err = self.inspect(capsys, file, *arguments)
        assert (found, out) == (code, "")
        assert words in err
        assert len(err.splitlines()) == 1

    def test_no_arguments_prints_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["data"])
        assert "inspect" in capsys.readouterr().out


class TestOverlap:
    def test_by_hand(self) -> None:
        data = made(["can't wait", "can`t wait", "new", "", None, "😂"], ["a", "b", "b", "b", "b", "a"])
        found = find_overlap(data, made(["Can't wait", "can't wait", "", "old", "😂😂"]))
        assert found["rows"] == {
            "read": 6,
            "no_text": 2,
            "exactly_the_same": 1,
            "same_text": 2,
            "outside": 2,
            "share": 0.5,
        }
        assert found["labels"] == [
            {"label": "a", "same_text": 1, "outside": 1},
            {"label": "b", "same_text": 1, "outside": 1},
        ]

    def test_command(self, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        others = tmp_path / "others.csv"
        others.write_text("body\nhate it!!\n")
        command = ["data", "overlap", str(file), "--with", str(others), "--text-column", "body"]
        assert main([*command, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["rows"]["same_text"], found["rows"]["outside"]) == (1, 5)
        assert [one["name"] for one in found["others"]] == ["others.csv"]
        assert main(command) == 0
        shown = capsys.readouterr().out
        assert "same letters and digits" in shown
        assert "16.7 %" in shown


class TestTerminalOutput:
    """What a user sees: a bar on the terminal, and nothing of it in the output."""

    def run(self, file: Path, *, terminal: bool) -> tuple[str, str]:
        command = ["data", "inspect", str(file), "--text-column", "body", "--json"]
        program = "import sys; from sentstream.cli import main; sys.exit(main())"
        root = Path(__file__).resolve().parents[3]
        path = os.pathsep.join((str(root), str(root / "train"), os.environ.get("PYTHONPATH", "")))
        parent_end, child_end = os.openpty() if terminal else os.pipe()
        run = subprocess.run(
            [sys.executable, "-c", program, *command],
            env={**os.environ, "PYTHONPATH": path, "TERM": "xterm", "CI": ""},
            stdout=subprocess.PIPE,
            stderr=child_end,
            text=True,
            check=True,
        )
        os.close(child_end)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while portion := os.read(parent_end, 65536):
                shown += portion
        os.close(parent_end)
        return run.stdout, shown.decode()

    @pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
    def test_progress_bar(self, file: Path) -> None:
        out, shown = self.run(file, terminal=True)
        assert json.loads(out)["rows"]["inspected"] == 9
        assert "9/9" in shown

    def test_no_bar_without_a_terminal(self, file: Path) -> None:
        out, shown = self.run(file, terminal=False)
        assert json.loads(out)["rows"]["inspected"] == 9
        assert shown == ""


@pytest.mark.skipif(
    not Path(os.environ.get("SENTSTREAM_DATA", "../shared/data")).is_dir() and os.environ.get("CI") != "true",
    reason="the data folder (SENTSTREAM_DATA) is not here",
)
def test_real_tweets() -> None:
    folder = Path(os.environ.get("SENTSTREAM_DATA", "../shared/data"))
    found = inspect_data(read_labeled(folder / "sentiment140/test.parquet"))
    assert [one["rows"] for one in found["labels"]] == [177, 139, 182]
    assert found["duplicates"]["exact"]["rows"] == 0
    assert found["users"]["users"] == 490
    assert "love" in [one["word"] for one in found["frequent_words"]["positive"][:5]]


@pytest.mark.skipif(
    not Path(os.environ.get("SENTSTREAM_DATA", "../shared/data")).is_dir() and os.environ.get("CI") != "true",
    reason="the data folder (SENTSTREAM_DATA) is not here",
)
def test_known_leak() -> None:
    """As the folder's description says, most rows of a validation set are also in the training set."""
    folder = Path(os.environ.get("SENTSTREAM_DATA", "../shared/data"))
    train, validation = (
        read_labeled(folder / f"semeval/{name}.parquet").text for name in ("train", "validation")
    )
    assert repeats_of(same_text(validation).words, same_text(train).words).sum() > 1_750
