"""What the manifests beside scored files say of the runs that wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sentstream.analyze.result import Manifest
from sentstream.dataset.manifest.ledger import DIRECTORY, load
from sentstream.errors import ManifestError, ResumeError
from sentstream.storage.open import open_storage


def read_manifests(inputs: Sequence[str], options: Mapping[str, str] | None = None) -> Iterator[Manifest]:
    """The manifests of those inputs that are directories and have one.

    Args:
        inputs: What was given: files and globs have none.
        options: Settings of object stores.
    """
    for given in inputs:
        storage = open_storage(given, options)
        directory = storage.join(given, DIRECTORY)
        if not storage.is_directory(given) or not storage.is_directory(directory):
            continue
        try:
            done = load(storage, directory)
        except (ManifestError, ResumeError):  # sentstream verify tells
            continue
        if done.header is None:
            continue
        states = [entry.state for entry in done.files.values()]
        yield Manifest(
            given,
            done.header.sentstream,
            done.finished,
            states.count("done"),
            states.count("skipped"),
            {name: value for name, value in done.header.options.items() if value is not None},
        )
