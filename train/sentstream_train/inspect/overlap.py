"""Count the rows of one data set that are in another, too, such as test rows in the training data."""

from __future__ import annotations

from typing import Any

import numpy as np

import sentstream
from sentstream.analyze.keys import text_keys
from sentstream_train.data.labeled import LabeledData
from sentstream_train.data.same_text import NO_TEXT, repeats_of, same_text
from sentstream_train.inspect.figures import share_of


def find_overlap(data: LabeledData, others: LabeledData) -> dict[str, Any]:
    """Count the rows whose text is also in other data; labels do not matter.

    Args:
        data: The rows, with or without labels.
        others: The rows to look for them in.

    Returns:
        JSON-ready data. ``rows`` has counts: ``read``; ``no_text``; ``exactly_the_same``, with an identical
        text in ``others``; ``same_text``, with the same text by that function (which includes identical
        ones); ``outside``, with neither; and ``share``, from 0 to 1, of ``same_text`` in the rows with a
        text. ``labels`` has ``same_text`` and ``outside`` per label.
    """
    keys = same_text(data.text).words
    empty = keys == NO_TEXT
    same = repeats_of(keys, same_text(others.text).words)
    exact = np.isin(text_keys(data.text.fill_null("")), text_keys(others.text.fill_null(""))) & ~empty
    outside = ~same & ~empty
    return {
        "report": "overlap",
        "sentstream": sentstream.__version__,
        "files": [source.to_dict() for source in data.sources],
        "others": [source.to_dict() for source in others.sources],
        "rows": {
            "read": len(data),
            "no_text": int(empty.sum()),
            "exactly_the_same": int(exact.sum()),
            "same_text": int(same.sum()),
            "outside": int(outside.sum()),
            "share": share_of(same.sum(), len(data) - empty.sum()),
        },
        "labels": [
            {
                "label": name,
                "same_text": int(same[data.label == index].sum()),
                "outside": int(outside[data.label == index].sum()),
            }
            for index, name in enumerate(data.labels)
        ],
    }
