"""Says the same in plainer TensorFlow, for converters that know only a part of it. Runs in a process of its own.

TFLite has built-in operators for a part of TensorFlow's; the rest needs kernels of TensorFlow (Flex) that most runtimes
lack. Each spelling computes the same by operators that are there: a resize by products with matrices, a function by
exponentials, patches by a convolution. What it computes is checked on random values before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from convfault.relax.import_tensorflow import frozen_definition
from convfault.relax.tensorflow_half import widen

Spelled = Callable[[Any], Any]
"""The plainer computation, from the operator's first input."""

CLOSE = 1e-5
"""How far a spelling may be off, relative to the largest value."""

RESIZES = frozenset({"ResizeBicubic", "ResizeArea", "ScaleAndTranslate", "ResizeBilinear", "ResizeNearestNeighbor"})


def run(path: str, out: str, words: list[str]) -> list[str]:
    """Job: write the SavedModel at ``path`` to ``out`` with the ``SPELLINGS`` of these words; those that did something.

    Only the serving signature is written, its variables as constants.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    function = loaded.signatures.get("serving_default") or next(iter(loaded.signatures.values()))
    definition = frozen_definition(function)
    done = []
    for word in words:
        if SPELLINGS[word](definition):
            done.append(word)
    if done:
        _save(definition, function, out)
    return done


def _each(spellings: Mapping[str, Callable[[Any], Spelled | None]]) -> Callable[[Any], bool]:
    """Spells every operator of these types so, where that gives the same; whether there was one."""

    def rewrite(definition: Any) -> bool:
        changed = False
        for node in [each for each in definition.node if each.op in spellings]:
            changed |= _replaced(definition, node, spellings[node.op])
        return changed

    return rewrite


def _replaced(definition: Any, node: Any, spell: Callable[[Any], Spelled | None]) -> bool:
    """Compute ``node`` by plainer operators, where they give the same."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    operation = graph.get_operation_by_name(node.name)
    try:
        spelled = spell(operation)
        if spelled is None or not _gives_the_same(operation, spelled):
            return False
    except ValueError:
        return False
    spec = tf.TensorSpec(operation.inputs[0].shape, operation.inputs[0].dtype, name="x")
    small = tf.function(spelled, autograph=False).get_concrete_function(spec)
    _splice(definition, node, frozen_definition(small), small.outputs[0].name)
    return True


def _gives_the_same(operation: Any, spelled: Spelled) -> bool:
    """Whether both compute the same of random values."""
    import tensorflow as tf

    given = operation.inputs[0]
    if not given.dtype.is_floating or given.shape.rank is None:
        return False
    values = np.random.default_rng(0).uniform(-0.9, 0.9, [side or 2 for side in given.shape]).astype(np.float32)
    if operation.type == "Acosh":
        values = values + 2
    expected, found = np.asarray(as_it_is(operation)(values)), np.asarray(spelled(tf.constant(values)))
    size = max(float(np.abs(expected).max(initial=0.0)), 1e-12)
    return expected.shape == found.shape and float(np.abs(expected - found).max(initial=0.0)) <= CLOSE * size


def as_it_is(operation: Any) -> Spelled:
    """The operator itself, of its first input; what else it reads must not depend on the pictures."""
    import tensorflow as tf

    others = _settings(operation)
    definition = tf.compat.v1.GraphDef()
    node = definition.node.add()
    node.CopyFrom(operation.node_def)
    names = [f"given_{number}" for number in range(len(operation.inputs))]
    del node.input[:]
    node.input.extend(names)
    for name, tensor in zip(names, operation.inputs, strict=True):
        place = definition.node.add(name=name, op="Placeholder")
        place.attr["dtype"].type = tensor.dtype.as_datatype_enum

    def call(values: Any) -> Any:
        given = dict(zip(names, [tf.convert_to_tensor(values), *map(tf.constant, others)], strict=True))
        return tf.graph_util.import_graph_def(
            definition, {f"{name}:0": value for name, value in given.items()}, [f"{node.name}:0"], name=""
        )[0]

    return tf.function(call, autograph=False)  # type: ignore[no-any-return]


