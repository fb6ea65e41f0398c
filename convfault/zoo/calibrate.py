"""Makes what the calibrated weights ship. Only ``scripts/calibrate`` calls it, in a checkout."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convfault import process, shipped
from convfault.batches import Batches
from convfault.model import TensorSpec
from convfault.preprocessing import Preprocessing
from convfault.sources.fractals import HELD_OUT, TRAINING, Fractals
from convfault.zoo import head
from convfault.zoo.catalogue import Entry

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Result:
    """How good a calibration is: shares of pictures answered rightly, the ridge's penalty, and the file's size."""

    path: Path
    left_out_accuracy: float
    held_out_accuracy: float
    penalty: float
    bytes: int


def calibrate(entry: Entry, maker: str, training: int | None, held_out: int) -> Result:
    """Measure, fit and write ``models/<name>/calibration-<maker>.npz``; ``maker`` is ``torch`` or ``keras``.

    ``training`` and ``held_out`` are numbers of pictures of the embedded set; without ``training`` the description's.
    """
    import numpy as np

    settings = entry.description["calibration"]
    training = training or int(settings["training"])
    fractals = Fractals(shipped.description("datasets", entry.description["dataset"]))
    classes = entry.classes
    with tempfile.TemporaryDirectory() as folder:
        batches = _draw(fractals, entry.preprocessing(maker), folder, training, held_out)
        arguments: dict[str, Any] = {
            "description": entry.description,
            "batches": batches.to_record(),
            "statistics": settings["statistics"],
            "target": folder,
        }
        process.run(process.Job(f"convfault.zoo.calibrate_{maker}:measure", arguments, stage="measure")).unwrap()
        features = np.load(f"{folder}/features.npy")
        statistics = dict(np.load(f"{folder}/statistics.npz"))
    fitted = head.fit(features[:training], np.arange(training) % classes, classes)
    path = entry.calibration(maker)
    arrays: dict[str, Any] = {**statistics, "head/kernel": fitted.kernel, "head/bias": fitted.bias}
    np.savez_compressed(path, **arrays)
    accuracy = _accuracy(fitted, features[training:], np.arange(held_out) % classes)
    return Result(path, fitted.accuracy, accuracy, fitted.penalty, path.stat().st_size)


def _draw(fractals: Fractals, preprocessing: Preprocessing, folder: str, training: int, held_out: int) -> Batches:
    """Training pictures, then held-out ones, each with its classes in turn, decoded as ``Dataset.prepare`` does."""
    with open(f"{folder}/0.raw", "wb") as file:
        for stream, count in ((TRAINING, training), (HELD_OUT, held_out)):
            for index in range(count):
                picture = fractals.render(index % fractals.classes, index // fractals.classes, stream)
                file.write(preprocessing.pixels(picture).tobytes())
    spec = TensorSpec("pictures", (*preprocessing.size, preprocessing.depth), "uint8")
    return Batches(folder, (spec,), training + held_out, True)


def _accuracy(fitted: head.Head, features: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    return float(((features @ fitted.kernel + fitted.bias).argmax(axis=1) == labels).mean())
