"""What holds for the session of every framework, on the same tiny network in each format."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.errors import FormatError, MissingPackageError, ShapeError, UnknownNameError
from convfault.frameworks import FRAMEWORKS
from convfault.frameworks.base import Framework, Perturbation, Session
from convfault.model import Model
from tests import tiny

FORMATS = ("torch", "keras", "saved_model", "frozen_graph", "tflite", "onnx")


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return np.asarray(tiny.keras_network()(tiny.pictures(8), training=False))


@pytest.fixture(scope="module", params=FORMATS)
def model(request: pytest.FixtureRequest) -> Model:
    return Model.from_path(str(request.getfixturevalue(f"tiny_{request.param}")))


@pytest.fixture(scope="module")
def session(model: Model) -> Iterator[Session]:
    with FRAMEWORKS[model.framework].open(model) as session:
        yield session


def feeds(session: Session, layout: str, count: int = 8) -> dict[str, np.ndarray]:
    return {session.signature.inputs[0].name: tiny.pictures(8, layout=layout)[:count]}


def run(model: Model, perturbation: Perturbation | None = None) -> np.ndarray:
    framework = FRAMEWORKS[model.framework]
    with framework.open(model, perturbation) as session:
        return session.run(feeds(session, framework.layout)).output()


def test_signature_has_native_names_and_a_free_batch(model: Model) -> None:
    framework = FRAMEWORKS[model.framework]
    signature = framework.signature(model)
    picture = (tiny.SIZE, tiny.SIZE, 3) if framework.layout == "NHWC" else (3, tiny.SIZE, tiny.SIZE)
    assert [(spec.shape, spec.dtype) for spec in signature.inputs] == [((None, *picture), "float32")]
    assert [(spec.shape, spec.dtype) for spec in signature.outputs] == [((None, tiny.CLASSES), "float32")]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_any_batch_size_answers_like_the_reference(
    model: Model, session: Session, expected: np.ndarray, count: int
) -> None:
    output = session.run(feeds(session, FRAMEWORKS[model.framework].layout, count)).output()
    assert output.dtype == np.float32
    assert output.flags.c_contiguous
    np.testing.assert_allclose(output, expected[:count], atol=5e-6)


def test_trace_says_where_it_comes_from(model: Model, session: Session) -> None:
    framework = FRAMEWORKS[model.framework]
    trace = session.run(feeds(session, framework.layout, 1))
    assert (trace.framework, trace.layout, trace.version) == (framework.name, framework.layout, framework.version())
    assert trace.outputs == tuple(spec.name for spec in session.signature.outputs)


def test_every_listed_tensor_can_be_captured_in_the_shape_that_was_said(model: Model, session: Session) -> None:
    specs = session.tensors()
    assert len({spec.name for spec in specs}) == len(specs) >= 6
    trace = session.run(feeds(session, FRAMEWORKS[model.framework].layout, 3), [spec.name for spec in specs])
    for spec in specs:
        assert trace.tensors[spec.name].shape == (3, *spec.shape[1:])
        assert str(trace.tensors[spec.name].dtype) == spec.dtype


def test_capturing_changes_no_answer(model: Model, session: Session, expected: np.ndarray) -> None:
    names = [spec.name for spec in session.tensors()]
    trace = session.run(feeds(session, FRAMEWORKS[model.framework].layout), names[:3])
    np.testing.assert_allclose(trace.output(), expected, atol=5e-6)


def test_the_same_inner_values_in_every_framework(model: Model, session: Session) -> None:
    """The pooled features: the only inner tensor of rank 2 with 64 columns."""
    pooled = next(spec.name for spec in session.tensors() if spec.shape[1:] == (64,))
    layout = FRAMEWORKS[model.framework].layout
    values = session.run(feeds(session, layout), [pooled]).tensors[pooled]
    logits = values @ tiny.weights()["dense/kernel"] + tiny.weights()["dense/bias"]
    odds = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(
        odds / odds.sum(1, keepdims=True), session.run(feeds(session, layout)).output(), atol=1e-5
    )


def test_unknown_tensor_is_refused_with_the_nearest(model: Model, session: Session) -> None:
    name = session.tensors()[0].name
    with pytest.raises(UnknownNameError, match="did you mean"):
        session.run(feeds(session, FRAMEWORKS[model.framework].layout, 1), [name[:-1] + "~"])


def test_inputs_of_other_names_are_refused(session: Session) -> None:
    with pytest.raises(ShapeError, match="the model's inputs are"):
        session.run({"nothing": np.zeros((1, 3), np.float32)})


def test_perturbation_moves_the_answers_a_little_and_leaves_the_file(model: Model, expected: np.ndarray) -> None:
    before = Model.from_path(model.path).sha256
    moved = np.abs(run(model, Perturbation(seed=1)) - expected).max()
    assert 1e-7 < moved < 1e-3
    assert Model.from_path(model.path).sha256 == before
    np.testing.assert_allclose(run(model), expected, atol=5e-6)


def test_perturbation_is_the_same_for_one_seed_and_another_for_the_next(model: Model) -> None:
    first, again, other = (run(model, Perturbation(seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


@pytest.mark.parametrize("batch", [4])
@pytest.mark.parametrize("kind", FORMATS)
def test_fixed_batch_runs_any_number_of_pictures(tmp_path: Path, kind: str, batch: int, expected: np.ndarray) -> None:
    build = getattr(tiny, kind if kind in {"saved_model", "frozen_graph"} else f"{kind}_model")
    model = Model.from_path(str(build(tmp_path, batch=batch)))
    framework = FRAMEWORKS[model.framework]
    with framework.open(model) as session:
        if kind != "tflite":  # which is resized instead
            assert session.signature.inputs[0].shape[0] == batch
        inner = session.tensors()[-2].name
        for count in (1, 4, 7):
            trace = session.run(feeds(session, framework.layout, count), [inner])
            assert len(trace.tensors[inner]) == count
            np.testing.assert_allclose(trace.output(), expected[:count], atol=5e-6)


SINGLE_FILES = ("torch", "keras", "frozen_graph", "tflite", "onnx")


@pytest.mark.parametrize("damage", ["truncated", "garbage", "scrambled"])
@pytest.mark.parametrize("kind", SINGLE_FILES)
def test_damaged_file_is_one_sentence(request: pytest.FixtureRequest, tmp_path: Path, kind: str, damage: str) -> None:
    sound: Path = request.getfixturevalue(f"tiny_{kind}")
    content = bytearray(sound.read_bytes())
    if damage == "truncated":
        content = content[: len(content) * 2 // 3]
    elif damage == "garbage":
        content[8:] = np.random.default_rng(0).bytes(4000)
    else:
        content = content[: len(content) // 2] + b"\x00" * 64 + content[len(content) // 2 + 64 :][::-1]
    bad = tmp_path / sound.name
    bad.write_bytes(content)
    framework = FRAMEWORKS[Model.from_path(str(sound)).framework]
    with pytest.raises(FormatError) as caught:
        framework.signature(Model(str(bad), Model.from_path(str(sound)).format))
    assert str(bad) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "package"),
    [("torch", "torch"), ("keras", "keras"), ("tf", "tensorflow"), ("onnx", "onnxruntime"), ("onnx", "onnx")],
)
def test_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    framework = FRAMEWORKS[name]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingPackageError, match=rf"{package} is not installed: pip install \"convfault\[{framework.extra}\]"
    ):
        framework.signature(Model("nowhere", {"tf": "frozen_graph", "torch": "pt2"}.get(name, name)))


def test_broken_package_is_told_from_a_missing_one() -> None:
    framework: Framework = FRAMEWORKS["onnx"]
    with pytest.raises(MissingPackageError, match="installed but cannot be imported"), framework.importing():
        raise OSError("libsomething.so.1: cannot open shared object file")


def test_adapters_import_no_framework_by_themselves() -> None:
    import subprocess

    modules = ["torch", "keras", "tensorflow", "tflite", "onnx"]
    code = (
        "import sys; "
        + "; ".join(f"import convfault.frameworks.{name}" for name in modules)
        + "; print([m for m in ('torch', 'keras', 'tensorflow', 'ai_edge_litert', 'onnx', 'onnxruntime', 'numpy')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_perturbation_of_float16_keeps_its_mean_by_random_rounding() -> None:
    weights = np.full(200_000, 1.5, np.float16)
    moved = Perturbation().apply(weights, 0)
    steps = (moved.astype(np.float64) - 1.5) / np.spacing(np.float16(1.5))
    assert set(np.unique(steps)) == {-1.0, 0.0, 1.0}
    assert 0 < np.mean(steps != 0) < 0.02


def test_a_model_of_coarser_precision_is_perturbed_by_more() -> None:
    weights = np.full(10_000, 0.75, np.float32)
    single, half, brain = (
        float(np.std(Perturbation(2.0**-22).apply(weights, 0, name))) for name in ("float32", "float16", "bfloat16")
    )
    np.testing.assert_allclose([half / single, brain / single], [2.0**11, 2.0**14], rtol=0.1)
    stored = Perturbation(2.0**-22).apply(weights.astype(np.float16), 0, "float16")
    np.testing.assert_allclose(np.std(stored.astype(np.float32)), half, rtol=0.1)


def test_perturbation_leaves_integers_alone() -> None:
    weights = np.arange(5, dtype=np.int8)
    assert Perturbation().apply(weights, 0) is weights


def test_the_weights_of_a_perturbation_do_not_depend_on_their_neighbours() -> None:
    values: Any = np.ones(4, np.float32)
    np.testing.assert_array_equal(Perturbation().apply(values, 3), Perturbation().apply(values.copy(), 3))
    assert (Perturbation().apply(values, 3) != Perturbation().apply(values, 4)).any()


def test_every_adapter_is_registered() -> None:
    for name in ("torch", "keras", "tf", "tflite", "onnx"):
        assert isinstance(FRAMEWORKS[name], Framework)
    assert importlib.import_module("convfault.frameworks.tflite").TFLITE is FRAMEWORKS["tflite"]
