"""Connections to object stores: settings, credentials, retries, and the meaning of errors.

The library is obstore, which wraps Rust's object_store: unlike pyarrow.fs it publishes nothing when a writer
fails, and it has conditional writes and reads. Without them two runs could take the same lease, and a file
that changes during a read would yield a mix of versions.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sentstream.errors import (
    InputError,
    InputNotFoundError,
    MissingExtraError,
    SentstreamError,
    StorageAccessError,
    StorageError,
    StorageUnreachableError,
    UsageError,
    first_line,
    one_line,
)
from sentstream.storage.names import scheme_of

if TYPE_CHECKING:
    from obstore.store import HTTPStore, ObjectStore

#: Settings as (name, value) pairs; a tuple, so that it is hashable.
Options: TypeAlias = "tuple[tuple[str, str], ...]"
#: Makes an error from a message and a hint.
Complaint: TypeAlias = Callable[[str, str | None], SentstreamError]
_T = TypeVar("_T")

EXTRA = "cloud"
_AMAZON = ("s3", "s3a")
#: Our own setting: for how many seconds a request is retried.
PATIENCE = "retry_timeout"
_PATIENCE = 60.0
#: Settings of obstore's HTTP client (ClientConfig) rather than of a store, with our defaults.
_CLIENT: dict[str, Any] = {
    "allow_http": None,
    "allow_invalid_certificates": None,
    "connect_timeout": "5s",
    "default_headers": None,
    "http1_only": None,
    "http2_only": None,
    "pool_idle_timeout": None,
    "pool_max_idle_per_host": None,
    "proxy_url": None,
    "proxy_ca_certificate": None,
    "proxy_excludes": None,
    "read_timeout": None,
    "root_certificate": None,
    "timeout": "60s",  # of one request: 8 MiB for reads, 64 MiB for writes
    "user_agent": None,
}
#: Codes in the responses of stores that reject the credentials.
_UNKNOWN = re.compile(
    r"InvalidAccessKeyId|XAdminUserNotFound|SignatureDoesNotMatch|ExpiredToken|TokenRefreshRequired|InvalidToken|InvalidClientTokenId"
    r"|AuthenticationFailed|InvalidAuthenticationInfo|NoAuthenticationInformation|AuthorizationHeaderMalformed"
    r"|InvalidGrant|invalid_grant|CredentialsError|failed to authenticate|after 0 retries.*credential"
)
_NO_BUCKET = re.compile(
    r"NoSuchBucket|ContainerNotFound|FilesystemNotFound|InvalidBucketName|bucket does not exist"
)
_CODE = re.compile(r"<Code>([^<]*)</Code>(?:.*?<Message>([^<]*)</Message>)?", re.DOTALL)
_STATUS = re.compile(r"non-2xx status code: (\d{3} ?[A-Za-z -]*)")
_NO_ANSWER = re.compile(
    r"inner: Http\(|kind: (?:Connect|Timeout|Request|Interrupted|Decode)\b|error decoding"
)
_BUSY = re.compile(r"non-2xx status code: (?:408|409|429|5\d\d)|SlowDown|ServiceUnavailable|InternalError")
_REQUEST = re.compile(r"Error performing .*? - ", re.DOTALL)


def patience_of(options: Options) -> float:
    """Return for how many seconds a request is retried.

    Raises:
        UsageError: The setting is not a number.
    """
    value = dict(options).get(PATIENCE)
    try:
        return _PATIENCE if value is None else float(value)
    except ValueError as error:
        raise UsageError(
            f"--storage-option {PATIENCE}={value}: not a number of seconds",
            hint=f"e.g. --storage-option {PATIENCE}=60",
        ) from error


def options_for(uri: str, options: Mapping[str, str]) -> Options:
    """Return the settings for a URI's scheme: those without a scheme, and e.g. ``s3.*`` for ``s3://``.

    >>> options_for("s3://bucket", {"timeout": "9s", "s3.region": "eu-central-1", "gs.token": "x"})
    (('region', 'eu-central-1'), ('timeout', '9s'))
    """
    scheme = scheme_of(uri)
    chosen = {key: value for key, value in options.items() if "." not in key}
    chosen |= {key.partition(".")[2]: value for key, value in options.items() if key.startswith(f"{scheme}.")}
    return tuple(sorted(chosen.items()))


def connect(root: str, options: Options) -> ObjectStore:
    """Return the store of a bucket or container, without contacting it.

    Args:
        root: Its URI, without a path.
        options: Settings.

    Raises:
        MissingExtraError: obstore is not installed.
        StorageAccessError: There are no credentials.
        UsageError: The store does not know a setting, or does not accept its value.
    """
    return _connect(root, options, os.getpid())


def connect_web(url: str, options: Options) -> HTTPStore:
    """Return the store for a single web address.

    Raises:
        MissingExtraError: obstore is not installed.
        UsageError: A setting is not known.
    """
    return _connect_web(url, options, os.getpid())


@functools.lru_cache(maxsize=64)
def _connect(root: str, options: Options, process: int) -> ObjectStore:
    store = _obstore(root)
    config, client, retry = _settings(root, options)
    extra: dict[str, Any] = {}
    if scheme_of(root) in _AMAZON:
        extra = _amazon(config)
    if any(key.endswith(("endpoint", "endpoint_url")) and _is_plain(value) for key, value in config.items()):
        client.setdefault("allow_http", "true")
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        if scheme_of(root) in _AMAZON and _is_plain(os.environ.get(name, "")):
            client.setdefault("allow_http", "true")
    with _refusing(root):
        opened: ObjectStore = store.from_url(
            root, config=config, client_options=client, retry_config=retry, **extra
        )
        return opened


@functools.lru_cache(maxsize=64)
def _connect_web(url: str, options: Options, process: int) -> HTTPStore:
    store = _obstore(url)
    config, client, retry = _settings(url, options)
    if config:
        raise UsageError(
            f"--storage-option {next(iter(config))}: not a setting for {url}",
            hint=f"known settings: {_known()}",
        )
    client["allow_http"] = "true"  # the URI says whether to use TLS
    with _refusing(url):
        opened: HTTPStore = store.HTTPStore.from_url(url, client_options=client, retry_config=retry)
        return opened


def _obstore(uri: str) -> Any:
    try:
        from obstore import store
    except ImportError as error:
        raise MissingExtraError(f"{uri} needs obstore, which is not installed", extra=EXTRA) from error
    return store


def _settings(root: str, options: Options) -> tuple[dict[str, str], dict[str, Any], Any]:
    """Return the store's settings, its HTTP client's settings, and its retry policy."""
    config = {key: value for key, value in options if key not in _CLIENT and key != PATIENCE}
    client = {key: value for key, value in _CLIENT.items() if value is not None}
    client |= {key: value for key, value in options if key in _CLIENT}
    retry = {
        "max_retries": 1000,
        "retry_timeout": timedelta(seconds=patience_of(options)),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=5),
            "base": 2,
        },
    }
    return config, client, retry


def _is_plain(url: str) -> bool:
    return url.startswith("http://")


def _known() -> str:
    return ", ".join([*sorted(_CLIENT), PATIENCE])


@contextlib.contextmanager
def _refusing(root: str) -> Iterator[None]:
    """Translate a store's errors about its settings into ours."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, ValueError, TypeError) as error:
        text = first_line(error)
        if "Account must be specified" in text:
            raise UsageError(
                f"{root}: no storage account",
                hint="use abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/…, or set AZURE_STORAGE_ACCOUNT_NAME",
            ) from error
        raise UsageError(
            f"{root}: {text}",
            hint="check the URI, and the keys and values of --storage-option",
        ) from error


