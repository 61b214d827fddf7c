"""How models label 300 short sentences whose label nobody would dispute, by kind.

    python benchmarks/common_sense.py                  # the models that ship, as a Markdown table
    python benchmarks/common_sense.py MODEL --wrong    # also print the sentences that it gets wrong

The sentences are in ``tests/evaluation/common_sense.csv``, written for this purpose. They are few, and they
describe what people report; they are not drawn from what people write. A score by kind shows what a model
can't do, not how good it is.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sentstream
from benchmarks.machine import ROOT, machine_line
from sentstream.analyze.intervals import wilson

FILE = ROOT / "tests" / "evaluation" / "common_sense.csv"
#: What the sentences of each kind have in common.
KINDS = {
    "plain": "literal statements",
    "negation": "not, never, nobody",
    "litotes": "understatement",
    "contrast": 'with "but"; the part after it decides',
    "emoji": "the only sign of sentiment",
    "hashtags": "mostly as one word",
    "slang": "slang and abbreviations",
    "idioms": "neutral or misleading word by word",
    "sarcasm": "clearly marked, e.g. with #not",
    "typing": "look-alike letters, stretched words, escaped entities",
    "questions": "factual questions: neutral",
    "news": "news and announcements: neutral",
}
MODELS = ("tweets", "tweets-small", "sentiment140")


@dataclass(frozen=True)
class Sentence:
    """A sentence of the list."""

    text: str
    label: str
    kind: str


@dataclass(frozen=True)
class Score:
    """The number of sentences of a kind that a model gets right, of those whose label it knows."""

    right: int
    rows: int

    def __str__(self) -> str:
        return f"{self.right}/{self.rows}" if self.rows else ""


def sentences() -> list[Sentence]:
    """Read the list."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [Sentence(**row) for row in csv.DictReader(file)]


def judge(name: str) -> Iterator[tuple[Sentence, str]]:
    """Yield each sentence whose label the model knows, with the model's label."""
    model = sentstream.load(name, provider="cpu", threads=1)
    known = [one for one in sentences() if one.label in model.labels]
    rows = model.score([one.text for one in known])
    yield from zip(known, rows["sentiment"].to_pylist(), strict=True)


def by_kind(judged: list[tuple[Sentence, str]]) -> dict[str, Score]:
    """Return the score of each kind, in the order of ``KINDS``, and of all."""
    right = {
        kind: [one.label == predicted for one, predicted in judged if one.kind == kind] for kind in KINDS
    }
    scores = {kind: Score(sum(some), len(some)) for kind, some in right.items()}
    total = Score(sum(one.right for one in scores.values()), sum(one.rows for one in scores.values()))
    return {**scores, "all": total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--wrong", action="store_true", help="also print the sentences with a wrong label")
    args = parser.parse_args()
    judged = {name: list(judge(name)) for name in args.models}
    scores = {name: by_kind(some) for name, some in judged.items()}
    print("| kind | | " + " | ".join(f"`{Path(name).name}`" for name in args.models) + " |")
    print("|---|---|" + "---:|" * len(args.models))
    for kind, description in KINDS.items():
        print(f"| {kind} | {description} | " + " | ".join(str(some[kind]) for some in scores.values()) + " |")
    cells = []
    for some in scores.values():
        low, high = wilson(some["all"].right, some["all"].rows)
        share = some["all"].right / some["all"].rows
        cells.append(f"{some['all']}, {100 * share:.1f} % ({100 * low:.1f}–{100 * high:.1f})")
    print("| all | | " + " | ".join(cells) + " |")
    print(f"\n{machine_line()}", file=sys.stderr)
    if args.wrong:
        for name, answers in judged.items():
            for one, predicted in answers:
                if one.label != predicted:
                    print(f"{name}\t{one.kind}\t{one.label}, not {predicted}\t{one.text}")


if __name__ == "__main__":
    main()
