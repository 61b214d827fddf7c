"""What a model's bundle tells of its scores, where it is at hand: its words, its limits, how good it is."""

from __future__ import annotations

from dataclasses import dataclass

from sentstream.analyze.scored import ModelName
from sentstream.bundle import Bundle, list_models, load_bundle
from sentstream.errors import BundleDigestError, BundleError
from sentstream.text import DEFAULT_MAX_CHARS, TextRules


@dataclass(frozen=True)
class Measured:
    """How good a model was on labeled rows, as its bundle says.

    Attributes:
        data: What the rows were.
        rows: How many.
        accuracy: Share of them that it labeled right.
        calibration_error: How far its scores were from its accuracy: the mean gap over bins of the score.
    """

    data: str
    rows: int
    accuracy: float
    calibration_error: float


@dataclass(frozen=True)
class Knowledge:
    """What is known of a model.

    Attributes:
        bundle: It; None where it is not at hand.
    """

    bundle: Bundle | None

    @property
    def rules(self) -> TextRules:
        """How texts become words."""
        return TextRules() if self.bundle is None else self.bundle.text.rules

    @property
    def max_chars(self) -> int:
        """Characters of a text that it reads."""
        return DEFAULT_MAX_CHARS if self.bundle is None else self.bundle.text.max_chars

    @property
    def measured(self) -> tuple[Measured, ...]:
        """What its bundle says of labeled rows that it was judged on."""
        if self.bundle is None:
            return ()
        found = []
        for data, figures in self.bundle.config["metrics"].items():
            match figures:
                case {
                    "n": int(rows),
                    "accuracy": int() | float() as accuracy,
                    "calibration_error": int() | float() as error,
                }:
                    found.append(Measured(data, rows, float(accuracy), float(error)))
        return tuple(found)


def knowledge_of(model: ModelName, path: str | None = None) -> Knowledge:
    """What is known of the model of some rows.

    Args:
        model: It, as the rows name it.
        path: A bundle, by name or path; by default one that ships, if it is the same.

    Raises:
        BundleError: ``path`` is no bundle.
        BundleDigestError: It is another model than that of the rows.
    """
    if path is not None:
        bundle = load_bundle(path)
        if model.digest is not None and bundle.digest != model.digest:
            raise BundleDigestError(
                f"{path} is {bundle.short_digest}, but the rows were scored by {model.name}"
                f" {model.digest[:19]}",
                hint="leave out --model, or give the bundle that scored them",
            )
        return Knowledge(bundle)
    if model.name in list_models():
        try:
            bundle = load_bundle(model.name)
        except BundleError:  # it is not needed
            return Knowledge(None)
        if bundle.digest == model.digest:
            return Knowledge(bundle)
    return Knowledge(None)
