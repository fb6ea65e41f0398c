"""Runs model files in their own runtimes, for the planter to see that a planted fault matters."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = list[np.ndarray]


def _pictures(shape: tuple[int, ...], count: int, seed: int) -> np.ndarray:
    """Noise with a coarse pattern and a cast of colour: pictures that differ, around zero, of size one."""
    rng = np.random.default_rng(seed)
    size = (count, *shape[1:])
    values = rng.standard_normal(size)
    if len(size) == 4:
        values += 1.5 * rng.standard_normal((count, *(size[axis] if size[axis] < 8 else 1 for axis in (1, 2, 3))))
        fade = np.linspace(-1, 1, max(size[1:]))
        for axis in (1, 2, 3):
            if size[axis] >= 8:
                line = np.interp(np.linspace(0, 1, size[axis]), np.linspace(0, 1, fade.size), fade)
                values += line.reshape([-1 if each == axis else 1 for each in range(4)]) * rng.standard_normal(
                    (count, 1, 1, 1)
                )
    return values.astype(np.float32)


def samples(path: Path, count: int = 2, seed: int = 0) -> np.ndarray:
    """Float32 inputs of the shape that the model declares."""
    shape = SHAPES[format_of(path)](path)
    return _pictures(tuple(int(size) if size and int(size) > 0 else 1 for size in shape), count, seed)


def format_of(path: Path) -> str:
    """``tflite``, ``onnx``, ``keras``, ``tensorflow`` or ``torch``, by the file's name."""
    by_suffix = {".tflite": "tflite", ".onnx": "onnx", ".keras": "keras", ".pb": "tensorflow", ".pt2": "torch"}
    return "tensorflow" if path.is_dir() else by_suffix[path.suffix]


def run(path: Path, pictures: np.ndarray) -> Arrays:
    """The model's outputs on ``pictures``, in the file's order, picture by picture."""
    outputs = RUNNERS[format_of(path)](path, pictures)
    return [np.asarray(each, np.float32) for each in outputs]


def _tflite(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _shape_tflite(path: Path) -> tuple[int, ...]:
    return tuple(_tflite(path).get_input_details()[0]["shape"])


def _run_tflite(path: Path, pictures: np.ndarray) -> Arrays:
    interpreter = _tflite(path)
    entry, rows = interpreter.get_input_details()[0], []
    for picture in pictures:
        value = picture[None]
        if entry["dtype"] != np.float32:
            scale, zero = entry["quantization"]
            limits = np.iinfo(entry["dtype"])
            value = np.clip(np.round(value / scale) + zero, limits.min, limits.max).astype(entry["dtype"])
        interpreter.set_tensor(entry["index"], value)
        interpreter.invoke()
        rows.append([interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()])
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _onnx(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _shape_onnx(path: Path) -> tuple[Any, ...]:
    shape = _onnx(path).get_inputs()[0].shape
    return tuple(size if isinstance(size, int) else 1 for size in shape)


def _run_onnx(path: Path, pictures: np.ndarray) -> Arrays:
    session = _onnx(path)
    entry = session.get_inputs()[0]
    fixed = entry.shape[0] == 1
    batches = [pictures[row : row + 1] for row in range(len(pictures))] if fixed else [pictures]
    rows = [session.run(None, {entry.name: batch}) for batch in batches]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _torch(path: Path) -> Any:
    import torch

    return torch.export.load(path)


def _shape_torch(path: Path) -> tuple[Any, ...]:
    return _shape_of_program(_torch(path))


def _shape_of_program(program: Any) -> tuple[Any, ...]:
    name = program.graph_signature.user_inputs[0]
    node = next(each for each in program.graph.nodes if each.name == name)
    return tuple(size if isinstance(size, int) else 0 for size in node.meta["val"].shape)


def _run_torch(path: Path, pictures: np.ndarray) -> Arrays:
    import torch

    torch.manual_seed(0)
    program = _torch(path)
    fixed = _shape_of_program(program)[0] == 1
    module = program.module()
    batches = [pictures[row : row + 1] for row in range(len(pictures))] if fixed else [pictures]
    rows = []
    with torch.no_grad():
        for batch in batches:
            answer = module(torch.from_numpy(batch))
            rows.append([each.numpy() for each in (answer if isinstance(answer, list | tuple) else [answer])])
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _keras(path: Path) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    return keras.saving.load_model(path, compile=False)


def _shape_keras(path: Path) -> tuple[Any, ...]:
    return tuple(size or 0 for size in _keras(path).inputs[0].shape)


def _run_keras(path: Path, pictures: np.ndarray) -> Arrays:
    answer = _keras(path)(pictures, training=False)
    return [np.asarray(each) for each in (answer if isinstance(answer, list | tuple) else [answer])]


def frozen(path: Path) -> Any:
    """The GraphDef of a frozen ``.pb``, or a SavedModel's own function with its variables made constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    if path.is_dir():
        loaded = tf.saved_model.load(str(path))
        function = loaded.signatures["serving_default"]
        return convert_variables_to_constants_v2(function).graph.as_graph_def()
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(path.read_bytes())
    return graph


def terminals(graph: Any) -> tuple[list[str], list[str]]:
    """Names of a GraphDef's placeholders, and of the nodes that nobody reads."""
    read = {each.split(":")[0].lstrip("^") for node in graph.node for each in node.input}
    ends = [
        node.name for node in graph.node if node.name not in read and node.op not in ("Const", "NoOp", "Placeholder")
    ]
    return [node.name for node in graph.node if node.op == "Placeholder"], ends


def _shape_tensorflow(path: Path) -> tuple[int, ...]:
    graph = frozen(path)
    entry = next(node for node in graph.node if node.op == "Placeholder")
    return tuple(max(0, each.size) for each in entry.attr["shape"].shape.dim)


def _run_tensorflow(path: Path, pictures: np.ndarray) -> Arrays:
    import tensorflow as tf

    if path.is_dir():
        function = tf.saved_model.load(str(path)).signatures["serving_default"]
        (name,) = function.structured_input_signature[1]
        answer = function(**{name: tf.constant(pictures)})
        return [answer[key].numpy() for key in sorted(answer)]
    graph = frozen(path)
    entries, ends = terminals(graph)

    def load() -> None:
        tf.import_graph_def(graph, name="")

    wrapped = tf.compat.v1.wrap_function(load, [])
    find = wrapped.graph.as_graph_element
    function = wrapped.prune(find(f"{entries[0]}:0"), [find(f"{name}:0") for name in ends])
    return [each.numpy() for each in function(tf.constant(pictures))]


SHAPES: dict[str, Callable[[Path], tuple[Any, ...]]] = {
    "tflite": _shape_tflite,
    "onnx": _shape_onnx,
    "torch": _shape_torch,
    "keras": _shape_keras,
    "tensorflow": _shape_tensorflow,
}
RUNNERS: dict[str, Callable[[Path, np.ndarray], Arrays]] = {
    "tflite": _run_tflite,
    "onnx": _run_onnx,
    "torch": _run_torch,
    "keras": _run_keras,
    "tensorflow": _run_tensorflow,
}
