"""Texts that are probably in other languages, detected by their letters and known words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sentstream
from sentstream.analyze import analyze
from sentstream.analyze.languages import LanguageCounts, Languages
from sentstream.dataset.preparation import score_files
from sentstream.report.sentiment.figures import languages_words, quality_rows
from sentstream.text import TextRules, tokenize

ROOT = Path(__file__).resolve().parents[2]


def counted(texts: list[str], known: set[str] | None = None) -> Languages:
    given = pa.array(texts, pa.large_string())
    counts = LanguageCounts(with_words=known is not None)
    tokens, _ = tokenize(given, TextRules(), 1000)
    flags = None
    if known is not None:
        flags = np.array([word in known for word in tokens.text.to_pylist()], np.bool_)
    counts.add(given, tokens, flags)
    return counts.languages()


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("доброе утро", "Cyrillic"),
        ("صباح الخير", "Arabic"),
        ("おはよう ございます", "Chinese or Japanese"),
        ("좋은 아침", "Korean"),
        ("καλημέρα", "Greek"),
        ("გამარჯობა", "another"),
        ("@somebody_with_a_name доброе https://example.org/a/long/path утро", "Cyrillic"),
        ("¡qué mañana más bonita, señorita Ñandú!", None),
        ("good morning, 東京", None),
        ("🙂🙂🙂", None),
        ("@somebody https://example.org", None),
        ("", None),
    ],
)
def test_scripts(text: str, script: str | None) -> None:
    found = counted([text, "good morning"])
    assert [(one.script, one.rows) for one in found.scripts] == ([] if script is None else [(script, 1)])
    assert (found.rows, found.long, found.strange) == (2, None, None)


def test_known_words() -> None:
    known = {"a", "b", "c", ",", "!"}
    texts = ["a b c x y", "a b x y z", "a x y z", "x , ! , ! , !", "доброе утро всем вам друзья"]
    found = counted(texts, known)
    assert (found.long, found.strange) == (2, 1)  # of few words nothing is said, nor of other letters


def test_no_rows() -> None:
    assert counted([], set()) == Languages(0, (), 5, 0, 0)


def test_report_shows_languages_and_their_certainty(tmp_path: Path) -> None:
    score_files(ROOT / "examples" / "tweets.parquet", tmp_path / "scored.parquet", provider="cpu")
    data = analyze(tmp_path / "scored.parquet").to_dict()
    rows = dict(quality_rows(data))
    (letters,) = (what for name, what in rows.items() if "non-Latin" in name)
    assert "Arabic" in letters
    assert any("under half" in name for name in rows)
    assert "not detected" in languages_words(data["quality"]["languages"])


def test_foreign_language_texts_stand_out(tmp_path: Path) -> None:
    model = sentstream.load(provider="cpu")
    finnish = ["Hyvää huomenta kaikille, tänään paistaa vihdoin aurinko ja lähdemme mökille uimaan"] * 30
    english = ["good morning everyone, the sun is finally out and we are going for a swim"] * 70

    pq.write_table(model.score(finnish + english), tmp_path / "scored.parquet")
    quality = analyze(tmp_path / "scored.parquet").quality
    assert quality is not None
    assert (quality.languages.long, quality.languages.strange) == (100, 30)
