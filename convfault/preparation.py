"""From a request to two models that are ready to run on the same data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convfault import zoo
from convfault.cache import key
from convfault.comparison import CONVERT, LOAD
from convfault.converters import route as routes
from convfault.converters.conversion import Conversion
from convfault.converters.convert import Limits, convert
from convfault.converters.install import showing
from convfault.converters.options import parse_options
from convfault.converters.route import Route
from convfault.dataset import Dataset
from convfault.errors import FormatError, SubjectError, TrustError, UnknownNameError, UsageError
from convfault.frameworks import FRAMEWORKS, runs
from convfault.frameworks.runs import Side
from convfault.model import Model, Signature
from convfault.preprocessing import Preprocessing
from convfault.request import Context, Request


@dataclass(frozen=True)
class Pair:
    """Source and target with what was needed to get there.

    ``target`` is None when the ``conversion`` failed or what it wrote cannot be opened; ``failure`` then says how.
    """

    source: Model
    target: Model | None
    conversion: Conversion | None
    dataset: Dataset
    assumptions: tuple[str, ...] = ()
    failure: str = ""

    @property
    def failed_stage(self) -> str:
        """Where the target failed to come about: ``convert`` or ``load`` of ``comparison.CRASH_STAGES``."""
        return LOAD if self.conversion is not None and self.conversion.target is not None else CONVERT


def prepare(request: Request, context: Context) -> Pair:
    """Build or find the source, convert or find the target, open the data, and settle both preprocessings."""
    dataset = Dataset.open(request.named_data, limit=request.pictures, seed=request.seed)
    # Files are looked at before anything takes time
    source = None if request.source is None else Model.from_path(request.source, request.weights, request.trust)
    target = None if request.target is None else Model.from_path(request.target, trusted=request.trust)
    source = inspected(source or named_source(request, context), request.source_runtime, context)
    source, assumptions = with_preprocessing(source, request.preprocessing, dataset)
    if target is None:
        return converted_pair(request, source, dataset, context, assumptions)
    target = inspected(target, request.target_runtime, context)
    return Pair(source, following(source, target, request.target_preprocessing), None, dataset, assumptions)


def converted_pair(
    request: Request, source: Model, dataset: Dataset, context: Context, assumptions: tuple[str, ...] = ()
) -> Pair:
    """A prepared source and what it is converted to, by the request's route or the default one."""
    conversion = convert_source(request, source, dataset, context)
    if conversion.target is None:
        return Pair(source, None, conversion, dataset, assumptions, conversion.message)
    try:
        target = inspected(conversion.target, request.target_runtime, context)
    except (FormatError, SubjectError, TrustError) as error:
        failure = f"what {conversion.hops[-1].tool} wrote cannot be opened: {error}"
        return Pair(source, None, conversion, dataset, assumptions, failure)
    target = following(source, target, request.target_preprocessing)
    return Pair(source, target, conversion, dataset, assumptions)


def named_source(request: Request, context: Context) -> Model:
    """A named model, built (and where it must be, converted) here."""
    assert request.model is not None
    framework = request.src or routes.parse(request.route or "").source
    if framework not in FRAMEWORKS:
        raise UnknownNameError("framework", framework, FRAMEWORKS.names())
    entry, phase = zoo.find(request.model), f"build {request.model}"
    context.progress.start(phase, None)
    model = zoo.build(entry.name, framework, request.weights or "calibrated", context.cache)
    context.progress.finish(phase)
    model = replace(model, trusted=request.trust)
    return model if model.framework == framework else _converted_origin(model, framework, context)


def _converted_origin(model: Model, framework: str, context: Context) -> Model:
    """The named model in a framework that it is not written in."""
    model = inspected(model, None, context)
    route = routes.default(model.framework, framework, model.format)
    conversion = convert(route, model, {}, context.cache, on_event=showing(context.progress))
    if conversion.target is None:
        raise SubjectError(f"{model.name} cannot be made for {framework}: {conversion.message}")
    return conversion.target


def inspected(model: Model, runtime: str | None, context: Context) -> Model:
    """The model with its signature, read by the framework that will run it."""
    framework = runtime or model.framework
    if framework not in FRAMEWORKS:
        raise UnknownNameError("framework", framework, FRAMEWORKS.names())
    return model.with_signature(runs.inspect(model, framework, context.cache))


def convert_source(request: Request, source: Model, dataset: Dataset, context: Context) -> Conversion:
    """Take the source along the chosen route, or the default one, to the target's framework."""
    if request.route:
        route = routes.parse(request.route)
        if route.source != source.framework:
            raise UsageError(f"the route {route} starts from {route.source}, but the source is {source.framework}")
    else:
        assert request.dst is not None
        route = routes.default(source.framework, request.dst, source.format)
    route = route.with_options(parse_options(request.tool_options))
    phase, done, show = f"convert {route}", 0, showing(context.progress)
    context.progress.start(phase, len(route.hops))

    def on_event(event: dict[str, Any]) -> None:
        nonlocal done
        if event["event"] == "hop_done":
            done += 1
            context.progress.update(phase, done)
        show(event)

    conversion = convert(
        route,
        source,
        {},
        context.cache,
        limits=Limits(context.seconds, context.megabytes),
        calibration=_calibration(route, source, dataset, context),
        on_event=on_event,
    )
    context.progress.finish(phase)
    return conversion


