"""The exceptions that sentstream raises deliberately, and their exit codes on the command line.

::

    SentstreamError                  1
    ├── UsageError                   2   options that cannot be combined, a value out of range
    ├── InputError                  10
    │   ├── InputNotFoundError      10   no such file, an empty glob or directory
    │   ├── InputFormatError        11   an unsupported format, truncated, corrupt, a failed checksum
    │   ├── ColumnNotFoundError     12   no column of that name (the message suggests the closest)
    │   ├── ColumnTypeError         13   the column is not text, or not comparable in ``--where``
    │   ├── ColumnClashError        14   a column to be added already exists
    │   ├── SkippedInputsError      15   inputs were skipped with ``--on-error skip``; the others are done
    │   └── DriftReferenceError     16   the drift reference: unreadable, too few texts, another model's
    ├── OutputError                 20
    │   ├── OutputExistsError       20   the output exists and ``--overwrite`` was not given
    │   ├── OutputWriteError        21   no space left, no permission
    │   ├── ResumeError             22   ``--resume`` with another model, other options, other inputs
    │   ├── ManifestError           22   a manifest that is damaged, or newer than this sentstream
    │   ├── OutputBusyError         23   another run is writing to the output
    │   └── VerificationError       24   an output differs from its manifest
    ├── BundleError                 30
    │   ├── BundleNotFoundError     30   neither a model that ships nor a directory
    │   ├── BundleDigestError       31   a file is missing or does not match its checksum
    │   ├── BundleSchemaError       32   config.json is malformed, or newer than this runtime
    │   └── BundleGraphError        33   external data, a custom domain, a wrong opset or shape
    ├── ProviderError               40   the requested provider cannot run here
    ├── OutOfMemoryError            41   not enough memory or address space
    ├── MissingExtraError           50   an extra that is not installed
    ├── TrainingError               60
    │   ├── DataError               60   unusable training or evaluation data
    │   ├── ModelFormatError        61   not a ``.keras`` file, or a layer that is not allowed
    │   ├── ParityError             62   the exported graph differs from Keras
    │   └── CheckpointError         63   nothing to resume, or a checkpoint of another run
    ├── KafkaError                  70   any other broker error
    │   ├── BrokerUnreachableError  71   no broker answers: wrong address, down, away for too long
    │   ├── TlsError                72   an untrusted certificate, a failed handshake
    │   ├── AuthenticationError     73   a wrong user, password or token, an unsupported mechanism
    │   ├── AuthorizationError      74   denied by an access control list
    │   ├── TopicNotFoundError      75   no such topic
    │   ├── FencedError             76   another instance with the same ID has taken over
    │   ├── DeliveryError           77   records not acknowledged in time, or dead letters rejected
    │   ├── ClientConfigError       78   client.properties: malformed, or an invalid value
    │   └── TopicChangedError       79   a topic was recreated, or belongs to another cluster
    ├── StorageError                80   any other object store error
    │   ├── StorageUnreachableError 81   no answer: wrong address, down, away for too long
    │   └── StorageAccessError      82   missing, wrong or expired credentials
    ├── ClusterError                90   any other cluster error
    │   ├── ClusterUnreachableError 91   no cluster at the address, or the connection was lost
    │   ├── ClusterVersionError     92   a machine has different versions from this one
    │   ├── ClusterResourcesError   93   more CPUs or GPUs requested than available
    │   ├── ClusterPathError        94   a machine cannot see an input, an output or the model
    │   └── WorkerLostError         95   a worker that keeps dying: out of memory, or a bad file
    └── MessageError                 1   a message that cannot be scored and becomes a dead letter
        ├── MessageDecodeError       1   not UTF-8, not JSON, or not readable by the client
        ├── MessageFieldError        1   no text field, or a text field that is not text
        ├── MessageClashError        1   a field to be added already exists
        ├── MessageSizeError         1   the record is too large for the broker
        └── MessageRefusedError      1   the broker rejects the result: timestamp, missing key, policy

An interrupted run (Ctrl-C) exits with 130 and a terminated one with 143 (128 + signal, as in shells).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MOST = 300  # characters of another library's error message, which may quote file contents

#: Ways to use less memory, most effective first.
_LESS_MEMORY = (
    "raise the limit (ulimit -v, the container or the batch queue), or use less: --threads 1,"
    " smaller batches (--batch-rows 2048), --model tweets-small"
)


class SentstreamError(Exception):
    """Base class of all errors that sentstream raises deliberately.

    Args:
        message: One line: what is wrong and where (file, row group, column).
        hint: What to do about it; printed after the message.

    Attributes:
        exit_code: The exit code of the command line.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def one_line(text: object, limit: int = _MOST) -> str:
    """A text as one line that is safe for terminals: no line ends or control characters.

    >>> one_line("it failed:\\n  no \\x1b[1mspace")
    'it failed: no \ufffd[1mspace'
    """
    line = "".join(one if one.isprintable() else "\ufffd" for one in " ".join(str(text).split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def first_line(error: BaseException, limit: int = _MOST) -> str:
    """The first line of an error's message, or its class if there is none; as ``one_line``.

    >>> first_line(ValueError("no such name\\nthe names are: a, b")), first_line(KeyError())
    ('no such name', 'KeyError')
    """
    return one_line((str(error).strip().splitlines() or [type(error).__name__])[0], limit)


def counted(number: int, thing: str) -> str:
    """A number with its noun.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


@contextmanager
def naming(location: object) -> Iterator[None]:
    """Prefix the errors raised in a block with a place: a file, bundle or row group.

    >>> with naming("a.parquet"):
    ...     raise ColumnNotFoundError("no column 'text'")
    Traceback (most recent call last):
    sentstream.errors.ColumnNotFoundError: a.parquet: no column 'text'
    """
    try:
        yield
    except SentstreamError as error:
        raise type(error)(f"{location}: {error.message}", hint=error.hint) from error


class UsageError(SentstreamError):
    """Options that cannot be combined, or a value out of range."""

    exit_code = 2


class InputError(SentstreamError):
    """The input cannot be read."""

    exit_code = 10


class InputNotFoundError(InputError):
    """The file does not exist, or a glob or directory has no file to read."""


class InputFormatError(InputError):
    """The file has an unsupported format, is truncated or corrupt, or fails a page checksum."""

    exit_code = 11


class ColumnNotFoundError(InputError):
    """The input has no column of that name."""

    exit_code = 12


class ColumnTypeError(InputError):
    """The column is not text, or its type does not match a condition."""

    exit_code = 13


class ColumnClashError(InputError):
    """A column to be added already exists in the input."""

    exit_code = 14


class SkippedInputsError(InputError):
    """Some inputs are not valid and were skipped as requested; the others are done."""

    exit_code = 15


class DriftReferenceError(InputError):
    """The drift reference cannot be used: unreadable, too few texts, or from another model."""

    exit_code = 16


class OutputError(SentstreamError):
    """The output cannot be written."""

    exit_code = 20


class OutputExistsError(OutputError):
    """The output already exists."""


class OutputWriteError(OutputError):
    """The disk is full, the location is not writable, or standard output is closed."""

    exit_code = 21


class ResumeError(OutputError):
    """The existing output cannot be resumed: another model, other options or other inputs."""

    exit_code = 22


class ManifestError(OutputError):
    """The manifest is damaged, or a newer sentstream wrote it."""

    exit_code = 22


class OutputBusyError(OutputError):
    """Another run is writing to the same output."""

    exit_code = 23


class VerificationError(OutputError):
    """An output differs from its manifest."""

    exit_code = 24


class BundleError(SentstreamError):
    """The model bundle cannot be used."""

    exit_code = 30


class BundleNotFoundError(BundleError):
    """Neither the name of a model that ships nor a bundle directory."""


class BundleDigestError(BundleError):
    """A file of the bundle is missing or does not match its checksum."""

    exit_code = 31


class BundleSchemaError(BundleError):
    """``config.json`` is malformed or was written by a newer sentstream."""

    exit_code = 32


class BundleGraphError(BundleError):
    """This runtime does not load the graph: external data, custom domains, or a wrong shape."""

    exit_code = 33


class ProviderError(SentstreamError):
    """The requested execution provider cannot run on this machine."""

    exit_code = 40


class OutOfMemoryError(SentstreamError, MemoryError):
    """Memory or address space could not be allocated; also a ``MemoryError``."""

    exit_code = 41

    def __init__(self, message: str, *, hint: str | None = _LESS_MEMORY) -> None:
        super().__init__(message, hint=hint)


class MissingExtraError(SentstreamError):
    """A command needs an extra that is not installed.

    Args:
        message: What is needed, and by what.
        extra: The extra; the hint becomes the command that installs it.
        hint: Another hint.
    """

    exit_code = 50

    def __init__(self, message: str, *, extra: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=how_to_install(extra) if extra else hint)


def how_to_install(extra: str) -> str:
    """The command that installs an extra, from the same source as sentstream.

    sentstream is not on a package index, so the source is the directory, wheel or repository that pip
    recorded (PEP 610).
    """
    import json
    from importlib import metadata
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    pip = f"{sys.executable or 'python'} -m pip install"
    try:
        source = json.loads(metadata.distribution("sentstream").read_text("direct_url.json") or "{}")
        url = str(source["url"])
        if "vcs_info" in source:
            vcs_info = source["vcs_info"]
            return f"{pip} 'sentstream[{extra}] @ {vcs_info['vcs']}+{url}@{vcs_info['commit_id']}'"
        path = url2pathname(urlsplit(url).path) if url.startswith("file:") else url
    except (metadata.PackageNotFoundError, OSError, ValueError, LookupError, TypeError):
        return f"in a clone of sentstream: {pip} '.[{extra}]'"
    if not url.startswith("file:"):
        return f"{pip} 'sentstream[{extra}] @ {url}'"
    editable = "-e " if source.get("dir_info", {}).get("editable") else ""
    return f"{pip} {editable}'{path}[{extra}]'"


class TrainingError(SentstreamError):
    """Training, fine-tuning or exporting failed."""

    exit_code = 60


class DataError(TrainingError):
    """Training or evaluation data cannot be used."""


class ModelFormatError(TrainingError):
    """Not a ``.keras`` file, or one with a layer that is not allowed."""

    exit_code = 61


class ParityError(TrainingError):
    """The exported graph's probabilities differ from Keras's by more than allowed."""

    exit_code = 62


class CheckpointError(TrainingError):
    """There is nothing to resume, or the checkpoint belongs to another run."""

    exit_code = 63


class KafkaError(SentstreamError):
    """Any other broker error."""

    exit_code = 70


class BrokerUnreachableError(KafkaError):
    """No broker answers, or none did while retrying."""

    exit_code = 71


class TlsError(KafkaError):
    """The TLS handshake fails: an untrusted certificate, a wrong host name, a protocol mismatch."""

    exit_code = 72


class AuthenticationError(KafkaError):
    """The broker rejects the login: user, password, token or mechanism."""

    exit_code = 73


class AuthorizationError(KafkaError):
    """The login succeeded, but the operation is not allowed."""

    exit_code = 74


class TopicNotFoundError(KafkaError):
    """The topic does not exist."""

    exit_code = 75


class FencedError(KafkaError):
    """Another instance with the same ID has taken over."""

    exit_code = 76


class DeliveryError(KafkaError):
    """Records were not acknowledged in time, or a dead letter was rejected."""

    exit_code = 77


class ClientConfigError(KafkaError):
    """A client.properties file, or a setting in it or in the environment, is invalid."""

    exit_code = 78


class TopicChangedError(KafkaError):
    """A topic has the same name as the one read before, but is a different topic.

    It was deleted and recreated, or belongs to another cluster, so its offsets do not tell what is done.
    """

    exit_code = 79


class StorageError(SentstreamError):
    """Any other object store error."""

    exit_code = 80


class StorageUnreachableError(StorageError):
    """An object store does not answer, or did not while retrying."""

    exit_code = 81


class StorageAccessError(StorageError):
    """An object store rejects the credentials: missing, wrong or expired."""

    exit_code = 82


class ClusterError(SentstreamError):
    """Any other cluster error."""

    exit_code = 90


class ClusterUnreachableError(ClusterError):
    """There is no cluster at the address, or the connection was lost."""

    exit_code = 91


class ClusterVersionError(ClusterError):
    """A machine of the cluster has different versions from the driver, so results could differ."""

    exit_code = 92


class ClusterResourcesError(ClusterError):
    """More CPUs or GPUs are requested than the cluster has."""

    exit_code = 93


class ClusterPathError(ClusterError):
    """A machine of the cluster does not see an input, the output or the model as the driver does."""

    exit_code = 94


class WorkerLostError(ClusterError):
    """Workers kept dying on the same work: out of memory, or because of a bad file."""

    exit_code = 95


class MessageError(SentstreamError):
    """A message that cannot be scored. It becomes a dead letter, so no command ends with this error.

    ``stage`` tells where it failed: ``read``, ``decode``, ``score`` or ``produce``.
    """

    stage = "decode"


class MessageDecodeError(MessageError):
    """The message is not UTF-8, not JSON, or not a readable record."""


class MessageFieldError(MessageError):
    """There is no text field, or it is not text."""


class MessageClashError(MessageError):
    """A field to be added already exists in the message."""


class MessageSizeError(MessageError):
    """The record is too large for the broker."""

    stage = "produce"


class MessageRefusedError(MessageError):
    """The broker rejects the result for a reason other than its size.

    Its timestamp is too far from the current time (``message.timestamp.after.max.ms``), it has no key and the
    topic is compacted, or a broker policy rejects it. The error message contains the broker's reason.
    """

    stage = "produce"


INTERRUPTED_EXIT_CODE, TERMINATED_EXIT_CODE = 130, 143

#: Messages of libraries that do not raise MemoryError: the C++ runtime, ONNX Runtime, CPython threads.
_OUT_OF_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
    "out of memory",
    "cannot allocate memory",
    "can't start new thread",
    "resourceexhausted",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, means that memory ran out, in any library.

    >>> is_out_of_memory(RuntimeError("std::bad_alloc")), is_out_of_memory(ValueError("no text"))
    (True, False)
    """
    while error is not None:
        words = f"{type(error).__name__}: {error}".lower()
        if isinstance(error, MemoryError) or words.endswith("failed to map segment from shared object"):
            return True
        if not isinstance(error, SentstreamError) and any(phrase in words for phrase in _OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False
