"""Hugging Face's tokenizers with the rules and the words of a bundle, on all cores (its own threads).

    python -m benchmarks.tokenizers_peer MODEL FILE ROWS

It does not look up word pairs, which sentstream does within its measured time, and converting its results to
an array is not timed. The share of rows with the same ids is printed, too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.rows import read_texts
from benchmarks.timing import timed
from sentstream.bundle import Bundle, load_bundle
from sentstream.text import LINK, MENTION, TextRules
from sentstream.text.vocabulary import SPECIAL

#: Emoji and other symbols, each of which is a token (see ``sentstream/text/scan.py``).
_SYMBOL = r"\x{2000}-\x{2bff}\x{fffd}\x{1f000}-\x{1ffff}"
#: Joiners, variation selectors, skin tones, direction marks.
_UNSEEN = r"[\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{fe00}-\x{fe0f}\x{feff}\x{1f3fb}-\x{1f3ff}]"
#: The third equal letter in a row, and the fourth equal sign; what precedes \K is kept.
_REPEATS = rf"([a-z_])\1\K\1+|([!-/:-@\[-^`{{-~])\2\2\K\2+|([{_SYMBOL}])\3\3\K\3+"
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&nbsp;": " "}
_REWRITES = {
    r"<url>|(?:https?://|(?<!\w)www\.(?=\w))\S*": f" {LINK} ",
    rf"<user>|(?<!\w)@(?!{LINK[1:]} )[a-z0-9_]\w*(?:'\w+)*": f" {MENTION} ",
    r"[\x{2018}\x{2019}\x{201b}]": "'",
    r"[\x{201c}-\x{201f}]": '"',
    r"[\x{2010}-\x{2015}]": "-",
    r"\x{2026}": "...",
    f"{_UNSEEN}|{_REPEATS}": "",
}
_TOKEN = rf"{LINK}|{MENTION}|\w+(?:'\w+)*|[{_SYMBOL}]|#+|@+|[^\w\s#@{_SYMBOL}]+"


def tokenizer(bundle: Bundle) -> Any:
    """Return a tokenizer with the default rules for tweets."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    if bundle.text.rules != TextRules():
        raise SystemExit(f"{bundle.name} has other rules than the default ones, which are written out here")
    words = {word: index for index, word in enumerate(bundle.text.vocabulary.words.to_pylist())}
    built = Tokenizer(models.WordLevel(words, unk_token=SPECIAL[1]))
    built.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            *(normalizers.Replace(old, new) for old, new in _ENTITIES.items()),
            *(normalizers.Replace(Regex(old), new) for old, new in _REWRITES.items()),
        ]
    )
    built.pre_tokenizer = pre_tokenizers.Split(Regex(_TOKEN), "removed", invert=True)
    return built


def tokenize(bundle: Bundle, texts: pa.ChunkedArray) -> dict[str, Any]:
    """Time the token ids of all texts, given as a list of ``str``."""
    built, rows = tokenizer(bundle), texts.fill_null("").to_pylist()
    few = 5000
    encoded = bundle.text.encode(texts.slice(0, few))
    ours = [
        encoded.words[start:stop].tolist()
        for start, stop in zip(encoded.offsets, encoded.offsets[1:], strict=False)
    ]
    theirs = built.encode_batch_fast(rows[:few], add_special_tokens=False)  # also the first batch
    same = sum(one == other.ids for one, other in zip(ours, theirs, strict=True)) / len(ours)
    figures = timed(len(rows), lambda: built.encode_batch_fast(rows, add_special_tokens=False))
    return {**figures, "same_ids": same}


if __name__ == "__main__":
    given = load_bundle(sys.argv[1]), read_texts(Path(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(tokenize(*given)))
