"""The split of rows: duplicates, conflicts, and no user on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import DataError
from sentstream.text import DEFAULT_MAX_CHARS, TextPath, Tokens
from sentstream_train.config import DataConfig, from_dict, to_dict
from sentstream_train.data.labeled import LabeledData
from sentstream_train.data.split import Split, split_rows
from sentstream_train.data.vocabulary import learn_pairs, learn_words

HALF = DataConfig(validation=0.5)


def labeled(texts: list[str | None], labels: list[int], users: list[str | None] | None = None) -> LabeledData:
    return LabeledData(
        text=pa.array(texts, pa.string()),
        label=np.array(labels, np.int32),
        row=np.arange(len(texts)),
        labels=("negative", "positive"),
        user=None if users is None else pa.array(users, pa.string()),
        sources=(),
    )


def rows_of(tokens: Tokens) -> list[str]:
    flat = tokens.text.to_pylist()
    return [" ".join(flat[a:b]) for a, b in zip(tokens.offsets, tokens.offsets[1:], strict=False)]


def everything(split: Split) -> list[tuple[str, int]]:
    both = zip(rows_of(split.train), split.train_labels.tolist(), strict=True)
    return sorted([*both, *zip(rows_of(split.validation), split.validation_labels.tolist(), strict=True)])


FILLER = [f"word{n} filler" for n in range(20)]


def test_duplicates_conflicts_and_blanks_are_counted_once() -> None:
    texts = ["same", "same", "torn", "torn", "torn", "tie", "tie", None, "", " ", *FILLER]
    labels = [0, 0, 1, 1, 0, 0, 1, 0, 0, 0, *([0, 1] * 10)]
    split = split_rows(labeled(texts, labels), HALF, 1)
    got = everything(split)
    assert ("same", 0) in got
    assert got.count(("same", 0)) == 1
    assert ("torn", 1) in got
    assert ("torn", 0) not in got
    assert not any(text == "tie" for text, _ in got)
    report = split.report
    assert (report.read, report.blank, report.conflicting, report.duplicates) == (30, 3, 3, 2)
    assert report.read == sum(list(report.to_dict().values())[1:])


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        ({"conflicts": "drop"}, []),
        ({"conflicts": "keep"}, [0, 1]),
        ({"conflicts": "keep", "duplicates": "keep"}, [0, 1, 1]),
    ],
)
def test_each_policy(policy: dict[str, str], left: list[int]) -> None:
    data = labeled(["torn", "torn", "torn", *FILLER], [1, 1, 0, *([0, 1] * 10)])
    got = everything(split_rows(data, replace(HALF, **policy), 1))  # type: ignore[arg-type]
    assert [label for text, label in got if text == "torn"] == left


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 60))
def test_users_are_never_on_both_sides(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    people = [None if random.random() < 0.3 else f"u{random.integers(rows // 2)}" for _ in range(rows)]
    texts = [f"@someone{random.integers(9)} text{random.integers(rows // 2)}" for _ in range(rows)]
    data = labeled(texts, random.integers(0, 2, rows).tolist(), people)
    try:
        split = split_rows(data, replace(HALF, conflicts="keep", duplicates="keep"), seed)
    except DataError:
        return  # everything hangs together: there is nothing to hold out
    ours = {text.split()[-1] for text in rows_of(split.train)}
    theirs = {text.split()[-1] for text in rows_of(split.validation)}
    assert not ours & theirs
    user_of: dict[str, set[str]] = {}
    for text, user in zip(texts, people, strict=True):
        if user is not None:
            user_of.setdefault(text.split()[-1], set()).add(user)
    assert not set().union(*(user_of.get(t, set()) for t in ours)) & set().union(
        *(user_of.get(t, set()) for t in theirs)
    )


def test_texts_differing_in_marks_stay_together() -> None:
    texts = [
        "can't wait",
        "can`t wait",
        "@ann cant wait!",
        "torn day",
        "TORN day.",
        "mood :)",
        "mood :(",
        *FILLER,
    ]
    labels = [0, 0, 0, 0, 1, 0, 1, *([0, 1] * 10)]
    split = split_rows(labeled(texts, labels), HALF, 1)
    got = everything(split)
    assert [text for text, _ in got if "wait" in text] == ["can't wait"]
    assert not any("torn" in text for text, _ in got)
    assert ("mood :)", 0) in got
    assert ("mood :(", 1) in got
    assert (split.report.conflicting, split.report.duplicates) == (2, 2)
    sides = [{text.split()[0] for text in rows_of(side)} for side in (split.train, split.validation)]
    assert "mood" not in sides[0] & sides[1]  # one text to whoever learns it by heart


def test_training_and_scoring_read_the_same_prefix() -> None:
    assert DataConfig().max_chars == DEFAULT_MAX_CHARS


def test_earlier_run_keeps_its_split() -> None:
    """As the version before ``same_text`` split them, row for row."""
    settings = to_dict(DataConfig())
    del settings["same_text"]
    draw = np.random.default_rng(7)
    words = ["can't", "can`t", "good", "bad", "day :)", "day :(", "@ann", "@bob", "http://t.co/x", "!", "😂"]
    texts: list[str | None] = [" ".join(draw.choice(words, draw.integers(1, 4))) for _ in range(400)]
    split = split_rows(labeled(texts, draw.integers(0, 2, 400).tolist()), from_dict(DataConfig, settings), 1)
    assert split.validation_rows.tolist() == [5, 21, 57, 121]
    assert (split.report.conflicting, split.report.duplicates, split.report.train) == (106, 98, 192)


def test_limit_samples_rows_and_a_number_holds_out_that_many() -> None:
    texts = [f"a{n} b{n}" for n in range(1000)]
    split = split_rows(labeled(texts, [0, 1] * 500), DataConfig(limit=400, validation=100), 3)
    assert (split.report.unsampled, split.report.train, split.report.validation) == (600, 300, 100)
    again = split_rows(labeled(texts, [0, 1] * 500), DataConfig(limit=400, validation=100), 3)
    assert everything(again) == everything(split)


def test_too_few_rows_or_one_class_is_rejected() -> None:
    with pytest.raises(DataError, match="fewer than two labels"):
        split_rows(labeled(FILLER, [1] * 20), HALF, 1)
    with pytest.raises(DataError, match="too few"):
        split_rows(labeled(["x", "y"], [0, 1], ["me", "me"]), HALF, 1)


def test_vocabulary_has_the_frequent_words() -> None:
    texts = ["not good", "not good", "not bad", "good day", "good day", "good day", "rare"]
    split = split_rows(
        labeled([*texts, *FILLER], [0, 1, 0, 1, 0, 1, 0, *([0, 1] * 10)]),
        replace(HALF, duplicates="keep", conflicts="keep"),
        1,
    )
    words = learn_words([split.train], 5, 1)
    assert len(words) == 5
    assert words.words[:2].to_pylist() == ["<pad>", "<unk>"]
    rows = TextPath(HALF.rules, words).look_up(split.train)
    pairs = learn_pairs([rows], words, 2, 1)
    assert pairs.pair_count == 2
    assert pairs.pairs is not None
    assert (np.diff(pairs.pairs.astype(np.int64) @ np.array([len(words), 1])) > 0).all()
    assert 1 not in pairs.pairs
