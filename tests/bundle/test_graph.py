"""Which graphs are allowed: every way to smuggle something in is an error, and a sound graph passes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import draw_encoded, make_bundle, make_network
from effort import cases
from onnx import TensorProto, helper, numpy_helper

from sentstream.bundle import graph as rules
from sentstream.bundle import load_bundle
from sentstream.bundle.graph import OPERATORS, check_graph
from sentstream.errors import BundleGraphError
from sentstream.session import Session
from sentstream_train.config import Activation
from sentstream_train.network.arrays import Lookup, Network
from sentstream_train.network.onnx_graph import OPSET, to_onnx
from sentstream_train.network.quantized import quantize
from sentstream_train.network.tables import to_int8

ROOT = Path(__file__).resolve().parents[2]
ROWS = {"words": 27, "pairs": 4}


def check(model: onnx.ModelProto | bytes, **changes: Any) -> None:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    declared: dict[str, Any] = {
        "opset": OPSET,
        "inputs": ["words", "pairs"],
        "output": "probabilities",
        "classes": 2,
        "rows": ROWS,
    }
    check_graph(data, **{**declared, **changes})


@pytest.fixture(name="model")
def _model() -> onnx.ModelProto:
    return onnx.load_from_string(to_onnx(make_network(27, 3, 2)))


def scan_body(model: onnx.ModelProto) -> onnx.GraphProto:
    """The body of the first Scan."""
    node = next(node for node in model.graph.node if node.op_type == "Scan")
    body: onnx.GraphProto = next(attribute for attribute in node.attribute if attribute.name == "body").g
    return body


class TestFieldNumbers:
    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            (rules.MODEL, onnx.ModelProto),
            (rules.OPSET, onnx.OperatorSetIdProto),
            (rules.GRAPH, onnx.GraphProto),
            (rules.NODE, onnx.NodeProto),
            (rules.ATTRIBUTE, onnx.AttributeProto),
            (rules.TENSOR, onnx.TensorProto),
        ],
    )
    def test_field_numbers_match_the_onnx_package(self, ours: type, theirs: Any) -> None:
        numbers = {name: field.number for name, field in theirs.DESCRIPTOR.fields_by_name.items()}
        mine = {name: number for name, number in vars(ours).items() if not name.startswith("_")}
        assert mine
        assert mine == {name: numbers[name] for name in mine}

    def test_value_field_numbers_match_the_onnx_package(self) -> None:
        value, kind = onnx.ValueInfoProto.DESCRIPTOR, onnx.TypeProto.DESCRIPTOR
        tensor = kind.nested_types_by_name["Tensor"]
        shape = onnx.TensorShapeProto.DESCRIPTOR
        dimension = shape.nested_types_by_name["Dimension"]
        for descriptor, names in (
            (value, ["name", "type"]),
            (kind, ["tensor_type"]),
            (tensor, ["elem_type", "shape"]),
            (shape, ["dim"]),
            (dimension, ["dim_value"]),
        ):
            for name in names:
                assert getattr(rules.VALUE, name) == descriptor.fields_by_name[name].number

    def test_every_tensor_and_graph_field_is_checked(self) -> None:
        """A new field in a later onnx package fails here, so that somebody checks it."""
        known = {
            "GraphProto": {"initializer", "sparse_initializer", "node", "quantization_annotation"},
            "AttributeProto": {"t", "tensors", "g", "graphs", "sparse_tensor", "sparse_tensors"},
            "ModelProto": {"graph", "training_info", "functions"},
        }
        for message, names in known.items():
            fields = getattr(onnx, message).DESCRIPTOR.fields
            holding = ("Tensor", "Graph", "Node", "Function", "Training")
            found = {
                field.name
                for field in fields
                if field.message_type and field.message_type.name.startswith(holding)
            }
            found |= {field.name for field in fields if "sparse" in field.name}
            assert found == names, message

    def test_data_types_match_the_onnx_package(self) -> None:
        assert (rules._FLOAT, rules._INT32, rules._INT64) == (
            TensorProto.FLOAT,
            TensorProto.INT32,
            TensorProto.INT64,
        )

    def test_allowed_operators_exist_in_allowed_opsets(self) -> None:
        known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}
        assert known >= OPERATORS
        assert not OPERATORS & {"If", "Range", "OneHot", "Resize"}
        assert {"Loop", "Expand", "Tile", "Pad"} <= rules._BOUND.keys() <= OPERATORS
        assert {name for name in OPERATORS if "Random" in name or "Sequence" in name} == {"ReverseSequence"}


class TestValidGraphs:
    @pytest.mark.parametrize("pairs", [None, 3])
    @pytest.mark.parametrize("int8", [False, True])
    @pytest.mark.parametrize("activation", ["tanh", "hard_tanh"])
    def test_exported_graphs_pass(self, pairs: int | None, int8: bool, activation: Activation) -> None:
        network = make_network(27, pairs, 3, activation=activation)
        if int8:
            network = quantize(to_int8(network), draw_encoded(27, pairs, 50))
        inputs = ["words"] if pairs is None else ["words", "pairs"]
        check(to_onnx(network), inputs=inputs, classes=3, rows={"words": 27, "pairs": 4})

    @pytest.mark.parametrize("opset", rules.OPSETS)
    def test_every_allowed_opset_passes_if_declared(self, model: onnx.ModelProto, opset: int) -> None:
        model.opset_import[0].version = opset
        check(model, opset=opset)
        with pytest.raises(BundleGraphError, match="opset"):
            check(model, opset=opset + 1)

    def test_standard_domain_may_be_explicit(self, model: onnx.ModelProto) -> None:
        model.graph.node[0].domain = "ai.onnx"
        check(model)

    def test_table_is_found_behind_reshaped_ids(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        graph.node.insert(0, helper.make_node("Identity", ["words"], ["same"]))
        graph.node.insert(1, helper.make_node("Unsqueeze", ["same", "axis"], ["wide"]))
        graph.node.insert(2, helper.make_node("Squeeze", ["wide", "axis"], ["again"]))
        graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
        for node in graph.node[3:]:
            if node.op_type == "Transpose":
                node.input[0] = "again" if node.input[0] == "words" else node.input[0]
        onnx.checker.check_model(model, full_check=True)
        check(model)
        with pytest.raises(BundleGraphError, match="table of 27 rows; the vocabulary has 26"):
            check(model, rows={**ROWS, "words": 26})


def external(tensor: TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def smuggled(tensor: TensorProto) -> None:
    """External data that is not declared."""
    tensor.external_data.add(key="location", value="weights.bin")


class TestSmuggling:
    @pytest.mark.parametrize("hide", [external, smuggled])
    @pytest.mark.parametrize("where", ["initializer", "constant", "constants", "body", "value"])
    def test_external_data(
        self, model: onnx.ModelProto, hide: Callable[[TensorProto], None], where: str
    ) -> None:
        tensor = numpy_helper.from_array(np.zeros(3, np.float32), "hidden")
        hide(tensor)
        if where == "initializer":
            model.graph.initializer.append(tensor)
        elif where == "body":
            scan_body(model).initializer.append(tensor)
        elif where == "value":
            node = next(node for node in model.graph.node if node.op_type == "ConstantOfShape")
            hide(node.attribute[0].t)
        else:
            attribute = onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR)
            if where == "constant":
                attribute.t.CopyFrom(tensor)
            else:
                attribute.tensors.append(tensor)
            node = onnx.NodeProto(op_type="Constant", output=["c"], attribute=[attribute])
            scan_body(model).node.append(node)
        with pytest.raises(BundleGraphError, match="in another file"):
            check(model)

    def test_external_data_under_an_aliased_field_number(self, model: onnx.ModelProto) -> None:
        tensor = numpy_helper.from_array(np.zeros(3, np.float32), "t").SerializeToString()
        key, tail = (2**29 + 14) << 3, bytearray()
        while key >= 0x80:
            tail.append(key & 0x7F | 0x80)
            key >>= 7
        tensor += bytes([*tail, key, 1])  # C++: field 14, data_location, external
        data = model.SerializeToString()
        inner = model.graph.SerializeToString() + b"\x2a" + bytes([len(tensor)]) + tensor
        model.ClearField("graph")
        size, length = bytearray(), len(inner)
        while length >= 0x80:
            size.append(length & 0x7F | 0x80)
            length >>= 7
        forged = model.SerializeToString() + b"\x3a" + bytes([*size, length]) + inner
        check(data)
        with pytest.raises(BundleGraphError, match="malformed"):
            check(forged)

    @pytest.mark.parametrize("where", ["import", "node", "body"])
    @pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "AI.ONNX", " ", "ai.onnx\0"])
    def test_custom_domain(self, model: onnx.ModelProto, where: str, domain: str) -> None:
        if where == "import":
            model.opset_import.append(helper.make_opsetid(domain, 1))
        else:
            graph = model.graph if where == "node" else scan_body(model)
            graph.node[0].domain = domain
        with pytest.raises(BundleGraphError, match="custom"):
            check(model)

    @pytest.mark.parametrize(
        "operator",
        [
            "If",
            "Range",
            "RandomNormal",
            "SequenceConstruct",
            "StringConcat",
            "",
            "tanh",
        ],
    )
    def test_unneeded_operator(self, model: onnx.ModelProto, operator: str) -> None:
        scan_body(model).node.append(helper.make_node(operator, ["x"], ["y"]))
        with pytest.raises(BundleGraphError, match=f"node '{operator}', which is not an operator"):
            check(model)

    @pytest.mark.parametrize("operator", ["Scan", "Loop", "If"])
    @pytest.mark.parametrize("attribute", ["body", "then_branch", "anything"])
    def test_subgraphs_of_any_name_are_checked(
        self, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, operator: str, attribute: str
    ) -> None:
        monkeypatch.setattr(rules, "OPERATORS", OPERATORS | {operator})
        bad = helper.make_node("Foo", ["x"], ["y"], domain="evil")
        inner = helper.make_graph([bad], "inner", [], [])
        outer = helper.make_graph(
            [helper.make_node(operator, [], ["z"], **{attribute: inner})], "outer", [], []
        )
        for body in (inner, outer):
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            changed.graph.node.append(helper.make_node(operator, [], ["z"], **{attribute: body}))
            with pytest.raises(BundleGraphError, match="custom domain 'evil'"):
                check(changed)
            many = helper.make_node(operator, [], ["z"])
            many.attribute.append(onnx.AttributeProto(name=attribute, graphs=[body]))
            changed.graph.node[-1].CopyFrom(many)
            with pytest.raises(BundleGraphError, match="custom domain 'evil'"):
                check(changed)

    def test_deeply_nested_graphs(self, model: onnx.ModelProto) -> None:
        body = helper.make_graph([], "deep", [], [])
        for _ in range(20):
            body = helper.make_graph([helper.make_node("Scan", [], ["z"], body=body)], "deep", [], [])
        model.graph.node.append(helper.make_node("Scan", [], ["z"], body=body))
        with pytest.raises(BundleGraphError, match="more than 16 levels deep"):
            check(model)

    def test_functions_and_training_information(self, model: onnx.ModelProto) -> None:
        with_function, with_training = onnx.ModelProto(), onnx.ModelProto()
        with_function.CopyFrom(model)
        with_training.CopyFrom(model)
        with_function.functions.add(name="f", domain="")
        with_training.training_info.add()
        for changed in (with_function, with_training):
            with pytest.raises(BundleGraphError, match="functions or training information"):
                check(changed)

    def test_sparse_tensors(self, model: onnx.ModelProto) -> None:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        changed.graph.sparse_initializer.add()
        with pytest.raises(BundleGraphError, match="sparse"):
            check(changed)
        model.graph.node[0].attribute.add(name="s").sparse_tensor.dims.append(3)
        with pytest.raises(BundleGraphError, match="sparse"):
            check(model)

    def test_second_graph(self, model: onnx.ModelProto) -> None:
        """Protobuf merges the two; a reader that takes one of them would see another file."""
        data = model.SerializeToString()
        with pytest.raises(BundleGraphError, match="appears 2 times"):
            check(data + data)

    def test_file_that_is_also_in_ort_format(self, model: onnx.ModelProto) -> None:
        """Its first bytes would make ONNX Runtime read the rest as a format that was never checked."""
        mark = b"\x92\x03\x05\0ORTM"  # field 50, five bytes: unknown to protobuf, which skips it
        data = mark + model.SerializeToString()
        assert data[4:8] == b"ORTM"
        onnx.checker.check_model(onnx.load_from_string(data))
        with pytest.raises(BundleGraphError, match="own format"):
            check(data)


class TestShapes:
    @pytest.mark.parametrize(
        ("dims", "kind"),
        [
            ([2**40], TensorProto.FLOAT),
            ([2**62, 2**62], TensorProto.FLOAT),
            ([-1], TensorProto.FLOAT),
            ([2**31, 0], TensorProto.INT8),
            ([1] * 9, TensorProto.FLOAT),
            ([3], TensorProto.UNDEFINED),
        ],
    )
    def test_tensor_declared_larger_than_its_data(
        self, model: onnx.ModelProto, dims: Sequence[int], kind: int
    ) -> None:
        model.graph.initializer.append(TensorProto(name="big", dims=dims, data_type=kind, raw_data=b"\0"))
        if 0 in dims or dims == [3]:
            check(model)  # nothing large about it; what is wrong with it ONNX Runtime says
            return
        with pytest.raises(BundleGraphError, match="size of the tensor 'big' does not match its data"):
            check(model)

    @pytest.mark.parametrize("rank", [1, 2])
    @pytest.mark.parametrize("raw", [True, False])
    def test_state_of_excessive_width(self, model: onnx.ModelProto, rank: int, raw: bool) -> None:
        node = next(node for node in model.graph.node if node.op_type == "ConstantOfShape")
        wide = np.array([2**40] if rank == 1 else [2**20, 2**20], np.int64)
        tensor = numpy_helper.from_array(wide, "wide")
        if not raw:
            tensor = helper.make_tensor("wide", TensorProto.INT64, [rank], wide.tolist())
        model.graph.initializer.append(tensor)
        node.input[0] = "wide"
        with pytest.raises(BundleGraphError, match="unreasonable"):
            check(model)

    def test_state_of_unknown_width(self, model: onnx.ModelProto) -> None:
        index = next(i for i, node in enumerate(model.graph.node) if node.op_type == "ConstantOfShape")
        size = model.graph.node[index].input[0]
        model.graph.node[index].input[0] = "product"
        model.graph.node.insert(index, helper.make_node("Mul", [size, size], ["product"]))
        with pytest.raises(BundleGraphError, match="is unknown or unreasonable"):
            check(model)

    @pytest.mark.parametrize(
        ("operator", "number"), [("Loop", 2**40), ("Expand", 2**40), ("Tile", 2**40), ("Pad", 2**40)]
    )
    def test_expanding_operators_are_bounded(
        self, model: onnx.ModelProto, operator: str, number: int
    ) -> None:
        def made(amount: str) -> onnx.ModelProto:
            inputs = [amount, "", "word"] if operator == "Loop" else ["words", amount]
            extra = {"body": helper.make_graph([], "body", [], [])} if operator == "Loop" else {}
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            for name, value in (("few", 3), ("many", number)):
                changed.graph.initializer.append(numpy_helper.from_array(np.array([1, value]), name))
            nodes = [("Shape", ["words"], "shape"), ("Mul", ["shape", "shape"], "product")]
            changed.graph.node.extend(helper.make_node(one, given, [out]) for one, given, out in nodes)
            changed.graph.node.append(helper.make_node(operator, inputs, ["made"], **extra))
            return changed

        check(made("few"))
        if operator != "Pad":
            check(made("shape"))
        for absurd in ("many", "product", "nowhere"):
            with pytest.raises(BundleGraphError, match="is unknown or unreasonable"):
                check(made(absurd))

    @pytest.mark.parametrize("operator", ["Concat", "Expand", "Loop", "Scan"])
    def test_growth_inside_a_loop_is_rejected(self, model: onnx.ModelProto, operator: str) -> None:
        inner = helper.make_graph([], "inner", [], [])
        body: dict[str, Any] = {"body": inner} if operator in ("Loop", "Scan") else {}
        grows = helper.make_node(operator, ["x", "x"], ["y"], **body)
        once = helper.make_node("Shape", ["words"], ["steps"])
        loop = helper.make_node(
            "Loop", ["steps", "", "words"], ["z"], body=helper.make_graph([grows], "body", [], [])
        )
        model.graph.node.extend([once, loop])
        with pytest.raises(BundleGraphError, match=f"{operator!r} in a Loop"):
            check(model)

    @pytest.mark.parametrize("operator", ["Conv", "MaxPool"])
    def test_padding_of_excessive_width(self, model: onnx.ModelProto, operator: str) -> None:
        model.graph.node.append(helper.make_node(operator, ["words"], ["z"], pads=[0, 2**40]))
        with pytest.raises(BundleGraphError, match="unreasonable amount"):
            check(model)

    def test_growing_sizes_are_not_computed(self, model: onnx.ModelProto) -> None:
        names = ["size_0"]
        model.graph.initializer.append(numpy_helper.from_array(np.array([2**62], np.int64), "size_0"))
        for turn in range(2000):
            names.append(f"size_{turn + 1}")
            model.graph.node.append(helper.make_node("Concat", [names[-2]] * 9, [names[-1]], axis=0))
        check(model)  # multiplied out, it would not end

    def test_nested_scopes_take_linear_time(self, model: onnx.ModelProto) -> None:
        def calls() -> int:
            seen: list[None] = []
            sys.setprofile(lambda *_: seen.append(None))
            try:
                check(model)
            finally:
                sys.setprofile(None)
            return len(seen)

        counts = [calls()]
        body = helper.make_graph([], "b", [], [])
        for turn in range(2):
            for index in range(500):
                model.graph.initializer.append(TensorProto(name=f"c{turn}-{index}", data_type=1))
                model.graph.node.append(helper.make_node("Scan", [], ["z"], body=body))
            counts.append(calls())
        none, once, twice = counts
        assert twice - none < 2.5 * (once - none)


class TestContract:
    @pytest.mark.parametrize("version", [0, 3, 6, 11, 2**40, -1])
    def test_another_ir_version(self, model: onnx.ModelProto, version: int) -> None:
        model.ir_version = version
        with pytest.raises(BundleGraphError, match="IR version"):
            check(model)

    @pytest.mark.parametrize("versions", [[], [16], [17, 17], [12], [22]])
    def test_another_opset(self, model: onnx.ModelProto, versions: list[int]) -> None:
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid("", version) for version in versions)
        with pytest.raises(BundleGraphError, match="opset"):
            check(model)
        if versions in ([12], [22]):
            with pytest.raises(BundleGraphError, match="opset 17"):
                check(model, opset=versions[0])

    @pytest.mark.parametrize(
        "change",
        [
            lambda graph: graph.input.pop(),
            lambda graph: graph.input.add(name="more"),
            lambda graph: graph.input.reverse(),
            lambda graph: graph.input[0].ClearField("type"),
            lambda graph: setattr(graph.input[0], "name", "Words"),
            lambda graph: setattr(graph.input[0].type.tensor_type, "elem_type", TensorProto.INT64),
            lambda graph: setattr(graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 8),
            lambda graph: graph.input[0].type.tensor_type.shape.dim.pop(),
            lambda graph: graph.input[0].type.tensor_type.ClearField("shape"),
            lambda graph: graph.output.pop(),
            lambda graph: graph.output.add(name="more"),
            lambda graph: setattr(graph.output[0], "name", "logits"),
            lambda graph: setattr(graph.output[0].type.tensor_type, "elem_type", TensorProto.DOUBLE),
            lambda graph: setattr(graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 3),
            lambda graph: setattr(graph.output[0].type.tensor_type.shape.dim[1], "dim_param", "classes"),
            lambda graph: setattr(graph.output[0].type.tensor_type.shape.dim[0], "dim_value", 1),
        ],
    )
    def test_unexpected_inputs_or_outputs(
        self, model: onnx.ModelProto, change: Callable[[onnx.GraphProto], None]
    ) -> None:
        change(model.graph)
        with pytest.raises(BundleGraphError, match=r"model\.onnx"):
            check(model)

    def test_no_graph(self, model: onnx.ModelProto) -> None:
        model.ClearField("graph")
        with pytest.raises(BundleGraphError, match="no graph"):
            check(model)

    @pytest.mark.parametrize(("name", "size"), [("words", 26), ("words", 28), ("pairs", 3), ("pairs", 5)])
    def test_table_of_wrong_size(self, model: onnx.ModelProto, name: str, size: int) -> None:
        with pytest.raises(BundleGraphError, match=f"looks {name} up in a table"):
            check(model, rows={**ROWS, name: size})

    def test_table_inside_a_scan_body(self) -> None:
        """A look-up in a Scan's body, at each step: the ids come in as the body's own input."""
        network = make_network(27, None, 2)
        model = onnx.load_from_string(to_onnx(network))
        body = helper.make_graph(
            [helper.make_node("Gather", ["words_table", "step"], ["row"])],
            "body",
            [helper.make_tensor_value_info("step", TensorProto.INT32, ["batch"])],
            [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["batch", 8])],
        )
        for node in list(model.graph.node):
            if node.op_type == "Gather":
                node.CopyFrom(
                    helper.make_node("Scan", [node.input[1]], node.output, body=body, num_scan_inputs=1)
                )
        onnx.checker.check_model(model, full_check=True)
        check(model, inputs=["words"], rows={"words": 27})
        with pytest.raises(BundleGraphError, match="table of 27 rows"):
            check(model, inputs=["words"], rows={"words": 28})

    def test_gather_axis_out_of_range(self, model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "Gather")
        node.attribute.append(helper.make_attribute("axis", 2))
        with pytest.raises(BundleGraphError, match="axis 2"):
            check(model)

    def test_input_that_is_also_a_constant(self, model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1), np.int32), "words"))
        with pytest.raises(BundleGraphError, match="also a constant"):
            check(model)

    def test_table_of_unknown_size_is_found_by_running(self, tmp_path: Path) -> None:
        path = make_bundle(tmp_path / "tiny")
        model = onnx.load(path / "model.onnx")
        node = next(node for node in model.graph.node if node.op_type == "Gather")
        model.graph.initializer.append(numpy_helper.from_array(np.array([0, 20], np.int64), "cut"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([8], np.int64), "eight"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "from"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([20], np.int64), "to"))
        place = list(model.graph.node).index(node)
        model.graph.node.insert(
            place, helper.make_node("Slice", [node.input[0], "from", "to", "from"], ["short"])
        )
        model.graph.node[place + 1].input[0] = "short"
        check(model)
        bundle = load_bundle(path)
        object.__setattr__(bundle, "model", model.SerializeToString())
        with pytest.raises(BundleGraphError, match="largest ids"):
            Session(bundle, "cpu")


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"PK\x03\x04", b"ONNX", b"\x08\x08", b"\xff" * 64, b"\x0a" * 64]
)
def test_non_onnx_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(BundleGraphError, match=r"model\.onnx"):
        check(data)


def test_every_truncation_is_rejected() -> None:
    data = to_onnx(make_network(27, 3, 2))
    for stop in range(0, len(data), 13):
        with pytest.raises(BundleGraphError):
            check(data[:stop])


FLIPS = """
import json, random, sys
sys.path[:0] = [{root!r}, {root!r} + "/train"]
import numpy as np
from dataclasses import replace
from sentstream.bundle import load_bundle
from sentstream.bundle.graph import check_graph
from sentstream.errors import BundleError
from sentstream.session import Session
from sentstream.text import Encoded

