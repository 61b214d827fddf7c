"""The weight of a row: class weights in training rows and in validation rows."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from hypothesis import given
from hypothesis import strategies as st

from sentstream.errors import UsageError
from sentstream_train.config import FitConfig
from sentstream_train.fit.targets import check_class_weights, class_weights

LABELS = ("negative", "neutral", "positive")
rows = st.lists(st.integers(0, 2), min_size=1, max_size=60)


@given(rows)
def test_balanced_weights_average_to_one(classes: list[int]) -> None:
    truth = np.array(classes, np.int32)
    weights = class_weights(FitConfig(class_weights="balanced"), truth, LABELS)
    assert weights.dtype == np.float32
    assert weights[truth].mean() == pytest.approx(1, rel=1e-5)
    sums = [weights[truth[truth == place]].sum() for place in np.unique(truth)]
    assert sums == pytest.approx([sums[0]] * len(sums), rel=1e-4)


@given(rows, st.floats(0.01, 100))
def test_only_the_ratio_of_weights_matters(classes: list[int], weight: float) -> None:
    truth = np.array(classes, np.int32)
    weights = class_weights(FitConfig(class_weights={"neutral": weight}), truth, LABELS)
    assert weights[truth].mean() == pytest.approx(1, rel=1e-5)
    assert weights[1] / weights[0] == pytest.approx(weight, rel=1e-4)
    assert weights[2] == weights[0]


def test_weight_for_a_missing_label_is_rejected() -> None:
    check_class_weights(FitConfig(class_weights={"neutral": 2.0}), LABELS)
    check_class_weights(FitConfig(class_weights="balanced"), LABELS)
    with pytest.raises(UsageError, match=r"'bad', which no row has .*negative, neutral, positive"):
        check_class_weights(FitConfig(class_weights={"bad": 2.0}), LABELS)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="above 0"):
            FitConfig(class_weights={"neutral": wrong})
