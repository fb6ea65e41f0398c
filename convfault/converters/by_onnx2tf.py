"""What the converters by onnx2tf share: its options, the folder that it works in, and the call."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convfault.converters.base import Option
from convfault.model import Model

OPTIONS: Mapping[str, Option] = {
    "not_use_onnxsim": Option("leave out the simplification by onnxsim", False, kind="flag"),
    "disable_group_convolution": Option("write grouped convolutions as several plain ones", False, kind="flag"),
    "batch_size": Option("fix a free batch at this size", kind="integer"),
    "keep_shape_absolutely_input_names": Option("inputs that are not transposed to NHWC", many=True),
    "replace_to_pseudo_operators": Option("operators to write as several simpler ones, like PReLU", (), many=True),
    "disable_strict_mode": Option("leave out the search for the layout that fits each operator", False, kind="flag"),
}

PICTURES = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""onnx2tf tries its translation of an operator on these; where the file is absent it downloads photographs."""

FORMATS: Mapping[str, Mapping[str, bool]] = {
    "saved_model": {"output_signaturedefs": True},
    "keras": {"output_keras_v3": True},
    "tflite": {},
}
"""Arguments of onnx2tf by what is wanted of it."""
FILES = {"saved_model": "", "keras": "*_float32_v3.keras", "tflite": "*_float32.tflite"}


def write(source: Model, target: str, options: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Convert and keep what is wanted as ``target``; the input becomes NHWC, the batch stays as it is."""
    with _workplace(Path(target)) as folder:
        import onnx2tf

        given = {name: value for name, value in options.items() if value not in (None, (), [])}
        inputs = given.get("keep_shape_absolutely_input_names") or _inputs_in_order(source)
        if inputs:
            given["keep_shape_absolutely_input_names"] = inputs
        try:
            onnx2tf.convert(
                input_onnx_file_path=source.path, output_folder_path="made", non_verbose=True, **FORMATS[kind], **given
            )
        except SystemExit as end:
            raise RuntimeError(f"onnx2tf ended itself with exit code {end.code}; its reason is in the log") from end
        made = folder / "made"
        found = next(iter(sorted(made.glob(FILES[kind]))), None) if FILES[kind] else made
        if found is not None:
            _keep_model_only(found)
            shutil.move(found, target)
    notes = [f"told onnx2tf that {', '.join(inputs)} is NHWC already"] if inputs else []
    return {"layout": "NHWC", "notes": notes}


@contextlib.contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A folder beside the target to work in, with pictures for onnx2tf; gone afterwards."""
    import numpy as np

    before = os.getcwd()
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        pictures = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
        np.save(Path(name) / PICTURES, pictures)
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def _inputs_in_order(source: Model) -> list[str]:
    """The inputs that are NHWC already, by onnx2tf's names: it would transpose them as if they were NCHW."""
    import onnx

    if source.preprocessing is None or source.preprocessing.layout != "NHWC":
        return []
    graph = onnx.load(source.path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [
        entry.name.replace(":", "__")
        for entry in graph.input
        if entry.name not in weights and len(entry.type.tensor_type.shape.dim) == 4
    ]


def _keep_model_only(place: Path) -> None:
    """Drop the TFLite files that onnx2tf puts into the SavedModel's folder."""
    for path in place.glob("*.tflite") if place.is_dir() else ():
        path.unlink()
