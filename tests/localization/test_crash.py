"""Crashes: what a tool's message blames, and the smallest model that still fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from convfault.cache import Cache
from convfault.converters import route as routes
from convfault.localization import faults
from convfault.localization.knowledge import about
from convfault.localization.tool import crash, message, reduction, shrink
from convfault.localization.tool.crash import Failure
from convfault.localization.tool.shrink import Shrunk
from convfault.model import Model
from convfault.preprocessing import Preprocessing

NODE_BEFORE = 'File "/x/site-packages/onnx2torch/node_converters/conv.py", line 29, in _\n'
MESSAGES = [
    (
        "NotImplementedError: Converter is not implemented (OperationDescription(domain='', "
        "operation_type='ReduceMean', version=18))",
        ("unsupported_operator", "ReduceMean", "18", "", ""),
    ),
    (
        'NotImplementedError: "SAME_UPPER" auto_pad is not implemented',
        ("unsupported_attribute", "", "", "", "auto_pad=SAME_UPPER"),
    ),
    (
        "NotImplementedError: AvgPool with non symmetrical padding is not implemented.",
        ("unsupported_attribute", "AvgPool", "", "", "non symmetrical padding"),
    ),
    (f"KeyError: 'onnx::Conv_542'\n{NODE_BEFORE}", ("missing_tensor", "Conv", "", "onnx::Conv_542", "")),
    (
        f"NotImplementedError: Dynamic bounds\n{NODE_BEFORE.replace('conv.py', 'clip.py')}    bound = found['x']\n"
        "KeyError: 'x'\nThe above exception was the direct cause of the following exception:\n"
        f"{NODE_BEFORE.replace('conv.py', 'clip.py')}    raise NotImplementedError('Dynamic bounds') from exc\n",
        ("unsupported_attribute", "Clip", "", "", ""),
    ),
    (
        "Exception: Unimplemented nodes\n │  relu[torch](a)\nUnimplemented nodes:\nReplay[x](a)\n │   I  File \"x\"\n"
        " │  channel_shuffle[torch.nn.functional](a, 2) -> b",
        ("unsupported_operator", "channel_shuffle", "", "", ""),
    ),
    ("Exception: Unimplemented nodes", ("tool_crash", "", "", "", "")),
    ("KeyError: 'axes'", ("unsupported_operator", "", "", "", "axes")),
    (
        'ConverterError: <unknown>:0: error: loc(callsite(fused["ResizeBicubic:", "up/resize/ResizeBicubic@__inf_1"] '
        "at x)): 'tf.ResizeBicubic' op is neither a custom op nor a flex op",
        ("unsupported_operator", "ResizeBicubic", "", "up/resize/ResizeBicubic", ""),
    ),
    *(
        (
            "error: 'tf.Conv2D' op is neither a custom op nor a flex op\n"
            f'%24 = "tf.Conv2D"(%23, %0) <{{dilations = [1, 1]}}> {{}} : (tensor<?x8x8x3x{kind}>, tensor<3x{kind}>)',
            (cause, "Conv2D", "", "", attribute),
        )
        for kind, cause, attribute in (
            ("f16", "unsupported_type", "float16"),
            ("f32", "unsupported_operator", ""),
        )
    ),
    (
        "error: failed to legalize operation 'tfl.fully_connected' that was explicitly marked illegal",
        ("unsupported_operator", "tfl.fully_connected", "", "", ""),
    ),
    (
        "DispatchError: No ONNX function found for <OpOverload(op='aten.linalg_matrix_exp', overload='default')>.",
        ("unsupported_operator", "aten.linalg_matrix_exp", "", "", ""),
    ),
    (
        "UnsupportedOperatorError: Exporting the operator 'aten::fft_fft2' to ONNX opset version 17 is not supported",
        ("unsupported_operator", "aten::fft_fft2", "", "", ""),
    ),
    (
        "ValueError: Tensorflow op [model/x: Betainc] is not supported",
        ("unsupported_operator", "Betainc", "", "model/x", ""),
    ),
    (
        "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Det(11) node with name 'det'",
        ("unsupported_operator", "Det", "11", "det", ""),
    ),
    (
        "Fatal error: tf.StatefulPartitionedCall: PartitionedCall(-1) is not a registered function/op",
        ("unsupported_operator", "PartitionedCall", "-1", "", ""),
    ),
    (
        "ValueError: Didn't find op for builtin opcode 'STABLEHLO_SORT' version '1'. An older version of this builtin",
        ("unsupported_operator", "STABLEHLO_SORT", "1", "", ""),
    ),
    (
        "RuntimeError: kernels/slice.cc:157 output_shape_vector[idx] (8 != 1)Node number 40 (SLICE) failed to invoke.",
        ("bad_shape", "SLICE", "", "40", ""),
    ),
    (
        "Exception: Failed conversion: <built-in method conv_transpose2d of type object at 0x7f74024cea40>",
        ("unsupported_operator", "conv_transpose2d", "", "", ""),
    ),
    ("NotImplementedError: Unsupported TFLite OP 77 SHAPE", ("unsupported_operator", "SHAPE", "", "", "")),
    ("error: unpack_from requires a buffer of at least 1815649086 bytes", ("outside_file", "", "", "", "")),
    ("TypeError: bad number -230933 for type uint32.", ("outside_file", "", "", "", "")),
    (
        "ValueError: '/conv1/Conv_output_0_pad/' is not a valid root scope name.",
        ("bad_name", "", "", "/conv1/Conv_output_0_pad/", "name"),
    ),
    (
        "ValueError: Requested the deserialization of a Lambda layer with a Python `lambda` inside it.",
        ("code_in_file", "Lambda", "", "", ""),
    ),
    (
        "ValueError: operands could not be broadcast together with shapes (16,8,1,5) (1,16,1,1)",
        ("bad_shape", "", "", "", ""),
    ),
    (
        "ValueError: Layer fc weight shape (1280, 50) is not compatible with provided weight shape (50, 1280).",
        ("bad_shape", "", "", "", ""),
    ),
    ("RuntimeError: something went wrong", ("tool_crash", "", "", "", "")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), MESSAGES)
def test_messages_of_tools_are_read(text: str, wanted: tuple[str, ...]) -> None:
    first, _, rest = text.partition("\n")
    found = message.read(first, rest)
    assert (found.cause, found.operator, found.version, found.node, found.attribute) == wanted


@settings(deadline=None)
@given(some.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    assert message.read(text, text).cause in crash.CAUSES


def test_the_innermost_place_of_the_tool_is_the_stage() -> None:
    log = (
        'File "/a/convfault/child.py", line 63, in _ended\n'
        'File "/a/site-packages/onnx2torch/converter.py", line 110, in convert\n' + NODE_BEFORE
    )
    assert message.read("KeyError: 'x'", log).stage == "onnx2torch/node_converters/conv.py, _"


GATHER = 'File "/a/site-packages/onnx2keras/reshape_layers.py", line 87, in convert_gather\n'


@pytest.mark.parametrize(
    ("line", "wanted"), [("raise AttributeError('no')", "unsupported_attribute"), ("x = y.name", "tool_crash")]
)
def test_a_translation_that_gives_up_knows_the_operator_but_not_this_use_of_it(line: str, wanted: str) -> None:
    found = message.read("AttributeError: no", f"{GATHER}    {line}\n")
    assert (found.cause, found.operator) == (wanted, "Gather")
    failure = Failure(record(message="AttributeError: no", log=f"{GATHER}    {line}\n"))
    suspect = crash.explain(failure)
    assert suspect.kind == "tool"
    assert "it says 'AttributeError: no'" in suspect.explanation


def record(**changes: Any) -> dict[str, Any]:
    base = {"from": "onnx", "to": "torch", "tool": "onnx2torch", "tool_version": "1.5.15", "status": "error"}
    return {**base, "message": MESSAGES[0][0], "log": "", "options": {}, **changes}


def test_a_crash_is_explained_with_operator_and_version() -> None:
    suspect = crash.explain(Failure(record()), alternatives=("onnx>tf:onnx2tf",))
    assert (suspect.kind, suspect.cause) == ("tool", "unsupported_operator")
    assert "ReduceMean-18" in suspect.explanation
    assert "onnx>tf:onnx2tf" in suspect.suggestion
    assert suspect.evidence["operator"] == "ReduceMean"
    assert suspect.edit is None


def test_time_and_memory_are_resources_and_an_unreadable_target_is_told() -> None:
    assert crash.explain(Failure(record(status="timeout"))).cause == "resources"
    assert crash.explain(Failure(record(status="memory"))).cause == "resources"
    unreadable = Failure(record(status="ok"), "PartitionedCall(-1) is not a registered function/op")
    suspect = crash.explain(unreadable)
    assert suspect.cause == "unreadable_target"
    assert "PartitionedCall" in suspect.explanation


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (MESSAGES[0][0], "tool"),
        ('NotImplementedError: "SAME_UPPER" auto_pad is not implemented', "hyperparameters"),
        ("KeyError: 'onnx::Conv_542'", "graph"),
        ("KeyError: 'axes'", "tool"),  # an attribute that ReduceMean has as an input now
        ("RuntimeError: something went wrong", "tool"),
    ],
)
def test_a_crash_is_of_the_kind_that_it_is_about(text: str, kind: str) -> None:
    suspect = crash.explain(Failure(record(message=text)))
    assert suspect.kind == kind
    assert about([faults.alone(suspect)])[kind][suspect.cause]["repair"]


def test_an_operator_that_happens_to_be_left_is_not_blamed_for_a_name(tmp_path: Path) -> None:
    smallest = Shrunk(Model("smallest.onnx", "onnx"), (("Flatten", "/flat"),), 9, 6)
    failure = Failure(record(message="ValueError: '/conv1/pad/' is not a valid root scope name."))
    suspect = crash.explain(failure, smallest)
    assert (suspect.attribute, suspect.source_location) == ("name", "/conv1/pad/")
    blamed = crash.explain(Failure(record(message="RuntimeError: something went wrong")), smallest)
    assert blamed.source_location == "/flat"


def test_a_target_that_its_runtime_cannot_read_is_a_matter_of_the_graph() -> None:
    assert (
        crash.explain(Failure(record(status="ok"), "PartitionedCall(-1) is not a registered function/op")).kind
        == "graph"
    )


def test_every_cause_has_its_text() -> None:
    assert {cause for cause, _ in message.PATTERNS} <= set(crash.CAUSES)


@settings(max_examples=100, deadline=None)
@given(size=some.integers(1, 200), data=some.data())
def test_what_is_needed_is_all_that_is_left(size: int, data: some.DataObject) -> None:
    needed = data.draw(some.sets(some.integers(0, size - 1), min_size=1, max_size=3))
    tried: list[tuple[int, ...]] = []

    def fails(kept: tuple[int, ...]) -> bool:
        tried.append(kept)
        return needed <= set(kept)

    assert set(reduction.smallest(size, fails)) == needed
    assert len(tried) <= 20 * len(needed) * (int(np.log2(size)) + 2)


def test_a_right_guess_is_all_that_is_tried() -> None:
    tried: list[tuple[int, ...]] = []

    def fails(kept: tuple[int, ...]) -> bool:
        tried.append(kept)
        return 57 in kept

    assert reduction.smallest(100, fails, [(57,)]) == (57,)
    assert tried == [(57,)]


def chain(folder: Path, culprit: str) -> Model:
    """Six convolutions, then ``ReduceMean-18``, ``identity`` (a weight behind an Identity) or what is ``sound``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    arrays = {f"w{i}": random.standard_normal((3, 3, 3, 3)).astype(np.float32) for i in range(7)}
    arrays["axes"] = np.asarray([2, 3], np.int64)
    nodes, current = [], "x"
    for i in range(6):
        nodes += [helper.make_node("Conv", [current, f"w{i}"], [f"c{i}"], name=f"conv{i}", pads=[1] * 4)]
        nodes += [helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}")]
        current = f"r{i}"
    shape = [1, 3, 8, 8]
    if culprit == "ReduceMean-18":
        nodes += [helper.make_node("ReduceMean", [current, "axes"], ["y"], name="pool")]
        shape = [1, 3, 1, 1]
    elif culprit == "identity":
        nodes += [helper.make_node("Identity", ["w6"], ["w7"], name="same")]
        nodes += [helper.make_node("Conv", [current, "w7"], ["y"], name="last", pads=[1] * 4)]
    else:
        nodes += [helper.make_node("Relu", [current], ["y"], name="last")]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = folder / "chain.onnx"
    onnx.save(model, path)
    return Model(str(path), "onnx", preprocessing=Preprocessing(size=(8, 8), layout="NCHW"))


