"""Everything that sentstream raises on purpose, and the exit code the command line gives it.

::

    SentstreamError                  1
    ├── UsageError                   2   options that contradict each other, a value out of range
    ├── InputError                  10
    │   ├── InputNotFoundError      10   no such file, an empty glob or directory
    │   ├── InputFormatError        11   of no format that is read, truncated, corrupt, a failed checksum
    │   ├── ColumnNotFoundError     12   no column of that name (the message names the nearest)
    │   ├── ColumnTypeError         13   the column is not text, or not what ``--where`` compares it with
    │   ├── ColumnClashError        14   a column that would be added is already there
    │   ├── SkippedInputsError      15   inputs were skipped with ``--on-error skip``; all others are done
    │   └── DriftReferenceError     16   what drift is measured against: unreadable, too few, another model's
    ├── OutputError                 20
    │   ├── OutputExistsError       20   the output is there and ``--overwrite`` was not given
    │   ├── OutputWriteError        21   no space left, no permission
    │   ├── ResumeError             22   what is there is another model's, other options', other inputs'
    │   ├── ManifestError           22   a manifest that is damaged, or newer than this sentstream
    │   ├── OutputBusyError         23   another run writes there
    │   └── VerificationError       24   an output is not what its manifest says
    ├── BundleError                 30
    │   ├── BundleNotFoundError     30   neither a name that ships nor a directory
    │   ├── BundleDigestError       31   a file is missing or is not the one that was sealed
    │   ├── BundleSchemaError       32   config.json is malformed, or newer than this runtime
    │   └── BundleGraphError        33   external data, a custom domain, an opset or shape that does not fit
    ├── ProviderError               40   the provider that was asked for cannot run here
    ├── OutOfMemoryError            41   memory or address space that the process may not have
    ├── MissingExtraError           50   a command needs an extra that is not installed
    ├── TrainingError               60
    │   ├── DataError               60   training or evaluation data that cannot be used
    │   ├── ModelFormatError        61   not a ``.keras`` file, or a layer that is not allowed
    │   ├── ParityError             62   the exported graph does not agree with Keras
    │   └── CheckpointError         63   nothing to resume, or a checkpoint of another run
    ├── KafkaError                  70   any other error of a broker
    │   ├── BrokerUnreachableError  71   no broker answers: wrong address, down, too long away
    │   ├── TlsError                72   a certificate that is not trusted, a handshake that fails
    │   ├── AuthenticationError     73   a wrong user, password or token, a mechanism that is not offered
    │   ├── AuthorizationError      74   an access control list says no
    │   ├── TopicNotFoundError      75   no such topic
    │   ├── FencedError             76   another instance with our id has taken over
    │   ├── DeliveryError           77   records were not acknowledged in time, or dead letters refused
    │   ├── ClientConfigError       78   client.properties: malformed, or a value that cannot be used
    │   └── TopicChangedError       79   a topic is not the one that its files are of: recreated, or elsewhere
    ├── StorageError                80   any other error of an object store
    │   ├── StorageUnreachableError 81   it does not answer: wrong address, down, too long away
    │   └── StorageAccessError      82   credentials that are missing, wrong or expired
    ├── ClusterError                90   any other error of a cluster
    │   ├── ClusterUnreachableError 91   no cluster at the address, or it was lost
    │   ├── ClusterVersionError     92   a machine of it has other versions than this one
    │   ├── ClusterResourcesError   93   more CPUs or GPUs than it has
    │   ├── ClusterPathError        94   an input, output or model that one of its machines does not see
    │   └── WorkerLostError         95   a worker that dies again and again: memory, or a file that kills it
    └── MessageError                 1   one message that cannot be scored; it becomes a dead letter
        ├── MessageDecodeError       1   not UTF-8, not JSON, unreadable for the client
        ├── MessageFieldError        1   no text field, or one that is not text
        ├── MessageClashError        1   a field that would be added is already there
        ├── MessageSizeError         1   the broker takes no record of that size
        └── MessageRefusedError      1   the broker refuses the result: its time, a missing key, a policy

An interrupted run (Ctrl-C) exits with 130 and a terminated one with 143, as shells expect (128 + signal).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MOST = 300  # characters of what somebody else's error says, which may repeat what stands in a file

#: What takes less memory, most effective first.
_LESS_MEMORY = (
    "raise the limit (ulimit -v, that of the container or the batch queue), or take less: --threads 1,"
    " smaller batches (--batch-rows 2048), --model tweets-small"
)


class SentstreamError(Exception):
    """The base of every deliberate error.

    Args:
        message: One line: what is wrong and where (file, row group, column).
        hint: What to do about it; printed after the message.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def one_line(text: object, most: int = _MOST) -> str:
    """What is said, on one line that no terminal minds: without line ends and control characters.

    >>> one_line("it failed:\\n  no \\x1b[1mspace")
    'it failed: no \ufffd[1mspace'
    """
    line = "".join(one if one.isprintable() else "\ufffd" for one in " ".join(str(text).split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def first_line(error: BaseException, most: int = _MOST) -> str:
    """The first line of what an error says, and its class where it says nothing; as ``one_line``.

    >>> first_line(ValueError("no such name\\nthe names are: a, b")), first_line(KeyError())
    ('no such name', 'KeyError')
    """
    return one_line((str(error).strip().splitlines() or [type(error).__name__])[0], most)


def counted(number: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


@contextmanager
def naming(place: object) -> Iterator[None]:
    """Have the errors of a block say where it was: in which file, bundle or row group.

    >>> with naming("a.parquet"):
    ...     raise ColumnNotFoundError("no column 'text'")
    Traceback (most recent call last):
    sentstream.errors.ColumnNotFoundError: a.parquet: no column 'text'
    """
    try:
        yield
    except SentstreamError as error:
        raise type(error)(f"{place}: {error.message}", hint=error.hint) from error


class UsageError(SentstreamError):
    """Options that contradict each other, or a value out of range."""

    exit_code = 2


class InputError(SentstreamError):
    """The input cannot be read."""

    exit_code = 10


class InputNotFoundError(InputError):
    """No such file, or a glob or directory without a file to read."""


class InputFormatError(InputError):
    """Of no format that is read, truncated, corrupt, or a page whose checksum fails."""

    exit_code = 11


class ColumnNotFoundError(InputError):
    """The input has no column of that name."""

    exit_code = 12


class ColumnTypeError(InputError):
    """The column is there and does not hold text, or not what a condition compares it with."""

    exit_code = 13


class ColumnClashError(InputError):
    """A column that scoring would add is already in the input."""

    exit_code = 14


class SkippedInputsError(InputError):
    """Some inputs are not sound and were skipped, as was asked for; all others are done."""

    exit_code = 15


class DriftReferenceError(InputError):
    """What drift is measured against cannot be used: unreadable, too few texts, or of another model."""

    exit_code = 16


class OutputError(SentstreamError):
    """The output cannot be written."""

    exit_code = 20


class OutputExistsError(OutputError):
    """The output is already there."""


class OutputWriteError(OutputError):
    """The disk is full, the place is not writable, or standard output is closed."""

    exit_code = 21


class ResumeError(OutputError):
    """What is there cannot be gone on with: another model, other options, other inputs."""

    exit_code = 22


class ManifestError(OutputError):
    """A manifest that is damaged, or that a newer sentstream wrote."""

    exit_code = 22


class OutputBusyError(OutputError):
    """Another run writes to the same output."""

    exit_code = 23


class VerificationError(OutputError):
    """An output is not what its manifest says."""

    exit_code = 24


class BundleError(SentstreamError):
    """The model bundle cannot be used."""

    exit_code = 30


class BundleNotFoundError(BundleError):
    """Neither the name of a model that ships nor a bundle directory."""


class BundleDigestError(BundleError):
    """A file of the bundle is missing or differs from the one that was sealed."""

    exit_code = 31


class BundleSchemaError(BundleError):
    """``config.json`` is malformed or was written by a newer sentstream."""

    exit_code = 32


class BundleGraphError(BundleError):
    """The graph is not one this runtime loads: external data, custom domains, a foreign shape."""

    exit_code = 33


class ProviderError(SentstreamError):
    """The execution provider that was asked for cannot run on this machine."""

    exit_code = 40


class OutOfMemoryError(SentstreamError, MemoryError):
    """Memory, or address space, that was asked for and not given; also a ``MemoryError``."""

    exit_code = 41

    def __init__(self, message: str, *, hint: str | None = _LESS_MEMORY) -> None:
        super().__init__(message, hint=hint)


class MissingExtraError(SentstreamError):
    """A command needs an extra that is not installed.

    Args:
        message: What needs what.
        extra: The extra; the hint is how to add it.
        hint: Another one.
    """

    exit_code = 50

    def __init__(self, message: str, *, extra: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=how_to_install(extra) if extra else hint)


def how_to_install(extra: str) -> str:
    """The command that adds an extra to this installation, from where sentstream itself came.

    No index has sentstream: what pip wrote down (PEP 610) says which directory, wheel or repository it is of.
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
            about = source["vcs_info"]
            return f"{pip} 'sentstream[{extra}] @ {about['vcs']}+{url}@{about['commit_id']}'"
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
    """Training or evaluation data that cannot be used."""


class ModelFormatError(TrainingError):
    """Not a ``.keras`` file, or one with a layer outside the allow-list."""

    exit_code = 61


class ParityError(TrainingError):
    """The exported graph's probabilities differ from Keras's by more than allowed."""

    exit_code = 62


class CheckpointError(TrainingError):
    """Nothing to resume, or a checkpoint that belongs to another run."""

    exit_code = 63


class KafkaError(SentstreamError):
    """A broker's answer that fits no other class."""

    exit_code = 70


class BrokerUnreachableError(KafkaError):
    """No broker answers, or none has for as long as retries go."""

    exit_code = 71


class TlsError(KafkaError):
    """The TLS handshake fails: an untrusted certificate, another host's, a protocol mismatch."""

    exit_code = 72


class AuthenticationError(KafkaError):
    """The broker does not know us: user, password, token or mechanism."""

    exit_code = 73


class AuthorizationError(KafkaError):
    """The broker knows us and says no."""

    exit_code = 74


class TopicNotFoundError(KafkaError):
    """No such topic."""

    exit_code = 75


class FencedError(KafkaError):
    """Another instance with the same id has taken over."""

    exit_code = 76


class DeliveryError(KafkaError):
    """Records were not acknowledged in time, or a dead letter was refused."""

    exit_code = 77


class ClientConfigError(KafkaError):
    """A client.properties file, or a setting in it or in the environment, that cannot be used."""

    exit_code = 78


class TopicChangedError(KafkaError):
    """A topic is not the one that was read until now, though it has its name.

    It was deleted and recreated, or is another cluster's: its offsets say nothing about what is done.
    """

    exit_code = 79


class StorageError(SentstreamError):
    """An object store's answer that fits no other class."""

    exit_code = 80


class StorageUnreachableError(StorageError):
    """An object store does not answer, or has not for as long as retries go."""

    exit_code = 81


class StorageAccessError(StorageError):
    """An object store does not know us: credentials that are missing, wrong or expired."""

    exit_code = 82


class ClusterError(SentstreamError):
    """A cluster's answer that fits no other class."""

    exit_code = 90


class ClusterUnreachableError(ClusterError):
    """There is no cluster at the address, or it was lost."""

    exit_code = 91


class ClusterVersionError(ClusterError):
    """A machine of the cluster has other versions than the one that drives it: results could differ."""

    exit_code = 92


class ClusterResourcesError(ClusterError):
    """More CPUs or GPUs are asked for than the cluster has."""

    exit_code = 93


class ClusterPathError(ClusterError):
    """A machine of the cluster does not see an input, the output or the model as the driver does."""

    exit_code = 94


class WorkerLostError(ClusterError):
    """A worker died again and again over the same work: for lack of memory, or of a file that kills it."""

    exit_code = 95


class MessageError(SentstreamError):
    """One message that cannot be scored; it becomes a dead letter, so no command ends with it.

    ``stage`` says where it failed: ``read``, ``decode``, ``score`` or ``produce``.
    """

    stage = "decode"


class MessageDecodeError(MessageError):
    """The message's bytes are not what they should be: UTF-8, JSON, or a record that can be read."""


class MessageFieldError(MessageError):
    """No text field, or one that holds no text."""


class MessageClashError(MessageError):
    """A field that scoring would add is already in the message."""


class MessageSizeError(MessageError):
    """The broker takes no record of that size."""

    stage = "produce"


class MessageRefusedError(MessageError):
    """The broker refuses the result for something else than its size.

    Its timestamp is too far from now (``message.timestamp.after.max.ms``), it has no key and the topic is
    compacted, or a policy of the broker's says no. The message has the broker's own reason.
    """

    stage = "produce"


INTERRUPTED_EXIT_CODE, TERMINATED_EXIT_CODE = 130, 143

#: What libraries say instead of raising MemoryError: the C++ runtime, ONNX Runtime, CPython on threads.
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
    """Whether an error, or one that it comes from, says that there was no memory, whoever raised it.

    >>> is_out_of_memory(RuntimeError("std::bad_alloc")), is_out_of_memory(ValueError("no text"))
    (True, False)
    """
    while error is not None:
        words = f"{type(error).__name__}: {error}".lower()
        if isinstance(error, MemoryError) or words.endswith("failed to map segment from shared object"):
            return True
        if not isinstance(error, SentstreamError) and any(told in words for told in _OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False
