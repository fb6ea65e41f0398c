"""Which targets are conversions of their source, however badly converted, and which are other models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from convfault.localization.aligning.align import align
from convfault.localization.case import Subject
from convfault.localization.parameters import analyzer as parameters
from convfault.relax.edits import Remove, Substitute
from convfault.relax.graph import Graph, Layer, Parameter
from convfault.repairing.kinship import Kinship, kinship
from tests.localization.networks import inception_network, residual_network
from tests.localization.pairs import case_of
from tests.localization.wirings import Tensors

Damage = Callable[[np.ndarray], np.ndarray]


def found(source: Graph, target: Graph) -> Kinship:
    case = case_of(source, target)
    sides = [answered(side) for side in (case.source, case.target)]
    case = replace(case, source=sides[0], target=sides[1], alignment=align(source, target))
    return kinship(case, parameters.examine(case))


def answered(side: Subject) -> Subject:
    """With the native answers that are its graph's own."""
    answer = side.values[side.graph.outputs[0]]
    return replace(side, trace=Tensors({"answer": answer}, ("answer",)))  # type: ignore[arg-type]


def weighty(graph: Graph) -> list[Layer]:
    return [layer for layer in graph if "weights" in layer.parameters]


def damaged(graph: Graph, damage: Damage, share: float = 1.0) -> Graph:
    layers = weighty(graph)
    for layer in layers[: int(share * len(layers))]:
        graph = graph.with_parameters(layer.id, weights=damage(layer.parameters["weights"].values))
    return graph


def another_training(values: np.ndarray) -> np.ndarray:
    drawn = np.random.default_rng([*values.shape, int(np.abs(values).sum() * 1000)]).standard_normal(values.shape)
    return (drawn * values.std()).astype(np.float32)


def rounded(values: np.ndarray) -> np.ndarray:
    scale = np.abs(values).max(axis=tuple(range(values.ndim - 1)), keepdims=True) / 127
    return (np.rint(values / scale) * scale).astype(np.float32)


def further_trained(values: np.ndarray) -> np.ndarray:
    return (values + 0.3 * another_training(values)).astype(np.float32)


DAMAGES: list[Damage] = [
    rounded,
    further_trained,
    np.negative,
    np.zeros_like,
    lambda values: 3 * values,
    lambda values: np.ascontiguousarray(values[..., ::-1]),
    lambda values: np.ascontiguousarray(np.swapaxes(values, 0, 1)) if values.shape[0] == values.shape[1] else values,
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("network", [residual_network, inception_network])
def test_values_that_are_all_damaged_stay_a_conversion(network: Callable[[], Graph], damage: Damage) -> None:
    source = network()
    assert found(source, damaged(source, damage)).refusal(weights=False) is None


@pytest.mark.parametrize("network", [residual_network, inception_network])
def test_weights_of_another_training_are_refused_unless_asked_for(network: Callable[[], Graph]) -> None:
    source = network()
    strange = found(source, damaged(source, another_training))
    said = str(strange.refusal(weights=False))
    assert f"the weights of {strange.layers} of {strange.layers} have nothing to do with the source's" in said
    assert "--strategy weights" in said
    assert strange.refusal(weights=True) is None


def test_weights_of_another_training_in_a_few_layers_are_a_fault() -> None:
    source = residual_network()
    target = damaged(source, another_training, share=0.4)
    assert found(source, target).foreign > 0
    assert found(source, target).refusal(weights=False) is None


@pytest.mark.parametrize("pair", [(residual_network, inception_network), (inception_network, residual_network)])
def test_another_architecture_is_refused_whatever_is_asked_for(pair: tuple[Callable[[], Graph], ...]) -> None:
    for weights in (False, True):
        said = str(found(*(network() for network in pair)).refusal(weights))
        assert "not a conversion of this source: only " in said
        assert "layers with weights correspond" in said


@pytest.mark.parametrize("kind", ["clip", "add"])
def test_a_target_that_lacks_layers_stays_a_conversion(kind: str) -> None:
    source = target = residual_network()
    for layer in source:
        if layer.kind == kind:
            target = Remove(layer.id, target.readers[layer.id]).apply(target)
    assert len(target) < len(source)
    assert found(source, target).refusal(weights=False) is None


def test_a_dense_layer_may_be_a_convolution() -> None:
    source = residual_network()
    dense = next(layer for layer in source if layer.kind == "dense")
    values = dense.parameters["weights"].values
    target = Substitute(replace(dense, kind="convolution")).apply(source)
    target = target.with_layer(replace(target[dense.id], parameters={"weights": Parameter(values[None, None])}))
    assert kinship(case_of(source, target), ()).alike == len(weighty(source))


def test_models_without_weights_are_never_refused() -> None:
    assert Kinship(0, 0, 0).refusal(weights=False) is None
