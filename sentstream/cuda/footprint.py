"""How large a run may be: bytes of what a graph makes of a row and of a token."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, ValueInfoProto, helper, shape_inference

#: The largest run: enough rows that a kernel takes longer than its launch.
MOST_ROWS, MOST_TOKENS = 16_384, 2**19
#: Runs at a time: while one computes, others copy or wait for the next kernel.
AT_ONCE = 4
_RUN_BYTES = 2**30
#: An arena has gaps, and libraries want memory of their own.
_USED = 0.5


@dataclass(frozen=True)
class Footprint:
    """Bytes of all values of a graph, as if none were freed before the end of a run.

    Attributes:
        row: A row: states, and what a step makes of them.
        token: A token: ids, and what a ``Scan`` reads and writes a step at a time.
        fixed: Constants.
    """

    row: int
    token: int
    fixed: int

    def room(self, limit: int | None) -> tuple[int, int]:
        """The most rows and the most tokens of a run.

        Args:
            limit: Bytes of GPU memory that may be used; None for what ``AT_ONCE`` runs of 1 GiB need.
        """
        share = _RUN_BYTES
        if limit is not None:
            share = min(share, int(max(0, limit - self.fixed) * _USED / AT_ONCE))
        rows = max(2, min(MOST_ROWS, share // 2 // max(1, self.row)))
        tokens = max(2, min(MOST_TOKENS, (share - rows * self.row) // max(1, self.token)))
        return rows, tokens


def footprint(model: ModelProto) -> Footprint:
    """What a graph takes; its inputs are ``[batch, time]``."""
    graph = shape_inference.infer_shapes(model).graph
    row, token = _values(graph)
    return Footprint(row, token, sum(one.ByteSize() for one in graph.initializer))


def _values(graph: GraphProto) -> tuple[int, int]:
    """Bytes a row and a token of what a graph holds, with that of the graphs inside of it."""
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
    """How many sizes of a value are open, rows and time; and the bytes for one of each."""
    kind = value.type.tensor_type
    sizes = [one.dim_value for one in kind.shape.dim]
    known = math.prod(size for size in sizes if size)
    return sizes.count(0), known * helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
