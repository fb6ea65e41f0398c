"""Cells that fail for one reason read as one line; those that fail for another do not join them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from convfault.matrix.causes import KNOWN, LENGTH, cause

SAME = [
    (
        "NotImplementedError: Converter is not implemented "
        "(OperationDescription(domain='', operation_type='ReduceMean', version=18))",
        "onnx2torch: ReduceMean-18 not implemented",
    ),
    ("error: 'tf.Roll' op is neither a custom op nor a flex op", "onnx2torch: tf.Roll not supported"),
    (
        'NotImplementedError: "SAME_UPPER" auto_pad is not implemented',
        "onnx2torch: auto_pad SAME_UPPER not implemented",
    ),
    ("ValueError: '/conv1/Conv_output_0_pad/' is not a valid root scope name", None),
    ("KeyError: 'axes'", "onnx2torch: KeyError: 'axes'"),
    ("KeyError: 'min'", "onnx2torch: KeyError: 'min'"),
    (
        "'Sequential' object has no attribute 'output_names'",
        "onnx2torch: 'Sequential' object has no attribute 'output_names'",
    ),
    (
        "Requested the deserialization of a Lambda layer with a Python `lambda` inside it. This carries a risk",
        "onnx2torch: Lambda layer cannot be read back",
    ),
    (
        "tflite_converter: killed by SIGABRT (terminate called after throwing at 0x7f3a)",
        "onnx2torch: killed by SIGABRT",
    ),
    ("onnx2torch (onnx to torch): ended with exit code 7 (giving up at line 88)", "onnx2torch: ended with exit code 7"),
]

GROUPED = [
    ("KeyError: 'features.3.expand1x1.bias'", "KeyError: 'onnx::Conv_542'"),
    (
        "'/conv1/Conv_output_0_pad/' is not a valid root scope name",
        "'/features/4/Clip_pad/' is not a valid root scope name",
    ),
    (
        "operands could not be broadcast together with shapes (16,8,1,5) (1,16,1,1)",
        "operands could not be broadcast together with shapes (4,2) (3,)",
    ),
    (
        "bias tensor of node_Conv_649 has a wrong shape after BN folding",
        "bias tensor of node_Conv_12 has a wrong shape after BN folding",
    ),
    (
        "unpack_from requires a buffer of at least 1815649086 bytes",
        "unpack_from requires a buffer of at least 12 bytes",
    ),
    ("<Layer object at 0x7f00aa> has no shape", "<Layer object at 0x55aa00> has no shape"),
    ("cannot open /tmp/x1/model.onnx: truncated", "cannot open /home/me/y/model.onnx: truncated"),
    ("[1,3,3,58] and [1,30,30,58] not broadcastable", "[1,7,7,3] and [1,5,5,3] not broadcastable"),
    (
        "INVALID_GRAPH: node PartitionedCall/StatefulPartitionedCall has no type",
        "INVALID_GRAPH: node model/block_2/expand has no type",
    ),
]

APART = [
    ("KeyError: 'min'", "KeyError: 'axes'"),
    (
        "(OperationDescription(domain='', operation_type='ReduceMean', version=18))",
        "(OperationDescription(domain='', operation_type='ReduceMean', version=13))",
    ),
    (
        "(OperationDescription(domain='', operation_type='ReduceMean', version=18))",
        "(OperationDescription(domain='', operation_type='Resize', version=18))",
    ),
    ("killed by SIGSEGV", "killed by SIGABRT"),
    ('"SAME_UPPER" auto_pad is not implemented', '"SAME_LOWER" auto_pad is not implemented'),
    ("ValueError: bad shape", "TypeError: bad shape"),
]


@pytest.mark.parametrize(("message", "text"), SAME)
def test_a_message_becomes_its_cause(message: str, text: str | None) -> None:
    assert cause("onnx2torch", message) == (text or "onnx2torch: ValueError: '…' is not a valid root scope name")


def test_every_known_form_of_a_message_has_an_example_here() -> None:
    """A form without one is a form that nobody can say the message of."""
    unused = [pattern.pattern for pattern, _ in KNOWN if not any(pattern.search(message) for message, _ in SAME)]
    assert not unused


@pytest.mark.parametrize(("one", "other"), GROUPED)
def test_messages_that_differ_in_names_numbers_or_places_have_one_cause(one: str, other: str) -> None:
    assert cause("tool", one) == cause("tool", other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_messages_of_two_causes_stay_apart(one: str, other: str) -> None:
    assert cause("tool", one) != cause("tool", other)


def test_the_same_message_of_two_tools_has_two_causes() -> None:
    assert cause("tf2onnx", "KeyError: 'axes'") != cause("onnx2keras", "KeyError: 'axes'")


@given(some.text(max_size=2000))
def test_a_cause_is_one_short_line_whatever_the_message(message: str) -> None:
    found = cause("tool", message)
    assert found.startswith("tool: ")
    assert len(found) <= LENGTH + len("tool: ")
    assert len(found.splitlines()) == 1
