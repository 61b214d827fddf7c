"""A drift reference: a model's results on known good tweets, counted once and saved to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentstream.dataset.formats.open import open_source
from sentstream.dataset.inputs import find_inputs
from sentstream.dataset.pieces import score_piece
from sentstream.drift.distribution import LEAST_TEXTS, Distribution
from sentstream.errors import DriftReferenceError, first_line, naming
from sentstream.model import Model
from sentstream.scorer.added_columns import TEXT_COLUMN, check_abstain
from sentstream.storage.whole_file import whole_file

_FORMAT = 1
#: Keys of the file other than the counts.
_AROUND = ("format", "model", "abstain")
_AGAIN = "make one with: sentstream reference INPUT --output FILE"


@dataclass(frozen=True)
class Reference:
    """Counts of a model's results.

    Attributes:
        model: The model's name.
        digest: The model's digest.
        abstain: The threshold for ``uncertain``; None if there is none.
        texts: The counts.
    """

    model: str
    digest: str
    abstain: float | None
    texts: Distribution

    def to_dict(self) -> dict[str, Any]:
        """JSON-serializable data."""
        return {
            "format": _FORMAT,
            "model": {"name": self.model, "digest": self.digest},
            "abstain": self.abstain,
            **self.texts.to_dict(),
        }

    def check(self, model: str, digest: str, abstain: float | None) -> None:
        """Check that a model's results can be compared with this reference.

        Args:
            model: The model's name.
            digest: The model's digest.
            abstain: The threshold for ``uncertain`` it is used with.

        Raises:
            DriftReferenceError: The reference is for another model or another threshold.
        """
        if digest != self.digest:
            raise DriftReferenceError(
                f"it is of model {self.model} ({self.digest[:12]}), not of {model} ({digest[:12]})",
                hint=_AGAIN,
            )
        if abstain != self.abstain:
            raise DriftReferenceError(
                f"it was made with --abstain {self.abstain}, but this run has {abstain}",
                hint=_AGAIN,
            )

    def save(self, target: Path, *, overwrite: bool = False) -> None:
        """Write it to a file, atomically.

        Raises:
            OutputExistsError: The file exists and ``overwrite`` is not set.
            OutputWriteError: The file cannot be written.
        """
        with whole_file(target, overwrite=overwrite) as file:
            file.write((json.dumps(self.to_dict(), indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read a file that ``save`` wrote.

        Raises:
            DriftReferenceError: The file cannot be read, or is not a reference.
        """
        try:
            data = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise DriftReferenceError(f"{path} cannot be read: {first_line(error)}", hint=_AGAIN) from error
        with naming(path):
            return _read(data)


def _read(data: Any) -> Reference:
    """A reference from its JSON. Every count is checked, since a file may come from anywhere."""
    wrong = DriftReferenceError("this is not a reference file", hint=_AGAIN)
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise wrong
    if data.get("format") != _FORMAT:
        raise DriftReferenceError(
            f"a reference of format {data.get('format')!r}, but this version supports {_FORMAT}", hint=_AGAIN
        )
    model, abstain = data["model"], data.get("abstain")
    name, digest = model.get("name"), model.get("digest")
    if (
        not isinstance(name, str)
        or not isinstance(digest, str)
        or not isinstance(abstain, int | float | None)
    ):
        raise wrong
    try:
        texts = Distribution.from_dict({key: data[key] for key in data if key not in _AROUND})
    except ValueError as error:
        raise wrong from error
    if texts.texts < LEAST_TEXTS:
        raise _too_few(texts.texts)
    return Reference(name, digest, abstain, texts)


def _too_few(texts: int) -> DriftReferenceError:
    return DriftReferenceError(
        f"{texts:,} labeled texts are too few for a reference", hint=f"at least {LEAST_TEXTS:,} are needed"
    )


def measure(
    inputs: Sequence[str],
    model: Model,
    *,
    text_column: str = TEXT_COLUMN,
    abstain: float | None = None,
    storage_options: Mapping[str, str] | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Reference:
    """Score known good tweets and count the results.

    Args:
        inputs: Files, directories, globs and URIs, as for ``score``.
        model: The model.
        text_column: The text column, or the path of a struct field such as ``data.text``.
        abstain: The threshold for ``uncertain`` that the stream will use.
        storage_options: Settings for object stores.
        progress: Called with the number of rows done and the total, None if unknown.

    Raises:
        InputError: An input does not exist, is not valid, or lacks the column.
        DriftReferenceError: Fewer than 1,000 texts have a label.
    """
    check_abstain(abstain)
    scorer = model.scorer(text_column=text_column, columns=[], abstain=abstain)
    sources = [
        open_source(one.file, columns=[text_column])
        for one in find_inputs(inputs, None, storage_options).files
    ]
    for source in sources:  # before the first row is scored
        with naming(source.name):
            scorer.output_schema(source.schema)
    totals = [source.total for source in sources]
    total = None if None in totals else sum(one for one in totals if one is not None)
    texts, done = Distribution(dict.fromkeys(scorer.labels, 0)), 0
    progress(0, total)
    for source in sources:
        for piece in source.pieces():
            with naming(source.name):
                for scored in score_piece(scorer, piece, threads=model.threads):
                    texts += scored.distribution
                    done += scored.tally.rows
                    progress(done, total)
    if texts.texts < LEAST_TEXTS:
        raise _too_few(texts.texts)
    return Reference(model.name, model.digest, scorer.abstain, texts)
