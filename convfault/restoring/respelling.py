"""Says an ONNX model that a converter fails on in plainer words, and converts on from there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from convfault import process
from convfault.errors import ConvfaultError
from convfault.measurement import Measurement
from convfault.model import Model
from convfault.preparation import inspected
from convfault.repairing.plain_onnx import TRIALS
from convfault.request import Context, Request
from convfault.restoring.onward import onward
from convfault.restoring.way import Way

JOB = "convfault.repairing.plain_onnx:run"
SECONDS = 300.0


def respellings(found: Measurement, folder: Path, request: Request, context: Context) -> Iterator[Way]:
    """Try plainer and plainer words, until what is converted from them agrees with the source.

    Nothing is tried where the conversion did not fail, or failed on another format. What is rewritten keeps its
    meaning; that it does is not taken for granted: the new target is measured against the source as it was.
    """
    conversion = found.pair.conversion
    if conversion is None or found.traces:
        return
    number = len(conversion.models) - (1 if conversion.target is None else 2)
    model = conversion.models[number]
    if model.format != "onnx":
        return
    said: list[list[str]] = [[]]
    for place, asked in enumerate(TRIALS):
        path = folder / str(place) / "plain.onnx"
        path.parent.mkdir(parents=True)
        try:
            words = _written(model, path, asked)
        except ConvfaultError as error:
            yield Way(_edit(asked), False, str(error))
            continue
        if words in said:  # nothing more to say otherwise
            continue
        said.append(words)
        way = _tried(found, number, inspected(model.at(path), None, context), words, (request, context))
        yield way
        if way.accepted:
            return


def _written(model: Model, path: Path, words: Sequence[str]) -> list[str]:
    arguments = {"path": str(model.path), "out": str(path), "words": list(words)}
    job = process.Job(JOB, arguments, stage="say the ONNX model in plainer words", seconds=SECONDS)
    return [str(item) for item in process.run(job).unwrap()]


def _tried(found: Measurement, number: int, model: Model, words: list[str], work: tuple[Request, Context]) -> Way:
    try:
        reason, measured = onward(found, number, model, *work)
    except ConvfaultError as error:
        return Way(_edit(words), False, str(error))
    return Way(_edit(words), not reason, reason or "what is converted from it agrees with the source", measured)


def _edit(words: Sequence[str]) -> str:
    return f"say the ONNX model in plainer words ({', '.join(words)}), and convert on from there"
