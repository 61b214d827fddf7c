"""The maximum size of a run, from the memory that a graph needs per row and per token."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, ValueInfoProto, helper, shape_inference

#: Limits of a run: enough rows that a kernel takes longer than its launch.
MOST_ROWS, MOST_TOKENS = 16_384, 2**19
#: Concurrent runs: while one computes, others copy or wait for the next kernel.
AT_ONCE = 4
_RUN_BYTES = 2**30
#: Usable share of the memory limit: the arena fragments, and libraries need memory too.
_USED = 0.5


@dataclass(frozen=True)
class Footprint:
    """The size in bytes of all values of a graph, as if none were freed before the end of a run.

    Attributes:
        row: Bytes per row: states, and the values computed in a step.
        token: Bytes per token: ids, and what a ``Scan`` reads and writes in each step.
        fixed: Bytes of constants.
    """

    row: int
    token: int
    fixed: int

    def room(self, limit: int | None) -> tuple[int, int]:
        """Return the maximum rows and the maximum tokens of a run.

        Args:
            limit: Usable GPU memory in bytes; None for as much as ``AT_ONCE`` runs of 1 GiB need.
        """
        share = _RUN_BYTES
        if limit is not None:
            share = min(share, int(max(0, limit - self.fixed) * _USED / AT_ONCE))
        rows = max(2, min(MOST_ROWS, share // 2 // max(1, self.row)))
        tokens = max(2, min(MOST_TOKENS, (share - rows * self.row) // max(1, self.token)))
        return rows, tokens


def footprint(model: ModelProto) -> Footprint:
    """Return the footprint of a graph whose inputs are ``[batch, time]``."""
    graph = shape_inference.infer_shapes(model).graph
    row, token = _values(graph)
    return Footprint(row, token, sum(one.ByteSize() for one in graph.initializer))


def _values(graph: GraphProto) -> tuple[int, int]:
    """Bytes per row and per token of a graph's values, including its subgraphs."""
    row = token = 0
    for value in (*graph.input, *graph.value_info, *graph.output):
        open_sizes, size = _size(value)
        if open_sizes == 1:
            row += size
        elif open_sizes > 1:
            token += size
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                inner = _values(attribute.g)
                row, token = row + inner[0], token + inner[1]
    return row, token


def _size(value: ValueInfoProto) -> tuple[int, int]:
    """The number of dynamic dimensions of a value (rows, time), and its bytes if each has size 1."""
    kind = value.type.tensor_type
    sizes = [one.dim_value for one in kind.shape.dim]
    known = math.prod(size for size in sizes if size)
    return sizes.count(0), known * helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