def _settings(operation: Any) -> list[Any]:
    """The values of all but the first input; raises ``ValueError`` where they depend on what the model is given."""
    import tensorflow as tf

    graph, wanted = operation.graph, list(operation.inputs[1:])
    places = [each.outputs[0] for each in graph.get_operations() if each.type == "Placeholder"]
    found = []
    for count in (1, 2):
        random = np.random.default_rng(count)
        given = {
            place: random.uniform(0, 100 * count, [side or count for side in place.shape]).astype(
                place.dtype.as_numpy_dtype
            )
            for place in places
            if place.shape.rank is not None
        }
        with tf.compat.v1.Session(graph=graph) as session:
            found.append(session.run(wanted, given) if wanted else [])
    if any(not np.array_equal(a, b) for a, b in zip(*found, strict=True)):
        raise ValueError(f"{operation.name} reads more than one computed value")
    return list(found[0])


def _splice(definition: Any, node: Any, small: Any, output: str) -> None:
    """Put the nodes of a function of one input in the place of ``node``, under names that begin with its own."""
    prefix = f"{node.name}/plain/"
    kept = {each.name for each in small.node if each.op != "Placeholder"}
    source = node.input[0]
    for each in small.node:
        if each.name not in kept:
            continue
        copy = definition.node.add()
        copy.CopyFrom(each)
        copy.name = prefix + each.name
        del copy.input[:]
        copy.input.extend(_renamed(name, kept, prefix, source) for name in each.input)
    kind = node.attr["T"].type
    for each in small.node:  # what it gives is float32, whatever it was given
        kind = each.attr["T"].type if each.name == output.partition(":")[0] and "T" in each.attr else kind
    node.op = "Identity"
    del node.input[:]
    node.input.append(prefix + output)
    node.attr.clear()
    node.attr["T"].type = kind


def _renamed(name: str, kept: set[str], prefix: str, source: str) -> str:
    sign, bare = ("^", name[1:]) if name.startswith("^") else ("", name)
    return f"{sign}{prefix}{bare}" if bare.partition(":")[0] in kept else source


def _save(definition: Any, function: Any, out: str) -> None:
    """A SavedModel of a graph, with the inputs and outputs that the function's signature has."""
    import tensorflow as tf

    captured = {inner.name for _, inner in function.graph.captures}
    tensors = [tensor for tensor in function.inputs if tensor.name not in captured]
    keys = sorted(
        function.structured_input_signature[1]
    )  # a signature's inputs and outputs stand in their names' order
    order = dict(zip(sorted(function.structured_outputs), (each.name for each in function.outputs), strict=True))

    types = {node.name: node.attr["dtype"].type for node in definition.node if node.op == "Placeholder"}
    wanted = [each.dtype for each in function.outputs]

    def serve(**given: Any) -> dict[str, Any]:
        table = {
            tensor.name: tf.cast(given[key], types.get(tensor.op.name, tensor.dtype))
            for tensor, key in zip(tensors, keys, strict=True)
        }
        found = tf.graph_util.import_graph_def(definition, table, list(order.values()), name="")
        return dict(zip(order, map(tf.cast, found, wanted), strict=True))

    made = tf.function(serve, autograph=False).get_concrete_function(
        **{key: tf.TensorSpec(tensor.shape, tensor.dtype, name=key) for tensor, key in zip(tensors, keys, strict=True)}
    )
    module = tf.Module()
    tf.saved_model.save(module, out, signatures={"serving_default": made})