@pytest.mark.parametrize(
    ("culprit", "nodes"),
    [
        ("ReduceMean-18", (("ReduceMean", "pool"),)),
        ("identity", (("Identity", "same"), ("Conv", "last"))),
    ],
)
def test_a_model_that_crashes_its_converter_is_shrunk(
    tmp_path: Path, culprit: str, nodes: tuple[tuple[str, str], ...]
) -> None:
    import onnx

    (tmp_path / "out").mkdir()
    (hop,) = routes.parse("onnx>torch:onnx2torch").hops
    found = shrink.shrink(hop, chain(tmp_path, culprit), tmp_path / "out", Cache(tmp_path / "cache"))
    assert found is not None
    assert found.nodes == nodes
    assert len(onnx.load(found.model.path).graph.node) == len(nodes)
    assert str(found).startswith(f"smallest: {len(nodes)} of ")
    suspect = crash.explain(
        Failure(record(message="KeyError: 'w7'" if culprit == "identity" else MESSAGES[0][0])), found
    )
    assert suspect.source_location == nodes[-1][1]


def test_a_model_that_converts_is_not_shrunk(tmp_path: Path) -> None:
    (hop,) = routes.parse("onnx>torch:onnx2torch").hops
    assert shrink.shrink(hop, chain(tmp_path, "sound"), tmp_path, Cache(tmp_path / "cache")) is None


