"""What the converters by ``tf.lite.TFLiteConverter`` share: its options and how they are set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from convfault.converters.base import Option
from convfault.errors import UsageError
from convfault.model import Model

TYPES = ("float32", "uint8", "int8", "int16")
OPERATORS = (
    "TFLITE_BUILTINS",
    "SELECT_TF_OPS",
    "TFLITE_BUILTINS_INT8",
    "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
)
OPTIMIZATIONS = ("DEFAULT", "OPTIMIZE_FOR_SIZE", "OPTIMIZE_FOR_LATENCY", "EXPERIMENTAL_SPARSITY")

OPTIONS: Mapping[str, Option] = {
    "optimizations": Option("quantize; DEFAULT: weights of 1,024 elements or more", (), OPTIMIZATIONS, many=True),
    "supported_types": Option("types that quantized weights may have", (), ("float32", "float16", "int8"), many=True),
    "supported_ops": Option("operator sets that the target may use", ("TFLITE_BUILTINS",), OPERATORS, many=True),
    "representative_dataset": Option("number of pictures to measure activations on", 0, kind="integer"),
    "inference_input_type": Option("type of the input of a fully quantized model", "float32", TYPES),
    "inference_output_type": Option("type of the output of a fully quantized model", "float32", TYPES),
    "allow_custom_ops": Option("leave operators that TFLite does not know as custom ones", False, kind="flag"),
    "disable_per_channel": Option("one scale for a whole weight instead of one a channel", False, kind="flag"),
    "experimental_new_converter": Option("the converter built on MLIR", True, kind="flag"),
    "experimental_new_quantizer": Option("the quantizer built on MLIR", True, kind="flag"),
    "unfold_batchmatmul": Option("write a batched product as single ones", False, kind="flag"),
}
PLAIN = ("allow_custom_ops", "experimental_new_converter", "experimental_new_quantizer", "unfold_batchmatmul")
"""Options that are attributes of the converter, under the same name."""


def write(converter: Any, source: Model, target: str, options: Mapping[str, Any]) -> None:
    """Set the options, convert, and write the flat buffer."""
    import tensorflow as tf

    converter.optimizations = [getattr(tf.lite.Optimize, name) for name in options["optimizations"]]
    converter.target_spec.supported_types = [getattr(tf, name) for name in options["supported_types"]]
    converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, name) for name in options["supported_ops"]]
    converter.inference_input_type = getattr(tf, options["inference_input_type"])
    converter.inference_output_type = getattr(tf, options["inference_output_type"])
    for name in PLAIN:
        setattr(converter, name, options[name])
    converter._experimental_disable_per_channel = options["disable_per_channel"]
    if options["representative_dataset"]:
        converter.representative_dataset = representative(source, options)
    Path(target).write_bytes(converter.convert())


def representative(source: Model, options: Mapping[str, Any]) -> Callable[[], Iterator[Any]]:
    """Generator function that gives model inputs one by one, as TFLiteConverter wants them.

    ``options["calibration"]`` holds records of the ``Batches`` to read and of the source's ``Preprocessing``.
    """
    from convfault.batches import Batches
    from convfault.preprocessing import Preprocessing

    calibration = options.get("calibration")
    if not calibration:
        raise UsageError("tflite_converter.representative_dataset needs pictures to measure on, and none were given")
    batches = Batches.from_record(calibration["batches"])
    preprocessing = Preprocessing.from_record(calibration["preprocessing"])

    def rows() -> Iterator[Any]:
        for row in range(min(options["representative_dataset"], batches.count)):
            if source.signature is not None:
                values = batches.inputs(row, row + 1, source.signature, preprocessing)
                yield values if len(values) > 1 else list(values.values())
            else:
                arrays = batches.read(row, row + 1).values()
                yield [preprocessing.tensor(array) if batches.pictures else array for array in arrays]

    return rows
