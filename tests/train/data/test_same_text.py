"""Which texts count as the same, regardless of punctuation, case and mentions: any script, any chunks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream_train.data.same_text import NO_TEXT, repeats_of, same_text

#: Letters and digits of many scripts; none that NFKC or case turns into several, none twice in a row.
LETTERS = "abcxyz0129éñжщאבگعकगनमあア漢字한국ไท"
MARKS = " .,!?'`’‘´\"“”-–—…:;()*_/\\|~^=+$%\u00a0\u200b\ufe0f😂❤👍🏽"


def words_of(*texts: str | None) -> list[int]:
    return same_text(pa.array(texts, pa.string())).words.tolist()


def signs_of(*texts: str | None) -> list[int]:
    return same_text(pa.array(texts, pa.string())).signs.tolist()


@pytest.mark.parametrize(
    "texts",
    [
        [
            "can't",
            "can`t",
            "can’t",
            "cant",
            "CAN´T!!",
            '"can\'t"',
            "@bob can't",
            "can't http://t.co/x",
            "can t",
        ],
        ["rock & roll", "rock &amp; roll", "Rock-Roll", "rock &lt;roll&gt;"],
        ["caf\u00e9", "cafe\u0301", "CAF\u00c9"],
        ["１２ ｇｏ", "12 go", "𝟏𝟐 𝐠𝐨", "1️⃣2️⃣ GO"],
        ["ΟΔΟΣ", "οδος", "οδοσ"],
        ["日本語!", "日本 語", "「日本語」"],
        ["#BestDay", "best day", "Best. Day. 😂", "<user> best day <url>"],
        ["so good", "SO  good\n", "\tso: good"],
        ["sooo", "soooooo"],
    ],
)
def test_texts_people_see_as_equal(texts: list[str]) -> None:
    assert len(set(words_of(*texts))) == 1


@pytest.mark.parametrize(
    "texts",
    [
        ["😂", "😭", "😂 😭", "❤", ":)", ":(", "!!!", "@ann", "@bob", "http://a.b", "http://a.c", "♪ ♫"],
        ["की", "का", "क", "कि"],
        ["日本", "本日", "東京", "서울", "한국", "שלום", "سلام", "ไทย", "привет"],
        ["cant", "can", "cat", "tcan", "can 1", "can 10", "café", "cafe"],
        ["2:1", "2:2", "12"],
    ],
)
def test_texts_people_see_as_different(texts: list[str]) -> None:
    assert len(set(words_of(*texts))) == len(texts)
    assert NO_TEXT not in words_of(*texts)


def test_blank_texts_do_not_repeat() -> None:
    assert words_of(None, "", "  ", "\u3000\n") == [NO_TEXT] * 4
    keys = same_text(pa.array(["a day", "", None, "b"])).words
    assert repeats_of(keys, same_text(pa.array(["", None, "A DAY"])).words).tolist() == [
        True,
        False,
        False,
        False,
    ]


def test_emoticons_and_emoji_are_distinguished() -> None:
    texts = ("good morning", "Good morning!", "good morning :)", "good morning :-)", "good morning :(")
    assert len(set(words_of(*texts, "good morning 😂"))) == 1
    plain, shouted, happy, nose, sad, *rest = signs_of(*texts, "good morning 😂", "good morning 😭")
    assert plain == shouted
    assert happy == nose
    assert len({plain, happy, sad, *rest}) == 5
    assert signs_of("❤️ you", "@ann ❤ you.")[0] == signs_of("you ❤")[0]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(LETTERS), min_size=1, max_size=6), max_size=8), st.data())
def test_only_letters_in_order_matter(found: list[list[str]], data: st.DataObject) -> None:
    marks = st.text(MARKS, max_size=2)

    def dressed(letters: list[str]) -> str:
        shape = st.sampled_from([str.lower, str.upper])
        return "".join(data.draw(marks) + data.draw(shape)(letter) for letter in letters) + data.draw(marks)

    # A letter that repeats is shortened, but not across marks.
    texts = [[a for a, b in zip(text, [*text[1:], ""], strict=True) if a != b] for text in found]
    plain = words_of(*map("".join, texts))
    assert words_of(*map(dressed, texts)) == plain
    assert len(set(plain)) == len(set(map(tuple, texts)))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.none() | st.text("ab:)😂 @", max_size=5), min_size=1, max_size=30), st.integers(0, 3))
def test_keys_do_not_depend_on_portions(texts: list[str | None], first: int) -> None:
    column = pa.array(texts, pa.string())
    whole = same_text(column)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sentstream_train.data.same_text._ROWS_AT_ONCE", 3)
        found = same_text(column.cast(pa.large_string()).slice(first))
    assert np.array_equal(found.words, whole.words[first:])
    assert np.array_equal(found.signs, whole.signs[first:])
