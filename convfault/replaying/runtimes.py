"""The runtimes that a model of one layer can be put to, and how each of them runs it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from convfault.converters import route
from convfault.errors import UsageError
from convfault.frameworks import FRAMEWORKS
from convfault.localization.ballot import KERNEL, READING
from convfault.model import Model, TensorSpec
from convfault.relax.graph import Array

Given = Mapping[str, Array]


@dataclass(frozen=True)
class Runtime:
    """``function`` runs a model in it, ``module:function``.

    ``shares``: ``kernel`` for the one that runs such a file anyway, and where a setting of it may leave the kernel as
    it is; ``reading`` where the file is read by our importers.
    """

    name: str
    function: str
    shares: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


HERE = "convfault.replaying.runtimes"
TVM = Runtime("TVM", f"{HERE}:tvm", shares=READING)
TF2ONNX = Runtime("onnxruntime (by tf2onnx)", f"{HERE}:by_tf2onnx")
TENSORFLOW = (
    Runtime("TensorFlow", f"{HERE}:native", shares=KERNEL),
    Runtime("TensorFlow without oneDNN", f"{HERE}:native", shares=KERNEL, environment={"TF_ENABLE_ONEDNN_OPTS": "0"}),
    Runtime("XLA", f"{HERE}:xla"),
    TF2ONNX,
    TVM,
)
KERAS = (
    Runtime("Keras on TensorFlow", f"{HERE}:native", shares=KERNEL),
    Runtime("Keras on PyTorch", f"{HERE}:keras_on_torch", environment={"KERAS_BACKEND": "torch"}),
    TF2ONNX,
    TVM,
)
RUNTIMES: Mapping[str, tuple[Runtime, ...]] = {
    "onnx": (
        Runtime("onnxruntime", f"{HERE}:native", shares=KERNEL),
        Runtime("onnx.reference", f"{HERE}:onnx_reference"),
        Runtime("PyTorch (by onnx2torch)", f"{HERE}:by_onnx2torch"),
        TVM,
    ),
    "tflite": (
        Runtime("LiteRT", f"{HERE}:native", shares=KERNEL),
        Runtime("LiteRT without XNNPACK", f"{HERE}:tflite_builtin", shares=KERNEL),
        Runtime("LiteRT's reference kernels", f"{HERE}:tflite_reference"),
        TF2ONNX,
        TVM,
    ),
    "pt2": (
        Runtime("PyTorch", f"{HERE}:native", shares=KERNEL),
        Runtime("PyTorch without oneDNN", f"{HERE}:torch_plain", shares=KERNEL),
        Runtime("onnxruntime (by torch.onnx)", f"{HERE}:by_torch_onnx"),
        TVM,
    ),
    "frozen_graph": TENSORFLOW,
    "saved_model": TENSORFLOW,
    "keras": KERAS,
    "keras_h5": KERAS,
}
"""By format of the model: what has kernels of its own for it."""

FOR_LAYERS = tuple(runtime for runtime in RUNTIMES["onnx"] if runtime.function != f"{HERE}:by_onnx2torch")
"""What runs a layer that was written to an ONNX file."""


def run(model: Mapping[str, Any], given: str, function: str, answer: str) -> dict[str, Any]:
    """Job: run a model of one layer; its only output goes to the file ``answer``. Returns the runtime's version."""
    with np.load(given, allow_pickle=False) as values:
        arrays = {str(name): values[str(number)] for number, name in enumerate(values["names"])}
    module, _, name = function.partition(":")
    version, outputs = getattr(importlib.import_module(module), name)(Model.from_record(model), arrays)
    if len(outputs) != 1:
        raise UsageError(f"by itself the layer has {len(outputs)} outputs")
    np.save(answer, np.asarray(outputs[0]))
    return {"version": version}


