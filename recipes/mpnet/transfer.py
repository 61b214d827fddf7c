"""The tweets that students learn from what the teacher makes of them: which rows of which file.

They come in the order of what students gain from them: tweets that people labeled, then tweets about
anything, then those about one topic. Of a set about one company, and of Sentiment140, some are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from minilm.join import fingerprint
from mpnet.tweets import WITHHELD, Rows, read

from sentstream_train.data.same_text import NO_TEXT, repeats_of, same_text

#: Sets that models are judged on or calibrated with, beside those that are withheld: no text of the sources
#: repeats one of theirs. SemEval's training tweets are whole: what may be learned of them is chosen there.
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
LABELED = "semeval"
SEED = 1


@dataclass(frozen=True)
class Source:
    """Where tweets come from.

    Attributes:
        file: Below the folder of the data.
        subset: What its column ``subset`` says of them; None takes all.
        drawn: How many are drawn; 0 takes all.
    """

    file: str
    subset: str | None = None
    drawn: int = 0


SOURCES = {
    LABELED: Source("semeval/train.parquet"),
    "sentiment140": Source("sentiment140/train.parquet", drawn=100_000),
    "swiftkey": Source("unlabelled/tweets.parquet", "swiftkey_en_US_twitter"),
    "swiftkey_more": Source("more/swiftkey_more.parquet"),
    "goemotions": Source("more/goemotions_reddit.parquet"),
    "sarcasm": Source("more/sarcasm_aniskywalker.parquet"),
    "crisislex": Source("more/crisislext6.parquet"),
    "election": Source("unlabelled/tweets.parquet", "us_election_2024"),
    "hazards": Source("more/natural_hazards.parquet"),
    "vaccine": Source("more/zindi_vaccine_stance.parquet"),
    "wework": Source("unlabelled/tweets.parquet", "wework_2019", 32_768),
}


@dataclass(frozen=True)
class Tweets:
    """Rows of a data set that the teacher is to label.

    Attributes:
        name: Of the source.
        file: The data set.
        data_sha256: Its fingerprint.
        rows: ``int64``, ascending.
    """

    name: str
    file: Path
    data_sha256: str
    rows: Rows


def transfer_set(data: Path) -> Iterator[Tweets]:
    """The tweets of each source, in order; of texts that repeat each other in it, the first."""
    judged = [same_text(_texts(data / file)).words for file in JUDGED]
    for name, source in SOURCES.items():
        file = data / source.file
        rows = np.arange(len(_texts(file)), dtype=np.int64)
        if source.subset is not None:
            rows = np.flatnonzero(pc.equal(read(file, "subset")["subset"], source.subset).to_numpy())
        if name != LABELED:
            rows = _fresh(file, rows, judged)
        if source.drawn:
            drawn = np.random.default_rng([SEED, source.drawn]).permutation(len(rows))[: source.drawn]
            rows = np.sort(rows[drawn])
        yield Tweets(name, file, fingerprint(file), rows)


def _fresh(file: Path, rows: Rows, judged: list[np.ndarray]) -> Rows:
    """Those of the rows that repeat neither each other nor a judged tweet."""
    words = same_text(_texts(file).take(pa.array(rows))).words
    kept = words != NO_TEXT
    for theirs in judged:
        kept &= ~repeats_of(words, theirs)
    _, first = np.unique(words[kept], return_index=True)
    return np.sort(rows[kept][first])


def _texts(file: Path) -> pa.Array:
    return read(file, "text")["text"].combine_chunks()