def _calibration(route: Route, source: Model, dataset: Dataset, context: Context) -> Mapping[str, Any] | None:
    """Pictures for tools that measure on some, when an option asks for them."""
    if not any(hop.converter.calibration_option in hop.options for hop in route.hops):
        return None
    assert source.preprocessing is not None
    batches, preprocessing = dataset.prepare(source.preprocessing, context.cache), source.preprocessing.to_record()
    content = key(dataset.sha256, preprocessing)
    return {"batches": batches.to_record(), "preprocessing": preprocessing, "key": content}


def with_preprocessing(model: Model, given: str | None, dataset: Dataset) -> tuple[Model, tuple[str, ...]]:
    """The source with its preprocessing: given, the model's own, in a side file, or read from its signature.

    The second value names what had to be assumed.
    """
    assert model.signature is not None
    side_file = next((str(path) for path in _side_files(model) if path.is_file()), None)
    base = model.preprocessing or (_from_signature(model.signature) if dataset.pictures else Preprocessing())
    if base is not None and not dataset.pictures:
        base = base.with_layout(_layout(model, base.layout))
    if text := given or side_file:
        return model.with_preprocessing(replace(read_preprocessing(text, base), assumed=())), ()
    return model.with_preprocessing(base), tuple(f"preprocessing: {assumed}" for assumed in base.assumed)


def following(source: Model, target: Model, given: str | None) -> Model:
    """The target with its preprocessing: given, in a side file, or the source's in the target's layout and size."""
    assert source.preprocessing is not None
    base = target.preprocessing or _fitted(source.preprocessing, target)
    side_file = next((str(path) for path in _side_files(target) if path.is_file()), None)
    if text := given or side_file:
        base = replace(read_preprocessing(text, base), assumed=())
    return target.with_preprocessing(base)


def read_preprocessing(text: str, base: Preprocessing) -> Preprocessing:
    """From a TOML file, or from inline TOML such as ``size = 224, scale = 0.00784``."""
    import tomllib

    if Path(text).suffix == ".toml" or Path(text).is_file():
        return Preprocessing.from_toml(Path(text), base)
    try:
        return Preprocessing.from_record(tomllib.loads(f"inline = {{{text}}}")["inline"], base)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"cannot read the preprocessing '{text}': {error}; write: size = 224, scale = 0.0078"
        ) from error


def sides(pair: Pair, request: Request, context: Context) -> tuple[Side, Side]:
    """Both sides, their pictures decoded, ready for ``runs.run``."""
    assert pair.target is not None
    assert pair.source.preprocessing is not None
    source = prepared_side("source", pair.source, request.source_runtime, pair, context)
    target = prepared_side("target", pair.target, request.target_runtime, pair, context)
    return source, target


def prepared_side(label: str, model: Model, runtime: str | None, pair: Pair, context: Context) -> Side:
    """One model over the pair's data, decoded for its preprocessing."""
    assert model.preprocessing is not None
    assert pair.source.preprocessing is not None
    dataset, phase = pair.dataset, "decode pictures"
    # Arrays are in the source's layout, and are transposed for a side with another one
    wanted = model.preprocessing if dataset.pictures else pair.source.preprocessing
    context.progress.start(phase, dataset.count)
    batches = dataset.prepare(wanted, context.cache, lambda done, _: context.progress.update(phase, done))
    context.progress.finish(phase)
    data_key = key(dataset.sha256, wanted.geometry if dataset.pictures else wanted.layout)
    return Side(label, model, runtime or model.framework, batches, data_key, model.preprocessing)


def _side_files(model: Model) -> tuple[Path, ...]:
    if model.format == "torch_function":
        return ()
    path = Path(model.path)
    return (path.with_name(path.name + ".toml"), path.with_suffix(".toml"))


def _from_signature(signature: Signature) -> Preprocessing:
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise UsageError(f"the model has several inputs ({names}): give an .npz with one array for each as --data")
    return Preprocessing.for_input(signature.inputs[0].shape)


def _layout(model: Model, default: str) -> str:
    """NCHW or NHWC as the first picture-like input tells, else what the framework is used to."""
    assert model.signature is not None
    shapes = [spec.shape for spec in model.signature.inputs if len(spec.shape) == 4]
    for shape in shapes:
        first, last = shape[1] in {1, 3}, shape[3] in {1, 3}
        if first != last:
            return "NCHW" if first else "NHWC"
    return FRAMEWORKS[model.framework].layout or default


def _fitted(preprocessing: Preprocessing, target: Model) -> Preprocessing:
    """The source's preprocessing in the layout of the target's input."""
    return preprocessing.with_layout(_layout(target, preprocessing.layout))
