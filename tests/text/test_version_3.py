"""Version 3 of the text rules: by example, and properties that hold for any text."""

from __future__ import annotations

import itertools
import math
import unicodedata
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import BundleSchemaError
from sentstream.text import UNKNOWN, TextPath, TextRules, Vocabulary, tokenize
from sentstream.text.hashtags import WordModel, log2
from sentstream.text.styled import plain_letters
from tests.text.test_golden import PIECES
from tests.text.test_plain import assert_same, token_by_token
from tests.text.test_text import broken, rows_of, tokens_of

RULES = TextRules.preset("tweets-3")
WORDS = [
    *"<pad> <unk> the i a day best ever is it good bad love not this can't # @u @url ! 😀 👩 🤷 ❤ 🇺🇸".split(),
    *"👩\u200d👩\u200d👧 1⃣ 1 nba 2016 finals app apple".split(),
]
VOCABULARY = Vocabulary(WORDS, np.array([[0, 16], [16, 6], [6, 5], [5, 7], [3, 12]], np.int32))
#: Pieces of texts that the rules treat apart, letters and words among them.
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            [*PIECES, *WORDS[2:], "#bestday", "#thisisgood", "#TheBestDay", "İ", "Ⱥ", "#İÉb_C", "\u20e3"]
        ),
        st.text(max_size=3),
        st.sampled_from([" ", "", "#", "_", "A", "aB", "9", "22"]),
    ),
    max_size=14,
).map("".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ｉ ｌｏｖｅ ｉｔ！", ["i", "love", "it", "!"]),
        ("＠bob ＃ＢｅｓｔＤａｙ ｈｔｔｐ：／／ｔ．ｃｏ／ｘ", ["@u", "#", "best", "day", "@url"]),
        ("𝓘 𝓵𝓸𝓿𝓮 𝐁𝐞𝐬𝐭 𝔤𝔬𝔬𝔡 ℍ𝕖𝕝𝕝𝕠 𝟐𝟎", ["i", "love", "best", "good", "hello", "20"]),
        ("ⓛⓞⓥⓔ 🄻🄾🅅🄴", ["love", "love"]),
        ("™ © ® ½ ² ℃ ﬁn", ["™", "©", "®", "½", "²", "℃", "ﬁn"]),
        ("ℹ️ Ⓜ️ 🅰️", ["ℹ", "ⓜ", "🅰"]),
        ("#BestDayEver", ["#", "best", "day", "ever"]),
        ("http://t.co/xC##BestDayEver", ["@url"]),
        ("#sooO", ["#", "soo"]),
        ("#sooOOGood", ["#", "soo", "good"]),
        ("#best_day __x a_b #_", ["#", "best", "day", "__x", "a_b", "#"]),
        ("#NBAFinals2016 #Top10Songs", ["#", "nba", "finals", "2016", "#", "top", "10", "songs"]),
        (
            "#iPhone #DVDs #gr8 #b4 #FAIL #2NE1",
            ["#", "iphone", "#", "dvds", "#", "gr8", "#", "b4", "#", "fail", "#", "2ne1"],
        ),
        ("#ILoveYou #aB", ["#", "i", "love", "you", "#", "ab"]),
        ("BestDay C#BestDay a/#BestDay", ["bestday", "c", "#", "bestday", "a", "/", "#", "bestday"]),
        (
            "😀#BestDay (#BestDay) ##BestDay",
            ["😀", "#", "best", "day", "(", "#", "best", "day", ")", "##", "best", "day"],
        ),
        ("http://a.b/#BestDay_x ok", ["@url", "ok"]),
        ("İ Ⱥ #BestDay", ["i", "ⱥ", "#", "best", "day"]),
        ("#ÉtéBon #CaféAuLait", ["#", "étébon", "#", "caféau", "lait"]),
        ("I &amp;lt;3 you, can&amp;#39;t", ["i", "<", "3", "you", ",", "can't"]),
        ("&amp; &lt;3 &amp;amp; &amp;amp;lt;", ["&", "<", "3", "&", "&", "lt", ";"]),
        ("👍🏽 👍🏿👍 ❤️ ☺", ["👍", "👍", "👍", "❤", "☺"]),
        ("👩‍👩‍👧 🤷🏽‍♀️ ❤️‍🔥", ["👩\u200d👩\u200d👧", "🤷\u200d♀", "❤\u200d🔥"]),
        ("🇺🇸🇬🇧🇫 🇺 🇸", ["🇺🇸", "🇬🇧", "🇫", "🇺", "🇸"]),
        ("1️⃣ #️⃣ 101⃣ \u20e3", ["1⃣", "#⃣", "10", "1⃣", "\u20e3"]),
        ("a\u200db \u200d😀 😀\u200d 😀\u200d\u200d😀", ["ab", "😀", "😀", "😀", "😀"]),
        ("❤️❤️❤️❤️❤️ 😂😂😂😂", ["❤", "❤", "❤", "😂", "😂", "😂"]),
        ("🤷‍♀️🤷‍♀️🤷‍♀️🤷‍♀️ 🇨🇨🇨🇨🇨🇨🇨🇨", [*["🤷\u200d♀"] * 3, *["🇨🇨"] * 3]),
        ("1️⃣1️⃣1️⃣1️⃣ 👍🏽👍👍🏿👍", ["1⃣", "1⃣", "1⃣", "👍", "👍", "👍"]),
    ],
)
def test_tokens_of_a_tweet(text: str, expected: list[str]) -> None:
    assert tokens_of(text, RULES) == expected


