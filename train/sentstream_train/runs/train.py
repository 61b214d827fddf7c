"""One training run, from labeled files to a folder with a model: the function behind ``sentstream train``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np

from sentstream.errors import CheckpointError
from sentstream.text import Encoded, TextPath, Tokens, Vocabulary
from sentstream.text.vocabulary import SPECIAL
from sentstream_train.config import ANY_COLUMNS, Columns, DataConfig, FitConfig, NetworkConfig
from sentstream_train.data.embeddings import EmbeddingFile, check_width
from sentstream_train.data.split import Split, read_tokens
from sentstream_train.data.vocabulary import learn_pairs, learn_words
from sentstream_train.fit.distill import NOBODY, Teachers
from sentstream_train.fit.epochs import History, Progress, fit
from sentstream_train.fit.targets import lessons
from sentstream_train.network.keras_file import load_keras
from sentstream_train.network.model import build_model, set_word_vectors
from sentstream_train.runs.preparation import Prepared, check_same_files, describe, prepare
from sentstream_train.runs.result import OnEpoch, TrainResult, claim, finish, overfitting
from sentstream_train.store.folder import HeldOutRows, RunFolder
from sentstream_train.store.record import RunRecord, Settings, WordVectors

#: Called with the facts about the initial word vectors, as soon as they are known.
OnVectors: TypeAlias = Callable[[WordVectors], None]


def train(
    paths: Sequence[str | Path],
    output: Path,
    *,
    network: NetworkConfig,
    fitting: FitConfig,
    data: DataConfig,
    columns: Columns = ANY_COLUMNS,
    labels: Sequence[str] | None = None,
    teachers: Teachers = NOBODY,
    without: Sequence[str | Path] = (),
    vocabulary_text: Sequence[str | Path] = (),
    embeddings: EmbeddingFile | None = None,
    resume: bool = False,
    epochs: int | None = None,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    on_vectors: OnVectors | None = None,
) -> TrainResult:
    """Train a network on labeled rows, or on teachers' probabilities for any rows.

    Args:
        paths: CSV or Parquet files of rows; with teachers, they need no labels.
        output: The run's folder; without ``resume`` it must not hold anything yet.
        network: The architecture of the network.
        fitting: Training settings.
        data: How rows become examples.
        columns: The columns of text, label and user.
        labels: Use only the rows with these labels; the classes have this order.
        teachers: Teachers whose probabilities are learned in addition to the labels.
        without: Files of held-out texts; rows that repeat one are left out.
        vocabulary_text: Files of additional texts to learn words and pairs from.
        embeddings: Initial word vectors, as wide as the network's embedding.
        resume: Resume the run in ``output`` with its original settings.
        epochs: With ``resume``: the total number of epochs. A finished run continues from its model with a
            new optimizer and a learning-rate schedule over the additional epochs.
        progress: Called after every batch.
        on_epoch: Called after every epoch.
        on_vectors: Called once, with the facts about the initial word vectors.

    Raises:
        OutputExistsError: ``output`` already holds a run or other files, and ``resume`` is not set.
        CheckpointError: ``output`` has no run, one with other data, or one whose epochs are done.
        DataError: The rows cannot be used, or no word has a vector.
        UsageError: A teacher does not match the run, the vectors have another width, or a class weight
            names an unknown label.
        ColumnNotFoundError: A teacher's columns are missing.
        TrainingError: The training diverged.
    """
    folder = RunFolder(Path(output))
    if resume:
        before = folder.read_record()
        record = _resumed_record(folder, before, epochs)
        settings, earlier = record.settings, _before(folder, record)
        assert settings is not None
        more_epochs = before.finished is not None
        # A finished run has deleted its teachers' probabilities.
        ask = bool(record.teachers) and (more_epochs or not folder.taught.exists())
        prepared = prepare(
            paths,
            settings,
            without=without,
            teachers=teachers if ask else NOBODY,
            taught=bool(record.teachers) and not ask,
        )
        check_same_files(record, prepared, folder)
        if more_epochs:  # files that a kill at the very end may have left behind
            folder.remove_checkpoints(record.begun)
        if ask:
            _rerun_teachers(folder, record, prepared, teachers)
        if record is not before:
            folder.write_record(record)
        vocabulary = folder.read_vocabulary(settings.data.rules)
        text = TextPath(settings.data.rules, vocabulary, settings.data.max_chars)
        train_rows = text.look_up(prepared.split.train)
    else:
        if embeddings is not None:
            check_width(embeddings, network.embedding)
        claim(folder)
        settings = Settings(network, fitting, data, columns, None if labels is None else tuple(labels))
        prepared = prepare(paths, settings, without=without, teachers=teachers)
        more, files = read_tokens(vocabulary_text, data) if vocabulary_text else (None, ())
        vocabulary, train_rows = learn(prepared.split, network, data, more)
        record, earlier = describe(prepared, settings, vocabulary, [file.name for file in files]), None
        if embeddings is not None:
            vectors = _save_initial_vectors(embeddings, vocabulary, train_rows, folder)
            record = replace(record, embeddings=vectors)
            if on_vectors:
                on_vectors(vectors)
        if teachers:
            taught, names = prepared.taught(teachers, settings)
            folder.write_taught(*taught)
            record = replace(record, teachers=names)
        folder.write_vocabulary(vocabulary)
        folder.write_record(record)
    return _fit(folder, record, prepared, vocabulary, train_rows, earlier, resume, progress, on_epoch)


def _fit(
    folder: RunFolder,
    record: RunRecord,
    prepared: Prepared,
    vocabulary: Vocabulary,
    train_rows: Encoded,
    earlier: History | None,
    resume: bool,
    progress: Progress | None,
    on_epoch: OnEpoch | None,
) -> TrainResult:
    """Fit the network of a new or resumed run."""
    settings = record.settings
    assert settings is not None
    assert settings.network is not None
    text = TextPath(settings.data.rules, vocabulary, settings.data.max_chars)
    validation_rows = text.look_up(prepared.split.validation)
    folder.write_validation(HeldOutRows(prepared.validation_name, validation_rows))
    model: keras.Sequential
    if earlier is None:
        model = build_model(
            settings.network,
            words=len(vocabulary),
            pairs=vocabulary.pair_count,
            classes=len(prepared.labels),
            seed=settings.fitting.seed,
        )
        if record.embeddings is not None:
            set_word_vectors(model, *folder.read_vectors())
    else:
        model = load_keras(folder.model)
    taught = folder.read_taught() if record.teachers else None
    train_side, validation_side = lessons(
        prepared.split, (train_rows, validation_rows), prepared.labels, settings.fitting, taught
    )
    history = fit(
        model,
        train_side,
        validation_side,
        settings.fitting,
        folder,
        resume=resume and folder.state.exists(),
        earlier=earlier,
        progress=progress,
        after_epoch=(lambda _, epoch: on_epoch("", epoch)) if on_epoch else None,
    )
    kept = history.kept_epoch(settings.fitting)
    warnings = overfitting(history, settings.fitting.patience, "more rows, --dropout or fewer --units")
    return finish(folder, model, history, kept, history.figures(kept), record, warnings)


def learn(
    split: Split, network: NetworkConfig, data: DataConfig, more: Tokens | None = None
) -> tuple[Vocabulary, Encoded]:
    """The vocabulary of the training side (and of ``more``), and the token ids of the training side."""
    sides = [split.train] if more is None else [split.train, more]
    vocabulary = learn_words(sides, network.words, network.min_count)
    path = TextPath(data.rules, vocabulary, data.max_chars)
    looked_up = [path.look_up(side) for side in sides]
    rows = looked_up[0]
    if network.pairs:
        vocabulary = learn_pairs(looked_up, vocabulary, network.pairs, network.min_count)
        rows = Encoded(
            rows.offsets, rows.words, vocabulary.pair_ids(rows.words, rows.offsets), rows.truncated
        )
    return vocabulary, rows


def _save_initial_vectors(
    embeddings: EmbeddingFile, vocabulary: Vocabulary, rows: Encoded, folder: RunFolder
) -> WordVectors:
    """Save the initial vectors of the vocabulary's words; return how much of the rows they cover."""
    words, vectors = embeddings.read(vocabulary)
    folder.write_vectors(words, vectors)
    covered = np.isin(rows.words, words)
    return WordVectors(
        name=embeddings.name,
        sha256=embeddings.sha256(),
        width=embeddings.width,
        words=len(words),
        of_words=len(vocabulary) - len(SPECIAL),
        tokens=float(covered.mean()) if len(covered) else 0.0,
    )


