"""How many rows of one data set stand in another, too: what a figure can owe to having been learned."""

from __future__ import annotations

from typing import Any

import numpy as np

import sentstream
from sentstream.analyze.keys import text_keys
from sentstream_train.data.labeled import LabeledData
from sentstream_train.data.same_text import NO_TEXT, repeats_of, same_text
from sentstream_train.inspect.figures import share_of


def find_overlap(data: LabeledData, others: LabeledData) -> dict[str, Any]:
    """Rows whose text stands among others; labels do not matter.

    Args:
        data: The rows, with labels or without.
        others: What they are looked for in.

    Returns:
        JSON-ready data. ``rows``: how many were read, have no text, have ``exactly_the_same`` text or the
        ``same_text`` as one of the others (by ``same_text``, so the former are among the latter), and have
        neither (``outside``). ``labels``: the last two for each label. ``share`` is of 1, of the rows with
        a text.
    """
    ours = same_text(data.text).words
    empty = ours == NO_TEXT
    same = repeats_of(ours, same_text(others.text).words)
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
                "same_text": int(same[data.label == place].sum()),
                "outside": int(outside[data.label == place].sum()),
            }
            for place, name in enumerate(data.labels)
        ],
    }