def test_letters_fold_like_nfkc() -> None:
    """Every code point: those of the four kinds that become one of ASCII, but for two emoji, and no other."""
    blocks = [("<wide>", range(0xFF00, 0xFFF0)), ("<square>", range(0x1F130, 0x1F150))]
    blocks += [("<circle>", range(0x24B6, 0x24EA)), ("<font>", range(0x2100, 0x2150))]
    blocks += [("<font>", range(0x1D400, 0x1D800))]
    table, expected = plain_letters(), set()
    folded = {code for code in np.flatnonzero(table).tolist() if unicodedata.category(chr(code)) != "Cn"}
    for kind, block in blocks:
        for code in block:
            letter, plain = chr(code), unicodedata.normalize("NFKC", chr(code))
            same = unicodedata.decomposition(letter).startswith(kind) and plain.isascii() and len(plain) == 1
            if same and letter not in "Ⓜℹ":
                expected.add(code)
                assert chr(table[code]) == plain
    assert folded == expected


@settings(max_examples=cases(300), deadline=None)
@given(st.lists(st.one_of(st.none(), TEXTS), max_size=10), st.integers(0, 9), st.integers(0, 9))
def test_rows_do_not_depend_on_neighbors(texts: list[str | None], start: int, stop: int) -> None:
    path = TextPath(RULES, VOCABULARY)
    column = pa.array(texts, pa.string())
    tokens = rows_of(column, RULES)
    assert tokens == [tokens_of(text, RULES) for text in texts]
    rows = ids(path, column)
    assert rows == [ids(path, pa.array([text], pa.string()))[0] for text in texts]
    assert ids(path, column.slice(start, max(0, stop - start))) == rows[start : max(start, stop)]
    assert ids(path, pa.chunked_array([column[:start], column[start:]], pa.string())) == rows
    assert ids(path, column.take(pa.array(range(len(texts) - 1, -1, -1), pa.int64()))) == rows[::-1]
    assert_same(path.encode(column), token_by_token(path, column))


def ids(path: TextPath, column: pa.Array | pa.ChunkedArray) -> list[tuple[list[int], list[int]]]:
    encoded = path.encode(column)
    assert encoded.pairs is not None
    spans = [slice(start, stop) for start, stop in itertools.pairwise(encoded.offsets.tolist())]
    return [(encoded.words[span].tolist(), encoded.pairs[span].tolist()) for span in spans]


@settings(max_examples=cases(100), deadline=None)
@given(st.lists(st.binary(max_size=24), max_size=8))
def test_any_bytes_are_read_independently(rows: list[bytes]) -> None:
    alone = [rows_of(broken([row]), RULES)[0] for row in rows]
    assert rows_of(broken(rows), RULES) == alone
    for row, tokens in zip(rows, alone, strict=True):
        assert tokens == tokens_of(row.decode("utf-8", "replace"), RULES)


@settings(max_examples=cases(100), deadline=None)
@given(st.one_of(TEXTS, st.text(max_size=40)))
def test_tokens_are_valid_and_only_blank_rows_are_blank(text: str) -> None:
    tokens, _ = tokenize(pa.array([text]), RULES, 1000)
    assert bool(tokens.blank[0]) == (not text.strip())
    for token in tokens.text.to_pylist():
        assert token
        assert not any(letter.isspace() for letter in token)
    assert len(ids(TextPath(RULES, VOCABULARY), pa.array([text]))[0][0]) <= max(1, len(text))


