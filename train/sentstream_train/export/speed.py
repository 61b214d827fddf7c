"""Compare the speed of a new bundle with that of the default model."""

from __future__ import annotations

from time import perf_counter

from sentstream.bundle import DEFAULT_MODEL, Bundle, load_bundle
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.session import Session

#: Numbers of words per tweet, similar to real tweets.
_LENGTHS = [3, 6, 9, 12, 15, 18, 21, 24] * 64
_SECONDS = 0.5


def compare_speed(session: Session, bundle: Bundle) -> tuple[float, float]:
    """Texts per second on one thread, without the text path: of the bundle and of the default model."""
    shipped = load_bundle(DEFAULT_MODEL)
    return _speed(session, bundle), _speed(Session(shipped, "cpu"), shipped)


def _speed(session: Session, bundle: Bundle) -> float:
    texts = synthetic_tweets(bundle.text.vocabulary, _LENGTHS)
    rows = bundle.text.encode(texts)
    session.probabilities(rows)
    count, begun = 0, perf_counter()
    while (taken := perf_counter() - begun) < _SECONDS:
        session.probabilities(rows)
        count += len(texts)
    return count / taken
