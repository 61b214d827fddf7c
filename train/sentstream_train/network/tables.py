"""Transform a network's look-up tables: fold the first input projection into them, store them as int8."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream_train.network.arrays import GATES, Direction, Floats, Lookup, Network, Recurrent
from sentstream_train.network.scales import column_scales

#: Tables that would be larger than this when folded are not worth the matrix product that they save.
MOST_FOLDED_BYTES = 256 << 20
_STEPS = 127


def fold(network: Network) -> Network:
    """Fold the first recurrent layer's input projection into the tables: ``x·W + b`` becomes a look-up.

    ``(word + pair)·W + b = (word·W + b) + pair·W``, so both tables can be folded, exactly except for
    rounding. The tables become as wide as the gates of all the layer's directions together. A network that
    is folded already, starts with another layer, or would get tables of more than ``MOST_FOLDED_BYTES`` is
    returned unchanged.
    """
    first = network.layers[0]
    if not isinstance(first, Recurrent) or any(one.kernel is None for one in first.directions):
        return network
    kernels = [one.kernel for one in first.directions if one.kernel is not None]
    kernel = np.concatenate(kernels, axis=1).astype(np.float64)
    biases = [
        np.zeros(GATES[first.cell] * first.units) if one.bias is None else one.bias
        for one in first.directions
    ]
    bias = np.concatenate(biases).astype(np.float64)
    old = network.lookup
    rows = len(old.words) + (0 if old.pairs is None else len(old.pairs))
    if 4 * rows * kernel.shape[1] > MOST_FOLDED_BYTES:
        return network

    def folded(table: npt.NDArray[Any], added: npt.NDArray[np.float64] | float) -> Floats:
        out = np.empty((len(table), kernel.shape[1]), np.float32)
        for start in range(0, len(table), 65_536):  # in chunks, to limit the memory for float64
            part = slice(start, start + 65_536)
            out[part] = old.rows(table[part]).astype(np.float64) @ kernel + added
        return out

    def bare(direction: Direction | None) -> Direction | None:
        return None if direction is None else replace(direction, kernel=None, bias=None)

    lookup = Lookup(folded(old.words, bias), None if old.pairs is None else folded(old.pairs, 0.0))
    layer = replace(first, forward=bare(first.forward), backward=bare(first.backward))
    return Network(lookup, (layer, *network.layers[1:]))


def to_int8(network: Network, *, one_scale: bool = False) -> Network:
    """Store the tables as int8 with one scale per column, in a quarter of the size.

    The largest value of a column becomes ±127 (symmetric, round to nearest), so a value changes by at most
    1/254 of it. Both tables share the scales, so their sum is exact. Tables that were int8 before get the
    same numbers again (``column_scales``).

    Args:
        network: Any network.
        one_scale: Use the largest scale for all columns.
    """
    lookup = network.lookup
    if lookup.scale is not None:
        return network
    scale = column_scales([lookup.words] if lookup.pairs is None else [lookup.words, lookup.pairs], _STEPS)

    if one_scale:
        scale = np.full_like(scale, scale.max())

    def rounded(table: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
        return np.clip(np.rint(table / scale), -_STEPS, _STEPS).astype(np.int8)

    pairs = None if lookup.pairs is None else rounded(lookup.pairs)
    return replace(network, lookup=Lookup(rounded(lookup.words), pairs, scale))