def _amazon(config: dict[str, str]) -> dict[str, Any]:
    """Find credentials, region and endpoint as the AWS CLI does, unless they are given.

    boto3 supports profiles, single sign-on and roles; object_store does not.
    """
    keys = {key.lower().removeprefix("aws_") for key in config}
    skipped = config.get("skip_signature") or config.get("aws_skip_signature")
    skipped = skipped or os.environ.get("AWS_SKIP_SIGNATURE", "")
    if "access_key_id" in keys or skipped.lower() in ("1", "true", "yes"):
        return {}
    session = amazon_session(config)
    config.pop("profile", None)
    import botocore.exceptions
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        if session.get_credentials() is None:
            raise StorageAccessError(
                "no credentials for s3://",
                hint="run aws configure, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or for a public"
                " bucket add --storage-option skip_signature=true",
            )
        scoped = session._session.get_scoped_config()
        endpoint = scoped.get("endpoint_url")
    except botocore.exceptions.BotoCoreError as error:
        raise StorageAccessError(
            f"no credentials for s3://: {first_line(error)}", hint="check AWS_PROFILE and ~/.aws/config"
        ) from error
    if session.region_name and not {"region", "default_region"} & keys:
        config["region"] = session.region_name
    named = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    if endpoint and not named and not {"endpoint", "endpoint_url"} & keys:
        config["endpoint"] = endpoint
    return {"credential_provider": Boto3CredentialProvider(session)}


def amazon_session(options: Mapping[str, str]) -> Any:
    """Return the boto3 session of the chosen profile.

    Raises:
        MissingExtraError: boto3 is not installed.
        StorageAccessError: There is no such profile.
    """
    try:
        import boto3
        import botocore.exceptions
    except ImportError as error:
        raise MissingExtraError("s3:// needs boto3, which is not installed", extra=EXTRA) from error
    try:
        return boto3.Session(profile_name=options.get("profile"))
    except botocore.exceptions.BotoCoreError as error:
        raise StorageAccessError(
            f"no credentials for s3://: {first_line(error)}", hint="check AWS_PROFILE and ~/.aws/config"
        ) from error


