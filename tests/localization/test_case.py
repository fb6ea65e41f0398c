"""A side of a case: what its runtime computed for each layer."""

from __future__ import annotations

import numpy as np

from tests.localization.wirings import PICTURES, network, subject


def test_a_layer_has_the_value_that_the_runtime_computed() -> None:
    graph = network()
    name = graph.outputs[0]
    values = np.ones((len(PICTURES), *graph[name].shape[1:]), np.float32)
    found = subject(graph, {str(graph[name].native.tensor): values}).native(name)
    assert found is not None
    np.testing.assert_array_equal(found, values)


def test_a_tensor_of_another_form_is_no_value_of_the_layer() -> None:
    graph = network()
    name = graph.outputs[0]
    assert (
        subject(graph, {str(graph[name].native.tensor): np.ones((len(PICTURES), 7), np.float32)}).native(name) is None
    )
