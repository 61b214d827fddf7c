"""The tweets whose teacher labels students learn from: which rows of which files.

They are ordered by how much students gain from them: tweets labeled by people, frequent phrases, tweets about
anything, tweets about one topic, then more of Sentiment140. From it and from a set about one company, samples
are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from minilm.join import fingerprint
from mpnet.phrases import emoji, fingerprint_of, phrases_of
from mpnet.tweets import WITHHELD, Rows, read, write_table

from sentstream.analyze.keys import Keys
from sentstream_train.data.same_text import NO_TEXT, repeats_of, same_text

#: Evaluation and calibration sets, including those in ``WITHHELD``: no text of the sources repeats one of
#: theirs, except in SemEval's training tweets, which are complete here and filtered before training.
JUDGED = (
    *WITHHELD,
    "more/apple_dfe.parquet",
    "more/coachella_dfe.parquet",
    "more/dong2014_target.parquet",
    "more/gop_debate_dfe.parquet",
    "more/self_driving_dfe.parquet",
    "more/semeval2018_valence.parquet",
    "more/twitter15_17_target.parquet",
)
LABELED, DISTANT, PHRASES = "semeval", "sentiment140", "phrases"
SEED = 1


@dataclass(frozen=True)
class Source:
    """A source of tweets.

    Attributes:
        file: The file, below the folder of the data.
        subset: The value of its column ``subset``; None takes all.
        drawn: Sample size; 0 takes all.
        part: Which sample of this size: no two have a row in common.
    """

    file: str
    subset: str | None = None
    drawn: int = 0
    part: int = 0


SOURCES = {
    LABELED: Source("semeval/train.parquet"),
    DISTANT: Source("sentiment140/train.parquet", drawn=100_000),
    "swiftkey": Source("unlabelled/tweets.parquet", "swiftkey_en_US_twitter"),
    "swiftkey_more": Source("more/swiftkey_more.parquet"),
    "goemotions": Source("more/goemotions_reddit.parquet"),
    "sarcasm": Source("more/sarcasm_aniskywalker.parquet"),
    "crisislex": Source("more/crisislext6.parquet"),
    "election": Source("unlabelled/tweets.parquet", "us_election_2024"),
    "hazards": Source("more/natural_hazards.parquet"),
    "vaccine": Source("more/zindi_vaccine_stance.parquet"),
    "wework": Source("unlabelled/tweets.parquet", "wework_2019", 32_768),
    **{
        f"{DISTANT}_{part}": Source("sentiment140/train.parquet", drawn=100_000, part=part)
        for part in range(1, 15)
    },
}


@dataclass(frozen=True)
class Tweets:
    """Rows of a data set for the teacher to label.

    Attributes:
        name: Name of the source.
        file: The data set.
        data_sha256: Its fingerprint; for phrases, that of their texts, because their file is rebuilt.
        rows: ``int64``, ascending.
    """

    name: str
    file: Path
    data_sha256: str
    rows: Rows


def transfer_set(data: Path, work: Path) -> Iterator[Tweets]:
    """Yield the tweets of each source, in order; of texts that repeat each other within it, only the first.

    Args:
        data: The folder of the data.
        work: Where the file of phrases is written.
    """
    judged = [same_text(_texts(data / file)).words for file in JUDGED]
    chosen = [_chosen(data, name, source, judged) for name, source in SOURCES.items()]
    yield from (one for one in chosen if one.name == LABELED)
    yield _phrases(chosen, work / "phrases.parquet")
    yield from (one for one in chosen if one.name != LABELED)


def _chosen(data: Path, name: str, source: Source, judged: Sequence[Keys]) -> Tweets:
    file = data / source.file
    texts = _texts(file)
    rows = np.arange(len(texts), dtype=np.int64)
    if source.subset is not None:
        rows = np.flatnonzero(pc.equal(read(file, "subset")["subset"], source.subset).to_numpy())
    if name != LABELED:
        rows = _fresh(texts, rows, judged)
    if source.drawn:
        order = np.random.default_rng([SEED, source.drawn]).permutation(len(rows))
        rows = np.sort(rows[order[source.part * source.drawn :][: source.drawn]])
    return Tweets(name, file, fingerprint(file), rows)


def _phrases(chosen: Sequence[Tweets], file: Path) -> Tweets:
    """Return emoji, and phrases from all of Sentiment140 and from the chosen tweets of the other sources."""
    texts = [
        _texts(one.file) if one.name == DISTANT else _texts(one.file).take(pa.array(one.rows))
        for one in chosen
        if not SOURCES[one.name].part
    ]
    phrases = pa.concat_arrays([phrases_of(texts), emoji()])
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(pa.table({"text": phrases}), file)
    return Tweets(PHRASES, file, fingerprint_of(phrases), np.arange(len(phrases), dtype=np.int64))


def _fresh(texts: pa.Array, rows: Rows, judged: Sequence[Keys]) -> Rows:
    """Return the rows that repeat neither each other nor an evaluation tweet."""
    words = same_text(texts.take(pa.array(rows))).words
    kept = words != NO_TEXT
    for keys in judged:
        kept &= ~repeats_of(words, keys)
    _, first = np.unique(words[kept], return_index=True)
    return np.sort(rows[kept][first])


def _texts(file: Path) -> pa.Array:
    return read(file, "text")["text"].combine_chunks()