def leaving_as_it_was(source: Model, target: str, options: Any) -> None:
    """A converter that ends well and leaves one operator as no runtime knows it."""
    import onnx

    model = onnx.load(source.path)
    for node in model.graph.node:
        if node.op_type == "ReduceMean":
            node.op_type = "LeftAsItWas"
    onnx.save(model, target)


@pytest.mark.parametrize(("culprit", "nodes"), [("ReduceMean-18", [["ReduceMean", "pool"]]), ("sound", None)])
def test_a_model_whose_target_cannot_be_opened_is_shrunk(tmp_path: Path, culprit: str, nodes: Any) -> None:
    plan = {"folder": str(tmp_path), "hints": [], "seconds": 60, "trials": 40, "isolated": False}
    plan |= {"filename": "model.onnx", "format": "onnx", "runtime": "onnx", "python": sys.executable, "environment": {}}
    convert = "tests.localization.test_crash:leaving_as_it_was"
    found = reduction.run(convert, chain(tmp_path, culprit).to_record(), {}, plan)
    assert (found and [list(node) for node in found["nodes"]]) == nodes


def test_an_operator_of_the_file_goes_before_the_name_of_the_tools_code() -> None:
    failure = Failure(record(message="ValueError: no", log=f"{GATHER}    x = y.name\n"))
    shrunk = Shrunk(Model("smallest.onnx", "onnx"), (("Take", "node"),), 30, 5)
    assert crash.explain(failure, shrunk).evidence["operator"] == "Take"
    assert crash.explain(failure).evidence["operator"] == "Gather"
