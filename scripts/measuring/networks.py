"""The networks that the tolerance is measured on, with what converts them soundly and what damages them subtly."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from scipy.ndimage import gaussian_filter

from convfault.frameworks.base import Perturbation

Array = np.ndarray
Run = Callable[[Array], Array]
"""Pictures (n, height, width, 3) to logits (n, 1000)."""


def pictures(count: int, size: int, seed: int) -> Array:
    """Smooth random pictures of various grain, contrast and brightness; float32 NHWC, about -2 to 2."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        grain = rng.choice([1, 2, 4, 8, 16])
        one = gaussian_filter(rng.standard_normal((size, size, 3)), (grain, grain, 0))
        found.append(np.clip(one / one.std() * rng.uniform(0.1, 1.2) + rng.uniform(-0.5, 0.5), -2.2, 2.6))
    return np.asarray(found, np.float32)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def quantized(weights: Array) -> Array:
    """Int8 with one scale, widened again."""
    scale = np.abs(weights).max() / 127
    return np.asarray(np.round(weights / scale) * scale, np.float32)


def halved(weights: Array) -> Array:
    """float16, widened again."""
    return weights.astype(np.float16).astype(np.float32)


class TorchCase:
    """A torchvision network in eager mode; faults are changed copies."""

    def __init__(self, name: str, size: int, count: int) -> None:
        import torch

        from convfault.native import torchvision_operators

        torchvision_operators.ensure()
        import torchvision

        torch.manual_seed(0)
        options = {"init_weights": False} if name == "inception_v3" else {}
        self.model = getattr(torchvision.models, name)(weights=None, **options)
        self.images = pictures(count, size, 0)
        rng = torch.Generator().manual_seed(1)
        for layer in self.model.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                spread = (2 / layer.weight[0].numel()) ** 0.5
                layer.weight.data = torch.randn(layer.weight.shape, generator=rng) * spread
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.data = torch.rand(layer.weight.shape, generator=rng) + 0.5
                layer.bias.data = torch.randn(layer.bias.shape, generator=rng) * 0.3
                layer.momentum = None  # the statistics of one batch, not a running mean
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
        with torch.no_grad():
            self.model.train()(torch.from_numpy(pictures(8, size, 99)).permute(0, 3, 1, 2))
        self.model.eval()

    def run(self, model: Any = None) -> Run:
        import torch

        def call(images: Array) -> Array:
            with torch.no_grad():
                return np.asarray((model or self.model)(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()))

        return call

    def perturbed(self, perturbation: Perturbation) -> Run:
        import torch

        model = copy.deepcopy(self.model)
        for index, values in enumerate(model.state_dict().values()):
            values.copy_(torch.from_numpy(perturbation.apply(values.numpy(), index)))
        return self.run(model)

    def sound(self, folder: Path) -> Iterator[tuple[str, Run]]:
        import onnxruntime
        import torch

        path = str(folder / "model.onnx")
        sample = torch.from_numpy(self.images[:1]).permute(0, 3, 1, 2)
        torch.onnx.export(self.model, (sample,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
        levels = onnxruntime.GraphOptimizationLevel
        for name, level in (("optimized", levels.ORT_ENABLE_ALL), ("unoptimized", levels.ORT_DISABLE_ALL)):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = level
            session = onnxruntime.InferenceSession(path, options)
            yield f"onnxruntime, {name}", lambda x, s=session: s.run(None, {"x": x.transpose(0, 3, 1, 2)})[0]
        yield "channels last", self.run(copy.deepcopy(self.model).to(memory_format=torch.channels_last))

    def faults(self) -> Iterator[tuple[str, Run]]:
        import torch

        layers = dict(self.model.named_modules())
        convolutions = [
            name for name, layer in layers.items() if isinstance(layer, torch.nn.Conv2d) and "Aux" not in name
        ]
        norms = [
            name for name, layer in layers.items() if isinstance(layer, torch.nn.BatchNorm2d) and "Aux" not in name
        ]
        middle = convolutions[len(convolutions) // 2]
        for name, change in (("float16", halved), ("int8", quantized)):
            yield f"{name} weights", self.run(self._changed(convolutions, change))
            yield f"{name} weights of one middle layer", self.run(self._changed([middle], change))
        yield "every epsilon 1e-3 for 1e-5 or back", self.run(self._other_epsilon(norms))
        yield "epsilon of one middle layer", self.run(self._other_epsilon([norms[len(norms) // 2]]))
        yield "epsilon of the last layer", self.run(self._other_epsilon(norms[-1:]))
        if any("Mixed" in name for name in layers):
            functional = torch.nn.functional
            other = functools.partial(functional.avg_pool2d, count_include_pad=False)
            with mock.patch.object(functional, "avg_pool2d", other):
                yield "count_include_pad", self.run()

    def _changed(self, names: list[str], change: Callable[[Array], Array]) -> Any:
        import torch

        model = copy.deepcopy(self.model)
        for name in names:
            weight = model.get_submodule(name).weight
            weight.data = torch.from_numpy(change(weight.data.numpy()))
        return model

    def _other_epsilon(self, names: list[str]) -> Any:
        model = copy.deepcopy(self.model)
        for name in names:
            layer = model.get_submodule(name)
            layer.eps = 1e-3 if layer.eps < 1e-4 else 1e-5
        return model


class KerasCase:
    """MobileNetV2 of keras.applications."""

    def __init__(self, count: int, size: int = 224) -> None:
        import keras

        shape = (size, size, 3)
        self.model = keras.applications.MobileNetV2(input_shape=shape, weights=None, classifier_activation=None)
        self.images = pictures(count, size, 0)
        rng = np.random.default_rng(1)
        for layer in self.model.layers:
            kind = type(layer).__name__
            if kind == "BatchNormalization":
                shape = layer.gamma.shape
                layer.set_weights([rng.random(shape) + 0.5, rng.standard_normal(shape) * 0.3, *layer.get_weights()[2:]])
                layer.momentum = 0.0  # the statistics of one batch, not a running mean
            elif layer.get_weights():
                kernel, *bias = layer.get_weights()
                fan_in = np.prod(kernel.shape[:2] if kind == "DepthwiseConv2D" else kernel.shape[:-1])
                layer.set_weights([rng.standard_normal(kernel.shape) * (2 / fan_in) ** 0.5, *bias])
        self.model(pictures(8, size, 99), training=True)

    def run(self, model: Any = None) -> Run:
        return lambda images: np.asarray((model or self.model)(images, training=False))

    def perturbed(self, perturbation: Perturbation) -> Run:
        weights = [perturbation.apply(values, index) for index, values in enumerate(self.model.get_weights())]
        return self.run(self._with(weights))

    def sound(self, folder: Path) -> Iterator[tuple[str, Run]]:
        import onnxruntime
        import tensorflow as tf
        import tf2onnx
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        with redirect_stdout(sys.stderr):  # the converter prints the model's signature
            content = tf.lite.TFLiteConverter.from_keras_model(self.model).convert()
        kinds = {"TFLite": OpResolverType.AUTO, "TFLite, reference kernels": OpResolverType.BUILTIN_REF}
        for name, kind in kinds.items():
            interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kind, num_threads=2)
            yield name, lambda images, i=interpreter: answers(i, images)
        function = tf.function(lambda x: self.model(x, training=False))
        spec = (tf.TensorSpec((None, *self.images.shape[1:]), tf.float32, name="x"),)
        proto, _ = tf2onnx.convert.from_function(function, input_signature=spec, opset=18)
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        yield "tf2onnx, onnxruntime", lambda images: session.run(None, {"x": images})[0]
        yield "TensorFlow graph", lambda images: np.asarray(function(tf.constant(images)))

    def faults(self) -> Iterator[tuple[str, Run]]:
        weights = self.model.get_weights()
        kernels = [index for index, values in enumerate(weights) if values.ndim > 1]
        middle = kernels[len(kernels) // 2]
        for name, change in (("float16", halved), ("int8", quantized)):
            yield f"{name} weights", self.run(self._with([change(w) if w.ndim > 1 else w for w in weights]))
            one = [change(w) if index == middle else w for index, w in enumerate(weights)]
            yield f"{name} weights of one middle layer", self.run(self._with(one))
        norms = [layer.name for layer in self.model.layers if type(layer).__name__ == "BatchNormalization"]
        yield "every epsilon 1e-3 for 1e-5 or back", self.run(self._with(weights, norms))
        yield "epsilon of one middle layer", self.run(self._with(weights, [norms[len(norms) // 2]]))
        yield "epsilon of the last layer", self.run(self._with(weights, norms[-1:]))

    def _with(self, weights: list[Array], norms: list[str] | None = None) -> Any:
        import keras

        model = keras.models.clone_model(self.model)
        model.set_weights(weights)
        for name in norms or []:
            model.get_layer(name).epsilon = 1e-5
        return model


def answers(interpreter: Any, images: Array) -> Array:
    """What a TFLite interpreter says to the pictures, one by one."""
    interpreter.allocate_tensors()
    asked, answered = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for image in images:
        interpreter.set_tensor(asked, image[None])
        interpreter.invoke()
        found.append(np.array(interpreter.get_tensor(answered)))
    return np.concatenate(found)