@contextlib.contextmanager
def explaining(name: str, action: str, complaint: Complaint) -> Iterator[None]:
    """Translate whatever obstore raises into a one-line error.

    Args:
        name: The URI.
        action: What failed, e.g. "cannot be read".
        complaint: Makes the error for problems with this object: it is missing, or access is denied.

    Raises:
        StorageUnreachableError: No answer until retries ran out.
        StorageAccessError: The store rejects the credentials.
        SentstreamError: The error from ``complaint``.
    """
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        text = str(error)
        message = _message_of(text)
        if isinstance(error, UnauthenticatedError) or _UNKNOWN.search(text):
            raise StorageAccessError(
                f"{name} {action}: the store rejects the credentials: {message}",
                hint="are they wrong or expired? Check them, or sign in again",
            ) from error
        if isinstance(error, PermissionDeniedError) or "status code: 403" in text:
            raise complaint(
                f"{name} {action}: access is denied: {message}", "ask who owns the bucket"
            ) from error
        if _NO_BUCKET.search(text):
            raise complaint(f"{name} {action}: there is no such bucket", "check its name") from error
        if isinstance(error, FileNotFoundError):
            raise complaint(f"{name} {action}: there is no such object", "check the URI") from error
        if isinstance(error, ValueError):
            raise complaint(f"{name} {action}: {first_line(error)}", "check the URI") from error
        if is_passing(error):
            raise StorageUnreachableError(
                f"{name} {action}: {message}", hint="check the network and the address, then start again"
            ) from error
        raise StorageError(f"{name} {action}: {message}") from error


def unreadable(message: str, hint: str | None) -> SentstreamError:
    """Return the error for an input."""
    missing = "no such bucket" in message or "no such object" in message
    return (InputNotFoundError if missing else InputError)(message, hint=hint)


def is_passing(error: Exception) -> bool:
    """Return whether a retry may succeed: no response, an interrupted one, or a busy server."""
    text = str(error)
    return bool(_NO_ANSWER.search(text) or _BUSY.search(text))


def waiting(call: Callable[[], _T]) -> _T:
    """Make a network call in a thread that can be abandoned, so that signals are handled meanwhile.

    Raises:
        StorageUnreachableError: No time was left after ``give_up_soon``.
    """
    if threading.current_thread().daemon:  # this thread can itself be abandoned
        return call()
    done: Future[_T] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            with contextlib.suppress(InvalidStateError):
                done.set_exception(error)
        else:
            with contextlib.suppress(InvalidStateError):
                done.set_result(result)

    with _LOCK:
        _UNDER_WAY.add(done)
    try:
        threading.Thread(target=run, name="request", daemon=True).start()
        return done.result(seconds_left())
    except TimeoutError as error:
        if done.done():  # raised by the call itself
            raise
        raise StorageUnreachableError("interrupted") from error
    finally:
        with _LOCK:
            _UNDER_WAY.remove(done)


@contextlib.contextmanager
def limiting_retries() -> Iterator[None]:
    """End the effect of ``give_up_soon`` when the block ends."""
    try:
        yield
    finally:
        _HURRY.clear()


def give_up_soon() -> None:
    """Give pending store requests a few more seconds, then give up on them: the user pressed Ctrl-C.

    Whether an abandoned request took effect is unknown.
    """
    if _HURRY:
        return
    _HURRY.append(time.monotonic() + _AT_THE_END)
    timer = threading.Timer(_AT_THE_END, _give_up)  # for calls that are already waiting
    timer.daemon = True
    timer.start()


def seconds_left() -> float | None:
    """Return how many seconds to wait for a response; None if ``give_up_soon`` was not called."""
    return max(0.0, _HURRY[0] - time.monotonic()) if _HURRY else None


def _give_up() -> None:
    with _LOCK:
        for future in _UNDER_WAY if _HURRY else ():
            with contextlib.suppress(InvalidStateError):
                future.set_exception(StorageUnreachableError("interrupted"))


#: A separate generator, so that a caller's seeded random numbers stay the same.
_CHANCE = random.Random()
#: Seconds that an interrupted run waits for pending requests.
_AT_THE_END = 5.0
_LOCK = threading.Lock()
_UNDER_WAY: set[Future[Any]] = set()
_HURRY: list[float] = []  # the deadline, on the monotonic clock


class Tries:
    """Retries with exponential backoff, until the configured timeout.

    Args:
        options: Settings.
    """

    def __init__(self, options: Options) -> None:
        self._deadline = time.monotonic() + patience_of(options)
        self._pause = 0.1

    def wait(self, error: Exception) -> None:
        """Wait before the next try.

        Raises:
            Exception: The error, if a retry would not help or time is up.
        """
        if not is_passing(error) or time.monotonic() > self._deadline or seconds_left() == 0:
            raise error
        time.sleep(self._pause * _CHANCE.uniform(0.5, 1))
        self._pause = min(2 * self._pause, 5)


def _message_of(text: str) -> str:
    """Return what the server said, or why there is no response."""
    code = _CODE.search(text)
    if code:
        return one_line(f"{code[1]}: {code[2]}" if code[2] else code[1], 160)
    status = _STATUS.search(text)
    if status:
        return one_line(status[1])
    if "error sending request" in text or "kind: Connect" in text:
        kind = "no connection" if "kind: Connect" in text else "no answer"
        return f"{kind} for {elapsed[1]} s" if (elapsed := re.search(r"elapsed: (\d+)", text)) else kind
    return one_line(_REQUEST.sub("", text.split("\n\nDebug source", maxsplit=1)[0]), 160)
