"""Information from a model's bundle, if it is available: vocabulary, limits and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from sentstream.analyze.scored import ModelName
from sentstream.bundle import Bundle, list_models, load_bundle
from sentstream.errors import BundleDigestError, BundleError
from sentstream.text import DEFAULT_MAX_CHARS, TextRules


@dataclass(frozen=True)
class Measured:
    """A model's metrics on labeled rows, from its bundle.

    Attributes:
        data: Name of the data set.
        rows: Number of rows.
        accuracy: Share of rows with the correct label.
        calibration_error: Mean gap between score and accuracy over bins of the score.
    """

    data: str
    rows: int
    accuracy: float
    calibration_error: float


@dataclass(frozen=True)
class Knowledge:
    """What is known about a model.

    Attributes:
        bundle: Its bundle; None if it is not available.
    """

    bundle: Bundle | None

    @property
    def rules(self) -> TextRules:
        """The text rules; the default ones without a bundle."""
        return TextRules() if self.bundle is None else self.bundle.text.rules

    @property
    def max_chars(self) -> int:
        """Number of characters that the model reads of each text; the default without a bundle."""
        return DEFAULT_MAX_CHARS if self.bundle is None else self.bundle.text.max_chars

    @property
    def measured(self) -> tuple[Measured, ...]:
        """The metrics in its bundle."""
        if self.bundle is None:
            return ()
        result = []
        for data, figures in self.bundle.config["metrics"].items():
            match figures:
                case {
                    "n": int(rows),
                    "accuracy": int() | float() as accuracy,
                    "calibration_error": int() | float() as error,
                }:
                    result.append(Measured(data, rows, float(accuracy), float(error)))
        return tuple(result)


def knowledge_of(model: ModelName, path: str | None = None) -> Knowledge:
    """Return what is known about the model of some rows.

    Args:
        model: The model as named in the rows' schema.
        path: Name or path of a bundle; by default the shipped model of that name, if it is the same.

    Raises:
        BundleError: ``path`` is not a bundle.
        BundleDigestError: It is not the model that scored the rows.
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