def _resumed_record(folder: RunFolder, record: RunRecord, epochs: int | None) -> RunRecord:
    """The record of a run to resume, with ``epochs`` as the new total if given.

    Raises:
        CheckpointError: Its epochs are done, or it was not made by ``train``.
    """
    settings = record.settings
    if settings is None or settings.network is None or record.search is not None:
        raise CheckpointError(
            f"the run in {folder.path} was not made by train", hint="start a new run in another --output"
        )
    if record.finished is None and epochs is None:
        return record
    done = len(folder.read_log())
    if epochs is None or epochs <= done:
        raise CheckpointError(
            f"the run is finished, after {done:,} epochs" if record.finished else f"{done:,} epochs are done",
            hint="train more with --resume --epochs N, export it, or start a new run in another --output",
        )
    fitting = replace(settings.fitting, epochs=epochs)
    begun = done if record.finished else record.begun
    return replace(record, settings=replace(settings, fitting=fitting), begun=begun, finished=None)


def _before(folder: RunFolder, record: RunRecord) -> History | None:
    """The curve of a run before it was given more epochs; None if it was not given any."""
    if not record.begun:
        return None
    best = int(record.metrics["validation"]["epoch"])
    return History(folder.read_log()[: record.begun], best, record.begun)


def _rerun_teachers(folder: RunFolder, record: RunRecord, prepared: Prepared, teachers: Teachers) -> None:
    """Ask the teachers of a run again and save their probabilities.

    Raises:
        CheckpointError: No teachers are given, or not the original ones.
    """
    assert record.settings is not None
    names = ", ".join(one.name for one in record.teachers)
    if not teachers:
        raise CheckpointError(
            f"the run in {folder.path} learned from {names}", hint="give the same teachers again"
        )
    taught, given = prepared.taught(teachers, record.settings)
    if given != record.teachers:
        raise CheckpointError(f"the run in {folder.path} learned from other teachers: {names}")
    folder.write_taught(*taught)