def native(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By the framework's own adapter."""
    return _by_adapter(model.framework, model, given)


def tvm(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By TVM, from the same file."""
    return _by_adapter("tvm", model, given)


def torch_plain(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By PyTorch's own kernels where it would use oneDNN's."""
    import torch

    with torch.backends.mkldnn.flags(enabled=False):
        return _by_adapter("torch", model, given)


def by_torch_onnx(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By onnxruntime, of what PyTorch's own exporter makes of it."""
    return _converted("torch>onnx:torch_onnx", model, given)


def by_onnx2torch(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By PyTorch, of what onnx2torch makes of it."""
    return _converted("onnx>torch:onnx2torch", model, given)


def by_tf2onnx(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By onnxruntime, of what tf2onnx makes of it."""
    return _converted(f"{model.framework}>onnx:tf2onnx", model, given)


def _converted(way: str, model: Model, given: Given) -> tuple[str, list[Array]]:
    """By another framework's runtime, after a conversion: whoever wrote the tool read the operator for himself."""
    converter = route.parse(way).hops[0].converter
    source = model.with_signature(FRAMEWORKS[model.framework].signature(model))
    module, _, name = converter.convert.partition(":")
    path = Path(model.path).with_name(f"converted_{converter.filename}")
    getattr(importlib.import_module(module), name)(source, str(path), converter.with_defaults({}))
    return native(Model(str(path), converter.target_format), given)


def onnx_reference(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By ONNX's reference evaluator, which is written in numpy."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    signature = FRAMEWORKS["onnx"].signature(model)
    values = ReferenceEvaluator(model.path).run(None, fitted(signature.inputs, given))
    return onnx.__version__, [np.asarray(value) for value in values]


def tflite_builtin(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By the kernels that TFLite takes where XNNPACK has none."""
    return _by_interpreter("BUILTIN_WITHOUT_DEFAULT_DELEGATES", model, given)


def tflite_reference(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By TFLite's reference kernels, which are plain loops."""
    return _by_interpreter("BUILTIN_REF", model, given)


def xla(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By XLA, of a frozen graph."""
    import tensorflow as tf

    signature = FRAMEWORKS["tf"].signature(model)
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(Path(model.path).read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    ends = [[wrapped.graph.get_tensor_by_name(s.name) for s in side] for side in (signature.inputs, signature.outputs)]
    function = tf.function(wrapped.prune(*ends), jit_compile=True, autograph=False)
    feeds = fitted(signature.inputs, given)
    values = function(*(tf.constant(feeds[spec.name], spec.dtype) for spec in signature.inputs))
    return tf.__version__, [value.numpy() for value in tf.nest.flatten(values)]


def keras_on_torch(model: Model, given: Given) -> tuple[str, list[Array]]:
    """By Keras with PyTorch behind it, which the environment of the process chooses."""
    import keras

    network = keras.saving.load_model(model.path, compile=False)
    specs = [TensorSpec(item.name, tuple(item.shape), str(item.dtype)) for item in network.inputs]
    feeds = list(fitted(specs, given).values())
    values = network(feeds[0] if len(feeds) == 1 else feeds, training=False)
    values = values if isinstance(values, list | tuple) else [values]
    return keras.__version__, [keras.ops.convert_to_numpy(value) for value in values]


def fitted(specs: Sequence[TensorSpec], given: Given) -> dict[str, Array]:
    """Input name → the value given under that name, or else, by its place, one of the input's shape.

    Raises ``UsageError`` where the model reads what the whole model's run does not show.
    """
    if all(spec.name in given for spec in specs):
        return {spec.name: given[spec.name] for spec in specs}
    if len(specs) != len(given):
        raise UsageError("it reads what the model's own run does not show")
    for spec, values in zip(specs, given.values(), strict=True):
        if not _takes(spec, values):
            raise UsageError(f"it reads '{spec.name}' {spec.shape}, which the model's own run does not show")
    return {spec.name: values for spec, values in zip(specs, given.values(), strict=True)}


def _takes(spec: TensorSpec, values: Array) -> bool:
    pairs = zip(spec.shape[1:], values.shape[1:], strict=False)
    return len(spec.shape) == values.ndim and all(side in (None, found) for side, found in pairs)


def _by_adapter(framework: str, model: Model, given: Given) -> tuple[str, list[Array]]:
    with FRAMEWORKS[framework].open(model) as session:
        trace = session.run(fitted(session.signature.inputs, given))
    return FRAMEWORKS[framework].version(), [trace.tensors[name] for name in trace.outputs]


def _by_interpreter(resolver: str, model: Model, given: Given) -> tuple[str, list[Array]]:
    from convfault.frameworks.tflite import interpreter_class

    feeds = fitted(FRAMEWORKS["tflite"].signature(model).inputs, given)
    interpreter = interpreter_class()
    kind = getattr(importlib.import_module(interpreter.__module__).OpResolverType, resolver)
    machine = interpreter(model_content=Path(model.path).read_bytes(), experimental_op_resolver_type=kind)
    details = machine.get_input_details()
    for detail, values in zip(details, feeds.values(), strict=True):
        machine.resize_tensor_input(detail["index"], values.shape)
    machine.allocate_tensors()
    for detail, values in zip(details, feeds.values(), strict=True):
        machine.set_tensor(detail["index"], np.ascontiguousarray(values, detail["dtype"]))
    machine.invoke()
    outputs = [machine.get_tensor(detail["index"]) for detail in machine.get_output_details()]
    return FRAMEWORKS["tflite"].version(), outputs