def resized(operation: Any) -> Spelled | None:
    """Products with one matrix for the rows and one for the columns, read off the operator's answers to lines."""
    import tensorflow as tf

    _, height, width, depth = operation.inputs[0].shape
    if None in (height, width, depth):
        return None
    call = as_it_is(operation)
    flat = np.asarray(call(np.ones((1, height, width, 1), np.float32)))[0, :, :, 0]
    if np.abs(flat).max() == 0:
        return None
    matrices = []
    for axis, side in enumerate((height, width)):
        lines = np.zeros((side, height, width, 1), np.float32)
        for place in range(side):
            np.moveaxis(lines[place], axis, 0)[place] = 1.0
        answers = np.asarray(call(lines))[..., 0]  # of line i: column i of the matrix, along the axis
        matrices.append(answers[:, :, flat.shape[1] // 2].T if axis == 0 else answers[:, flat.shape[0] // 2, :].T)
    rows, columns = (np.ascontiguousarray(matrix, np.float32) for matrix in matrices)
    size = (rows.shape[0], columns.shape[0])

    def spelled(pictures: Any) -> Any:
        high = tf.matmul(rows[None], tf.reshape(pictures, (-1, height, width * depth)))
        wide = tf.matmul(columns[None], tf.reshape(high, (-1, width, depth)))
        return tf.reshape(wide, (-1, *size, depth))

    return spelled


def patches(operation: Any) -> Spelled | None:
    """A convolution with one kernel of a single one for each pixel and channel of a patch."""
    import tensorflow as tf

    (_, height, width, _), (_, *strides, _), (_, *rates, _) = (
        operation.get_attr(name) for name in ("ksizes", "strides", "rates")
    )
    depth = operation.inputs[0].shape[-1]
    padding = operation.get_attr("padding").decode()
    if depth is None:
        return None
    kernel = np.eye(height * width * depth, dtype=np.float32).reshape(height, width, depth, -1)
    return lambda pictures: tf.nn.conv2d(pictures, kernel, strides, padding, dilations=rates)


def _functions() -> Iterator[tuple[str, Spelled]]:
    """Functions of one number by those that TFLite has."""
    import tensorflow as tf

    math = tf.math
    yield "Sinh", lambda x: (tf.exp(x) - tf.exp(-x)) * 0.5
    yield "Cosh", lambda x: (tf.exp(x) + tf.exp(-x)) * 0.5
    yield "Tan", lambda x: tf.sin(x) / tf.cos(x)
    yield "Asinh", lambda x: tf.sign(x) * tf.math.log(tf.abs(x) + tf.sqrt(x * x + 1.0))
    yield "Acosh", lambda x: tf.math.log(x + tf.sqrt(x * x - 1.0))
    yield "Atanh", lambda x: 0.5 * tf.math.log((1.0 + x) / (1.0 - x))
    yield "Atan", lambda x: math.atan2(x, tf.ones_like(x))
    yield "Asin", lambda x: math.atan2(x, tf.sqrt((1.0 - x) * (1.0 + x)))
    yield "Acos", lambda x: math.atan2(tf.sqrt((1.0 - x) * (1.0 + x)), x)
    yield "Erf", _error_function
    yield "Erfc", lambda x: 1.0 - _error_function(x)


def _error_function(x: Any) -> Any:
    """Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by 1.5e-7 at most."""
    import tensorflow as tf

    near = 1.0 / (1.0 + 0.3275911 * tf.abs(x))
    series = near * (
        0.254829592 + near * (-0.284496736 + near * (1.421413741 + near * (-1.453152027 + near * 1.061405429)))
    )
    return tf.sign(x) * (1.0 - series * tf.exp(-x * x))


def _function(operation: Any) -> Spelled | None:
    return dict(_functions()).get(operation.type)


FUNCTIONS = ("Sinh", "Cosh", "Tan", "Asinh", "Acosh", "Atanh", "Atan", "Asin", "Acos", "Erf", "Erfc")
SINGLE = "computing in float32"
SPELLINGS: Mapping[str, Callable[[Any], bool]] = {
    SINGLE: lambda definition: widen(definition) is not None,  # Keras' ``mixed_float16`` and the like
    "resizes as products with matrices": _each(dict.fromkeys(sorted(RESIZES), resized)),
    "patches by a convolution": _each({"ExtractImagePatches": patches}),
    "functions by simpler ones": _each(dict.fromkeys(FUNCTIONS, _function)),
}
"""Words for what is done, and what does it to a GraphDef in place; it tells whether it did something."""

TRIALS: Sequence[Sequence[str]] = (*((word,) for word in SPELLINGS), tuple(SPELLINGS))
"""What is tried: one alone leaves the most as it was."""