@settings(max_examples=cases(100), deadline=None)
@given(TEXTS)
def test_tokenizing_tokens_is_idempotent(text: str) -> None:
    """Except masks, which look like mentions, entities, and an emoji without a lowercase form."""
    rules = replace(RULES, entities=False, entity_levels=1, mentions="keep", links="keep")
    tokens = tokens_of(text.replace("Ⓜ", ""), rules)
    assert tokens_of(" ".join(tokens), rules) == tokens


@pytest.mark.parametrize(
    "giant", ["#", "#a", "#aB", "_", "#aB_", "🇺", "🤷\u200d", "\u200d", "1⃣", "𝓵", "&amp;lt;", "\ufe0f", "❤"]
)
def test_cost_is_linear_for_huge_texts(giant: str) -> None:
    tokens, _ = tokenize(pa.array([giant * (600_000 // len(giant)), "next"]), RULES, 1_000_000)
    assert tokens.text[-1].as_py() == "next"


class TestSubstitutes:
    """For tokens that the vocabulary lacks."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("#bestdayever", "# best day ever"),
            ("#ilovethis", "# i love this"),
            ("bestdayever", "<unk>"),
            ("#xqzkv", "# <unk>"),
            ("#bestdayxqzkv", "# <unk>"),
            ("#apple #app", "# apple # app"),
            ("#", "#"),
            ("# ilovethis", "# i love this"),
            ("👩‍👩‍👧 👩‍👧 🤷🏽‍♀️ 🤷", "👩\u200d👩\u200d👧 👩 🤷 🤷"),
            ("❤️‍🔥 🇺🇸 🇬🇧 1️⃣ 2️⃣", "❤ 🇺🇸 <unk> 1⃣ <unk>"),
        ],
    )
    def test_examples(self, text: str, expected: str) -> None:
        path = TextPath(RULES, VOCABULARY)
        encoded = path.encode(pa.array([text]))
        assert [WORDS[word] for word in encoded.words] == expected.split()
        assert [piece.token for piece in path.pieces(pa.array([text])) if piece.token in WORDS] == [
            word for word in expected.split() if word != "<unk>"
        ]

    def test_unknown_words(self) -> None:
        path = TextPath(RULES, VOCABULARY)
        tokens, _ = tokenize(pa.array(["#bestday #xqzkv 👩‍👧 🇬🇧 good"]), RULES, 100)
        assert path.is_unknown(tokens).tolist() == [False, False, False, True, False, True, False]
        plain = TextPath(TextRules(), VOCABULARY)
        assert plain.is_unknown(tokens).tolist() == [False, True, False, True, True, True, False]


class TestWordModel:
    def test_most_probable_words_win(self) -> None:
        model = WordModel(pa.array(WORDS))
        assert model.cut("bestday") == ["best", "day"]
        assert model.cut("thisisnotgood") == ["this", "is", "not", "good"]
        assert model.cut("day") == ["day"]
        assert model.cut("x" * 60) == ["x" * 60]
        assert model.cut("bésts") == ["bésts"]

    @settings(max_examples=cases(100), deadline=None)
    @given(
        st.lists(st.sampled_from(["a", "i", "is", "it", "day", "app", "apple", "ever", "x"]), max_size=6).map(
            "".join
        )
    )
    def test_no_better_split_exists(self, word: str) -> None:
        found = model().cut(word)
        assert "".join(found) == word
        if len(found) > 1:
            assert cost(found) == min(map(cost, ways(word)))

    def test_log2_matches_math(self) -> None:
        numbers = np.concatenate((np.arange(1, 5000), 2 ** np.arange(30), 2 ** np.arange(1, 30) - 1))
        for number, found in zip(numbers.tolist(), log2(numbers).tolist(), strict=True):
            assert abs(found - 256 * math.log2(number)) <= 1.01


@cache
def model() -> WordModel:
    return WordModel(pa.array(WORDS))


LOGARITHMS = log2(np.arange(1, len(WORDS) + 1))


def cost(parts: list[str]) -> int:
    return sum(int(LOGARITHMS[WORDS.index(part)]) + WordModel._EVERY_WORD for part in parts)


def ways(word: str) -> list[list[str]]:
    """All ways to cut it into known words."""
    ends = [end for end in range(1, len(word) + 1) if word[:end] in WORDS]
    return [[word[:end], *rest] for end in ends for rest in ways(word[end:])] if word else [[]]


class TestTokenSources:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Ｉ ｌｏｖｅ", [("i", 0, "Ｉ"), ("love", 2, "ｌｏｖｅ")]),
            ("İ #BestDay", [("i", 0, "İ"), ("#", 2, "#"), ("best", 3, "Best"), ("day", 7, "Day")]),
            ("Ⱥ #a_𝓑c", [("ⱥ", 0, "Ⱥ"), ("#", 2, "#"), ("a", 3, "a"), ("bc", 5, "𝓑c")]),
            ("#bestdaay!", [("#", 0, "#"), ("bestdaay", 1, "bestdaay"), ("!", 9, "!")]),
            ("é #besttttday", [("é", 0, "é"), ("#", 2, "#"), ("besttday", 3, "besttttday")]),
            (
                "#iiiloveit",
                [("#", 0, "#"), ("i", 1, "i"), ("i", 2, "ii"), ("love", 4, "love"), ("it", 8, "it")],
            ),
            ("can&amp;#39;t &lt;", [("can't", 0, "can&amp;#39;t"), ("<", 14, "&lt;")]),
            (
                "soooo @bob_1 http://t.co/x,",
                [("soo", 0, "soooo"), ("@u", 6, "@bob_1"), ("@url", 13, "http://t.co/x,")],
            ),
            (
                "👩🏽‍👩‍👧 👩🏽‍👧x",
                [
                    ("👩\u200d👩\u200d👧", 0, "👩🏽\u200d👩\u200d👧"),
                    ("👩", 7, "👩🏽\u200d👧"),
                    ("x", 11, "x"),
                ],
            ),
            ("😀😀😀😀😀 a", [("😀", 0, "😀"), ("😀", 1, "😀"), ("😀", 2, "😀😀😀"), ("a", 6, "a")]),
            ("don’t… \ufeff", [("don't", 0, "don’t"), ("...", 5, "…")]),
            ("", []),
        ],
    )
    def test_examples(self, text: str, expected: list[tuple[str, int, str]]) -> None:
        found = TextPath(RULES, VOCABULARY).pieces(pa.array([text]))
        assert [(piece.token, piece.start, piece.source) for piece in found] == expected

    @settings(max_examples=cases(100), deadline=None)
    @given(
        st.one_of(TEXTS, st.text(max_size=40)),
        st.sampled_from([RULES, TextRules(), TextRules(lowercase=False)]),
    )
    def test_pieces_are_in_text_order(self, text: str, rules: TextRules) -> None:
        path = TextPath(rules, VOCABULARY)
        column = pa.array([text])
        pieces, end = path.pieces(column), 0
        for piece in pieces:
            assert piece.start is not None
            assert piece.source
            assert piece.start >= end
            end = piece.start + len(piece.source)
            assert text[piece.start : end] == piece.source
        words = path.encode(column).words
        if pieces:
            assert path.vocabulary.ids_of([piece.token for piece in pieces]).tolist() == words.tolist()
        else:
            assert set(words.tolist()) <= {UNKNOWN}

    def test_other_tokenizers_have_no_sources(self) -> None:
        path = TextPath(TextRules.preset("keras-tokenizer"), VOCABULARY)
        assert [(piece.token, piece.start) for piece in path.pieces(pa.array(["Good day"]))] == [
            ("good", None),
            ("day", None),
        ]


class TestVersions:
    def test_rules_by_version(self) -> None:
        assert [TextRules().version, TextRules(length=3).version, RULES.version] == [1, 2, 3]
        news = {"entity_levels", "styled", "hashtags", "emoji"}
        assert not news & {*TextRules().to_dict(), *TextRules(length=3).to_dict()}
        assert news <= {*RULES.to_dict()}
        for rules in (
            RULES,
            TextRules(hashtags="split"),
            TextRules(emoji="sequences", length=4, padding="pre"),
        ):
            assert TextRules.from_dict(rules.to_dict()) == rules
            assert rules.version == 3

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"version": 2, "hashtags": "split"}, "unknown text rule 'hashtags'"),
            ({"version": 3, "hashtags": "cut"}, "hashtags is 'cut'"),
            ({"version": 3, "entity_levels": 3}, "entity_levels is 3"),
            ({"version": 3, "entity_levels": 2, "entities": False}, "needs entities"),
            ({"version": 3, "emoji": "sequences", "tokenizer": "nltk"}, "need the tokenizer tweets"),
            (
                {"version": 3, "styled": "fold", "punctuation": "space", "mentions": "keep", "links": "keep"},
                "need the tokenizer tweets",
            ),
            ({"version": 3, "tokenizer": "characters", "styled": "fold"}, "is not supported by"),
            ({"version": 4}, "version 4"),
        ],
    )
    def test_contradictory_rules_are_rejected(self, data: dict[str, Any], message: str) -> None:
        with pytest.raises(BundleSchemaError, match=message):
            TextRules.from_dict(data)
