"""Rules keep the meaning that they had when models were trained with them.

The digests of rules cover the tokens of these texts from before version 3 existed. A changed one breaks every
model with such rules; never update it. Those of models also cover their vocabularies, which change with them.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentstream.bundle import load_bundle
from sentstream.text import TextRules, tokenize

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "tweets.parquet"
#: What rules treat apart, beside plain words.
PIECES = [
    *"not good bad day SO LoVe isn't can't dont sooooo yaaay 1000000 2016 4ever b4 a_b".split(),
    *"__ é Ünïted naïve ÇA".split(),
    *"#fail #BestDayEver #best_day #NBAFinals2016 # ## #1 a#b C# @bob @@ @al_1 a@b.com".split(),
    *"<user> <url> < >".split(),
    *"http://t.co/x https://A.B/#Cd?x=1&y www.foo.org/bar www. http:// &amp; &lt;3 &quot;".split(),
    *"&#39; &nbsp;".split(),
    *"&amp;lt;3 can&amp;#39;t &amp;amp;amp; &#039; & && ; :) :-( :'( !!!!!! ?!?! ... … –".split(),
    *"— “x” ‘y’ I’m".split(),
    *"😀 😂😂😂😂😂 👍🏽 👩‍👩‍👧 🤷🏽‍♀️ ❤️ ❤️‍🔥 🏳️‍🌈 🇺🇸 🇬🇧🇫🇷 1️⃣ #️⃣ ☺ ™ © ® ℹ️ Ⓜ️ 🅰️ ½ ² ℃ №".split(),
    *"€ £ ¥".split(),
    *"Ｉ ｌｏｖｅ ！ ＃ ＠ 𝓘 𝓵𝓸𝓿𝓮 𝐁𝐞𝐬𝐭 ⓛⓞⓥⓔ 🄻 ﬁne شكرا спасибо ありがとう 好き ﾊﾝ".split(),
    *(
        "\u200d",
        "\ufe0f",
        "\u200b",
        "\u202e",
        "\ufeff",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\t",
        "\n",
        "\x00",
        "\x1c",
    ),
    *("", " ", "  ", "'", "''", '"', "-", "*", "$", "%", "\ufffd", "\U000e0067", "\u20e3", "\U0001f1e6"),
]


@cache
def texts() -> pa.Array:
    """The example tweets, and drawn ones of the pieces, some of them without spaces between."""
    random = Random(20_261_129)
    drawn: list[str | None] = [None, ""]
    for _ in range(6000):
        some = random.choices(PIECES, k=random.randint(1, 12))
        drawn.append(random.choice(["", " ", " "]).join(some))
    return pa.array([*pq.read_table(EXAMPLES)["text"].to_pylist(), *drawn], pa.string())


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\x00".join(parts)).hexdigest()[:32]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (TextRules(), "b283d7bbf6b3a6b8f1a961be27dd791a"),
        (TextRules(lowercase=False, letter_repeats=0, symbol_repeats=1), "0f2677b837438f59b2ca18a0811b4ecc"),
        (TextRules(entities=False, mentions="keep", links="keep"), "dbc747b85a2e7924f0fa4b5ab58c4ce1"),
        (TextRules(punctuation="space", mentions="keep", links="keep"), "53a764066ed15b4e6d47117505e6338c"),
        (TextRules(punctuation="strip", mentions="keep", links="keep"), "18d8dd6a1dfafa9219f6fc668af4f048"),
        (TextRules(length=5, padding="post"), "b283d7bbf6b3a6b8f1a961be27dd791a"),
        (TextRules.preset("keras-tokenizer"), "f299c7b512c1acbaa3063668bec24fdd"),
        (TextRules.preset("text-vectorization"), "9bb2f11822f33dc6a42e1faf868606a3"),
        (TextRules(tokenizer="characters", case="full"), "d16dce1c60f68fa5715b8f2e2474069c"),
    ],
)
def test_tokens_are_unchanged(rules: TextRules, expected: str) -> None:
    tokens, truncated = tokenize(texts(), rules, 60)
    words = "\n".join(tokens.text.to_pylist()).encode()
    assert digest(words, tokens.offsets.tobytes(), tokens.blank.tobytes(), b"%d" % truncated) == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("tweets", "74c551b540f10758c1c16f43b6d047ff"),
        ("tweets-small", "74c551b540f10758c1c16f43b6d047ff"),
        ("sentiment140", "2d6f9cbfdf566fd34b5d6a567169d287"),
    ],
)
def test_ids_of_shipped_models_are_unchanged(model: str, expected: str) -> None:
    path = load_bundle(model).text
    many = path.encode(texts())
    assert many.pairs is not None
    assert digest(many.offsets.tobytes(), many.words.tobytes(), many.pairs.tobytes()) == expected
    for row in range(0, len(many), 7):
        span = slice(many.offsets[row], many.offsets[row + 1])
        one = path.encode(texts().slice(row, 1))
        assert one.words.tolist() == many.words[span].tolist()
