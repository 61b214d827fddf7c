"""Checks of the models that ship: are their files unchanged, and are their results correct here?"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream.bundle import DEFAULT_MODEL, Bundle, list_models, load_bundle
from sentstream.doctor.findings import Finding, Section, problem
from sentstream.doctor.reference import Unknown, evaluate, is_rounded, read_graph
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.errors import BundleNotFoundError, MissingExtraError, SentstreamError
from sentstream.session import Session
from sentstream.text import Encoded

#: Allowed difference of a probability from NumPy's result in double precision.
TOLERANCE = 1e-5
#: The same for quantized states: the last bit of tanh may move a state to the next step, 1/127 away.
ROUNDED_TOLERANCE = 2e-2
#: Numbers of words of the tweets that are compared; each length is a separate run.
_LENGTHS = list(chain.from_iterable([length] * 4 for length in range(1, 33)))


def models() -> Section:
    """Verify every model that ships, and compare its results here with the NumPy reference."""
    names = list_models()
    if not names:
        error = BundleNotFoundError("this installation includes no model", hint="reinstall sentstream")
        return Section("models", [], [problem("models", error)])
    facts, findings = [], []
    for name in names:
        fact, finding = _model(name)
        facts.append(fact)
        findings.append(finding)
    return Section("models", facts, findings)


def _model(name: str) -> tuple[dict[str, Any], Finding]:
    subject = f"model {name}"
    fact: dict[str, Any] = {"name": name, "default": name == DEFAULT_MODEL, "digest": None, "sealed": False}
    try:
        bundle = load_bundle(name)
    except SentstreamError as error:
        return fact, problem(subject, error)
    fact.update(digest=bundle.digest, sealed=True, difference=None, tweets=None)
    sealed = f"{bundle.short_digest}, all checksums match"
    try:
        session = Session(bundle, "cpu")
        difference = parity(bundle, session)
    except MissingExtraError as error:  # reported in its own line
        return fact, Finding(subject, "note", f"{sealed}; not run: {error.message}")
    except Unknown as error:
        same = repeats(bundle, session)
        words = f"{sealed}; not compared with NumPy (unsupported: {error})"
        words += "; two runs gave the same bits" if same else "; two runs gave different bits"
        return fact, Finding(subject, "ok" if same else "note", words)
    except SentstreamError as error:
        return fact, problem(subject, error)
    fact.update(difference=difference if math.isfinite(difference) else None, tweets=len(_LENGTHS))
    words = f"{difference:.0e} from NumPy's results for {len(_LENGTHS)} tweets"
    allowed = ROUNDED_TOLERANCE if is_rounded(read_graph(bundle.model)) else TOLERANCE
    if not difference <= allowed:  # NaN, too
        wrong = SentstreamError(
            f"{sealed}, but ONNX Runtime here is {words}, more than {allowed:.0e}",
            hint="install another version of ONNX Runtime",
        )
        return fact, problem(subject, wrong)
    return fact, Finding(subject, "ok", f"{sealed}; at most {words}")


def parity(bundle: Bundle, session: Session) -> float:
    """The largest difference between the session's probabilities and those of the NumPy reference.

    Raises:
        Unknown: The NumPy reference does not support the graph.
    """
    encoded = _encoded(bundle)
    return float(np.abs(session.probabilities(encoded) - reference(bundle, encoded)).max())


def reference(bundle: Bundle, encoded: Encoded) -> npt.NDArray[np.float64]:
    """``float64[rows, classes]``: the results of the NumPy reference, with rows of each length together.

    Raises:
        Unknown: The NumPy reference does not support the graph.
    """
    graph, lengths = read_graph(bundle.model), encoded.lengths
    table = np.full((len(encoded), len(bundle.labels)), np.nan)
    for length in np.unique(lengths[lengths > 0]).tolist():
        (rows,) = np.nonzero(lengths == length)
        indices = encoded.offsets[rows, None] + np.arange(length)
        feed = {"words": encoded.words[indices]}
        if encoded.pairs is not None:
            feed["pairs"] = encoded.pairs[indices]
        (table[rows],) = evaluate(graph, feed)
    return table


def repeats(bundle: Bundle, session: Session) -> bool:
    """Whether two runs give the same bits."""
    encoded = _encoded(bundle)
    first, second = (session.probabilities(encoded).tobytes() for _ in range(2))
    return first == second


def _encoded(bundle: Bundle) -> Encoded:
    return bundle.text.encode(synthetic_tweets(bundle.text.vocabulary, _LENGTHS))
