"""Says a model that a converter fails on in plainer words, and converts on from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from convfault import process
from convfault.comparison import AGREE
from convfault.converters import route as routes
from convfault.converters.convert import Limits, convert
from convfault.errors import ConvfaultError, SubjectError
from convfault.measurement import Measurement, measure_pair
from convfault.model import Model
from convfault.preparation import following, inspected
from convfault.repairing import plain_onnx, plain_tensorflow, unfused_onnx
from convfault.repairing.simpler_onnx import SIMPLER
from convfault.request import Context, Request
from convfault.restoring.onward import onward
from convfault.restoring.way import Way

SECONDS = 300.0
RUNS = 6
"""How many conversions of respelled models are run to the end at most."""

MANY = 5
"""Kinds of operators that are named one by one."""


@dataclass(frozen=True)
class Language:
    """What can be said otherwise in one format: the ``job`` that does, and what is tried, the mildest first."""

    title: str
    job: str
    trials: Sequence[Sequence[str]]
    filename: str


ONNX = Language("ONNX", "convfault.repairing.plain_onnx:run", plain_onnx.TRIALS, "plain.onnx")
TENSORFLOW = Language(
    "TensorFlow", "convfault.repairing.plain_tensorflow:run", plain_tensorflow.TRIALS, "plain_saved_model"
)
UNFUSED = Language("ONNX", "convfault.repairing.unfused_onnx:run", (), "plain.onnx")
LANGUAGES: Mapping[str, Language] = {
    "onnx": ONNX,
    "saved_model": TENSORFLOW,
    "keras": TENSORFLOW,
    "keras_h5": TENSORFLOW,
}
"""By format; Keras' layers are said as TensorFlow's operators first."""


def respellings(
    found: Measurement, guilty: int | None, folder: Path, request: Request, context: Context
) -> Iterator[Way]:
    """Try plainer and plainer words, until what is converted from them agrees with the source.

    Said otherwise is what the conversion failed on, or what hop ``guilty`` (from 0) read where it gave wrong values;
    nothing, where no hop is known, or it read another format. What is rewritten keeps its meaning; that it does is not
    taken for granted: the new target is measured against the source as it was. Of those that give a target, which
    takes longest, only the first few are tried.
    """
    conversion = found.pair.conversion
    if conversion is None:
        return
    failed = len(conversion.models) - (1 if conversion.target is None else 2)
    number = guilty if found.traces else failed
    if number is None:
        return
    model = conversion.models[number]
    language = LANGUAGES.get(model.format)
    if language is None:
        return
    said: list[list[str]] = [[]]
    left = RUNS
    for place, asked in enumerate(language.trials):
        path = folder / str(place) / language.filename
        path.parent.mkdir(parents=True)
        try:
            words = _written(_in_language(model, context), language, path, asked)
        except ConvfaultError as error:
            yield Way(_edit(language, asked), False, str(error))
            continue
        if words in said:  # nothing more to say otherwise
            continue
        said.append(words)
        plain = inspected(replace(Model.from_path(str(path)), preprocessing=model.preprocessing), None, context)
        way = _tried(found, number, plain, _edit(language, words), (request, context))
        yield way
        left -= way.found is not None and bool(way.found.traces)
        if way.accepted or left == 0:
            return


def _in_language(model: Model, context: Context) -> Model:
    """A Keras model as a SavedModel, any other one as it is."""
    if model.framework != "keras":
        return model
    limits = Limits(context.seconds, context.megabytes)
    made = convert(routes.parse("keras>tf:keras_export"), model, {}, context.cache, limits=limits)
    if made.target is None:
        raise SubjectError(made.message)
    return made.target


def _written(model: Model, language: Language, path: Path, words: Sequence[str]) -> list[str]:
    arguments = {"path": str(model.path), "out": str(path), "words": list(words)}
    job = process.Job(language.job, arguments, f"say the {language.title} model in plainer words", seconds=SECONDS)
    return [str(item) for item in process.run(job).unwrap()]


def _tried(found: Measurement, number: int, model: Model, edit: str, work: tuple[Request, Context]) -> Way:
    try:
        reason, measured = onward(found, number, model, *work)
    except ConvfaultError as error:
        return Way(edit, False, str(error))
    return Way(edit, not reason, reason or "what is converted from it agrees with the source", measured)


def _edit(language: Language, words: Sequence[str]) -> str:
    simple = [word.removesuffix(SIMPLER) for word in words if word.endswith(SIMPLER)]
    said = [word for word in words if not word.endswith(SIMPLER)]
    if simple:
        said.insert(0, f"{', '.join(simple)}{SIMPLER}" if len(simple) <= MANY else f"operators{SIMPLER}")
    return f"say the {language.title} model in plainer words ({', '.join(said)}), and convert on from there"


def unfused(
    found: Measurement, names: Sequence[str], folder: Path, request: Request, context: Context
) -> Iterator[Way]:
    """Say an ONNX target so that onnxruntime leaves it as it is, for each optimizer of ``names`` that changed it."""
    target = found.pair.target
    if target is None or target.format != "onnx":
        return
    for place, name in enumerate(item for item in names if item in unfused_onnx.UNFUSED):
        edit = f"say the target in words that onnxruntime's {name} leaves alone"
        path = folder / str(place) / Path(target.path).name
        path.parent.mkdir(parents=True)
        try:
            if not _written(target, UNFUSED, path, [name]):
                continue
            model = following(found.pair.source, inspected(target.at(path), request.target_runtime, context), None)
            measured = measure_pair(replace(found.pair, target=model), request, context)
        except ConvfaultError as error:
            yield Way(edit, False, str(error))
            continue
        comparison = measured.comparison
        agrees = comparison.verdict == AGREE
        reason = "the target agrees with the source" if agrees else "; ".join(comparison.reasons)
        yield Way(edit, agrees, reason, measured)
