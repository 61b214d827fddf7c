"""Read the manifests next to scored files, which describe the runs that wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sentstream.analyze.result import Manifest
from sentstream.analyze.scored import ModelName
from sentstream.dataset.manifest.ledger import DIRECTORY, load
from sentstream.dataset.manifest.records import Header
from sentstream.errors import ManifestError, ResumeError
from sentstream.storage.open import open_storage


def read_manifests(inputs: Sequence[str], options: Mapping[str, str] | None = None) -> Iterator[Manifest]:
    """Yield the manifests of those inputs that are directories and have one.

    Args:
        inputs: The inputs as given; files and globs have no manifest.
        options: Settings for object stores.
    """
    for path in inputs:
        storage = open_storage(path, options)
        directory = storage.join(path, DIRECTORY)
        if not storage.is_directory(path) or not storage.is_directory(directory):
            continue
        try:
            done = load(storage, directory)
        except (ManifestError, ResumeError):  # sentstream verify reports it
            continue
        if done.header is None:
            continue
        states = [entry.state for entry in done.files.values()]
        yield Manifest(
            path,
            _model_of(done.header),
            done.header.sentstream,
            done.finished,
            states.count("done"),
            states.count("skipped"),
            {name: value for name, value in done.header.options.items() if value is not None},
        )


def common_model(manifests: Sequence[Manifest], inputs: Sequence[str]) -> ModelName | None:
    """The model of all rows, if each input has a manifest and all name the same model; otherwise None."""
    models = {one.model for one in manifests}
    return models.pop() if len(models) == 1 and len(manifests) == len(inputs) else None


def _model_of(header: Header) -> ModelName:
    model_name, abstain = header.model, header.options.get("--abstain")
    below = float(abstain) if isinstance(abstain, int | float) else None
    return ModelName(model_name.get("name"), model_name.get("version"), model_name.get("digest"), below)
