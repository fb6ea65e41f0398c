"""What the tolerance rests on: how large noise is, how far float32 itself is off, how rough quantized sources are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from convfault.comparing import tolerance
from convfault.frameworks import FRAMEWORKS
from convfault.frameworks.base import Perturbation
from convfault.model import Model
from convfault.trace import StoredTrace, Trace, TraceWriter
from measuring.networks import Array, KerasCase, TorchCase, answers, pictures, softmax

EXPONENTS, SEEDS = (-22, -21, -19, -17), (0, 1, 2)
SIZE, COUNT = 96, 16
"""Side of the pictures of the quantized network, and their number; its reference kernels are slow."""


def noise(folder: Path) -> None:
    """Print the largest change of MobileNetV2's logits by perturbations of several sizes and seeds, and by float64."""
    import torch

    case = TorchCase("mobilenet_v2", 224, tolerance.PICTURES)
    clean = case.run()(case.images)

    def change(exponent: int, seed: int) -> float:
        return largest(case.perturbed(Perturbation(2.0**exponent, seed))(case.images), clean)

    print(f"\n**noise**: logits of torch-mobilenetv2, {len(clean)} pictures\n")
    print("| size of the perturbation | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " |")
    print("|---|" + "---|" * len(SEEDS))
    for exponent in EXPONENTS:
        print(f"| 2^{exponent} | " + " | ".join(f"{change(exponent, seed):.1e}" for seed in SEEDS) + " |", flush=True)
    with torch.no_grad():
        exact = case.model.double()(torch.from_numpy(case.images).permute(0, 3, 1, 2).double())
    print(f"\nfloat32 is off from float64 by {largest(np.asarray(exact), clean):.1e}", flush=True)


def quantized(folder: Path) -> None:
    """Print how far two sound runtimes of one TFLite file are apart, beside the noise and the tolerance."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    case = KerasCase(COUNT, SIZE)
    print(f"\n**quantized**: probabilities of keras-mobilenetv2 at {SIZE}x{SIZE}, {COUNT} pictures\n")
    print("| source | two sound runtimes differ by | noise | tolerance |\n|---|---|---|---|", flush=True)
    for number, (name, content) in enumerate(files(case)):
        path = folder / f"{number}.tflite"
        path.write_bytes(content)
        kinds = (OpResolverType.AUTO, OpResolverType.BUILTIN_REF)
        fast, reference = (
            softmax(answers(Interpreter(model_content=content, experimental_op_resolver_type=kind), case.images))
            for kind in kinds
        )
        limit = derived(folder / f"runs{number}", path, case.images)
        print(f"| {name} | {largest(fast, reference):.1e} | {limit.noise:.1e} | {limit.value:.1e} |", flush=True)


def files(case: KerasCase) -> Iterator[tuple[str, bytes]]:
    """The network as TFLite files: float32, with int8 weights, and with int8 activations, too."""
    import tensorflow as tf

    def samples() -> Iterator[list[Array]]:
        yield from ([image[None]] for image in pictures(64, SIZE, 7))

    changes: dict[str, dict[str, Any]] = {
        "float32": {},
        "dynamic range (int8 weights)": {"optimizations": [tf.lite.Optimize.DEFAULT]},
        "full int8": {"optimizations": [tf.lite.Optimize.DEFAULT], "representative_dataset": samples},
    }
    for name, settings in changes.items():
        converter = tf.lite.TFLiteConverter.from_keras_model(case.model)
        for option, value in settings.items():
            setattr(converter, option, value)
        with redirect_stdout(sys.stderr):  # the converter prints the model's signature
            content = converter.convert()
        yield name, content


def derived(folder: Path, path: Path, images: Array) -> Any:
    """The tolerance of the probabilities of a TFLite file, derived as convfault does for a source."""
    chosen = tolerance.plan(len(images))
    clean = kept(folder / "clean", path, images, None)
    runs = [
        kept(folder / str(seed), path, images[list(chosen.rows)], Perturbation(chosen.relative, seed))
        for seed in chosen.seeds
    ]
    (limit,) = tolerance.derive(clean, runs, chosen.rows)
    return limit


def kept(folder: Path, path: Path, images: Array, perturbation: Perturbation | None) -> StoredTrace:
    """The probabilities that convfault's own session gives, one picture at a time."""
    model = Model.from_path(str(path))
    with FRAMEWORKS["tflite"].open(model, perturbation) as session, TraceWriter(folder) as writer:
        name = session.signature.inputs[0].name
        for image in images:
            tensors = {"probabilities": softmax(np.asarray(session.run({name: image[None]}).output()))}
            writer.append(Trace(tensors, tuple(tensors), "", "", "NHWC"))
    return StoredTrace(folder)


def largest(one: Array, other: Array) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


CASES: dict[str, Callable[[Path], None]] = {"noise": noise, "quantized": quantized}
