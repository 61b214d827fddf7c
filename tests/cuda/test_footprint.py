"""The maximum size of a run."""

from __future__ import annotations

import onnx
import pytest
from cuda_tools import UNITS, WIDTH, float_networks, int8_networks

from sentstream.bundle import load_bundle
from sentstream.cuda.footprint import AT_ONCE, MOST_ROWS, MOST_TOKENS, Footprint, footprint
from sentstream.cuda.opening import prepare_graph
from sentstream_train.network.onnx_graph import to_onnx

GIB = 2**30


def of(model: bytes) -> Footprint:
    return footprint(onnx.load_from_string(model))


class TestBytes:
    def test_bytes_per_token(self) -> None:
        """Ids and their transposed copy, and a row of each table, which is what the Scan reads."""
        one = of(to_onnx(int8_networks()["1 layers max+mean, pairs, int8 tables"]))
        ids, rows = 2 * 2 * 4, 2 * UNITS
        starts = 4 * 4  # first states, of whose sizes it knows nothing
        assert ids + rows <= one.token <= ids + rows + starts
        wide = of(to_onnx(int8_networks()["1 layers max+mean, pairs"]))
        assert wide.token - one.token == 2 * UNITS * (4 - 1)

    def test_bytes_with_projections_outside_the_loop(self) -> None:
        """Of both directions, of four gates, in float32; and the states of all steps."""
        one = of(to_onnx(float_networks()["lstm fb max+mean"]))
        assert one.token >= 4 * (WIDTH + 2 * 4 * UNITS + 2 * UNITS)

    def test_bytes_per_row(self) -> None:
        """The more layers, the more a step makes of a row."""
        found = [of(to_onnx(int8_networks()[f"{count} layers max+mean, pairs"])).row for count in (1, 2, 3)]
        assert 0 < found[0] < found[1] < found[2]

    def test_bytes_of_constants(self) -> None:
        bundle = load_bundle("tweets-small")
        assert len(bundle.model) * 0.99 < of(bundle.model).fixed <= len(bundle.model)


class TestCapacity:
    def test_shipped_models_fit(self) -> None:
        for name in ("tweets", "tweets-small", "sentiment140"):
            prepared = prepare_graph(load_bundle(name).model)
            assert prepared.footprint.room(None) == (MOST_ROWS, MOST_TOKENS)

    @pytest.mark.parametrize("limit", [2**26, 2**28, GIB, 4 * GIB, None])
    @pytest.mark.parametrize("one", [Footprint(20_000, 300, 2**25), Footprint(300_000, 20_000, 2**22)])
    def test_concurrent_runs_fit_the_limit(self, one: Footprint, limit: int | None) -> None:
        rows, tokens = one.room(limit)
        assert 2 <= rows <= MOST_ROWS
        assert 2 <= tokens <= MOST_TOKENS
        run = rows * one.row + tokens * one.token
        assert AT_ONCE * run + one.fixed <= (limit or AT_ONCE * GIB + one.fixed)

    def test_more_memory_never_means_smaller_runs(self) -> None:
        one = Footprint(20_000, 300, 2**25)
        found = [one.room(2**size) for size in range(20, 36)]
        assert found == sorted(found)
        assert found[0] == (2, 2)
        assert found[-1] == one.room(None)