bundle = load_bundle({path!r})
draw = random.Random({seed})
rows = Encoded(np.array([0, 3, 4]), np.array([2, 3, 4, 5], np.int32), np.array([0, 1, 2, 3], np.int32))
seen = dict(refused=0, unopened=0, sound=0)
for turn in range({turns}):
    data = bytearray(bundle.model)
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(data))
        data[place] = draw.choice((data[place] ^ 1 << draw.randrange(8), draw.randrange(256), 0, 255))
    print(turn, file=sys.stderr, flush=True)
    try:
        check_graph(bytes(data), opset=17, inputs=["words", "pairs"], output="probabilities", classes=2,
                    rows={{"words": 27, "pairs": 4}})
    except BundleError:
        seen["refused"] += 1
        continue
    try:
        table = Session(replace(bundle, model=bytes(data)), "cpu").probabilities(rows)
        assert table.shape == (2, 2)
        seen["sound"] += 1
    except BundleError:
        seen["unopened"] += 1
print(json.dumps(seen))
"""


@pytest.mark.parametrize("turns", [400, pytest.param(cases(1000, 20_000), marks=pytest.mark.slow)])
def test_flipped_bytes_are_rejected_or_harmless(tmp_path: Path, turns: int) -> None:
    """Runs in a separate process, which may not crash: no signal, no hang, only BundleError."""
    path = make_bundle(tmp_path / "tiny")
    program = FLIPS.format(root=str(ROOT), path=str(path), seed=turns, turns=turns)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    seen = json.loads(run.stdout)
    assert sum(seen.values()) == turns
    assert seen["refused"] > turns / 20
    assert seen["sound"] > turns / 20


def test_every_architecture_has_only_allowed_operators() -> None:
    network: Network = make_network(9, None, 2)
    for one in (network, Network(Lookup(network.lookup.words), network.layers)):
        model = onnx.load_from_string(to_onnx(one))
        names = {node.op_type for node in model.graph.node} | {node.op_type for node in scan_body(model).node}
        assert names <= OPERATORS
