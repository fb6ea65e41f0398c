"""What a report draws and tells of its faults, in few numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from convfault.localization.illustration import SHOWN
from convfault.localization.knowledge import TABLES, about
from convfault.localization.neighbourhood import neighbourhood
from convfault.localization.parameters import analyzer as parameters
from convfault.localization.picture import BINS, COLUMNS, ROWS, picture, pooled
from convfault.localization.suspect import Suspect
from tests.localization.wirings import case, network
from tests.render import localized
from tests.render.localized import fault


def suspect(**more: Any) -> Suspect:
    return Suspect("graph", "missing_node", "It is missing.", "Put it back.", **more)


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 60), st.integers(1, 60)), elements=st.floats(0, 1e9)))
def test_a_pooled_picture_is_small_and_keeps_the_largest_error(errors: Any) -> None:
    found = pooled(errors)
    assert found.shape == (min(ROWS, errors.shape[0]), min(COLUMNS, errors.shape[1]))
    assert found.max() == errors.max()


def test_the_picture_of_a_parameter_shows_where_and_how_much() -> None:
    source = network()
    weights = source["conv5"].parameters["weights"].values.copy()
    weights[0, 0, 2, 3] += 1
    made = case(source, source.with_parameters("conv5", weights=weights))
    (found,) = parameters.examine(made)
    drawn = picture(made, found)
    assert drawn is not None
    assert drawn["parameter"] == "weights"
    assert np.argwhere(np.asarray(drawn["heat"]) > 0).tolist() == [[0, 3]]
    assert drawn["edges"] == pytest.approx([-1, 1])
    assert (sum(drawn["counts"]), drawn["counts"][-1], len(drawn["counts"])) == (weights.size, 1, BINS)


def test_values_that_are_not_finite_leave_a_hole_and_json_can_hold_it() -> None:
    source = network()
    weights = source["conv5"].parameters["weights"].values.copy()
    weights[0, 0, 0, 0] = np.nan
    made = case(source, source.with_parameters("conv5", weights=weights))
    drawn = picture(made, parameters.examine(made)[0])
    assert drawn is not None
    assert drawn["heat"][0][0] is None
    assert "NaN" not in json.dumps(drawn)


def test_a_suspect_without_other_values_has_no_picture() -> None:
    made = case(network(), network())
    assert picture(made, Suspect("parameters", "noise", "", "", source="conv5", target="conv5")) is None
    assert picture(made, suspect(source="conv5", target="conv5")) is None


def test_the_neighbourhood_of_a_missing_layer_shows_the_place_on_both_sides() -> None:
    source = network()
    made = case(source, source.without("relu2"))
    found = neighbourhood(made, suspect(source="relu2"))
    assert found is not None
    ids = {side: {layer["id"] for layer in found[side]["layers"]} for side in ("source", "target")}
    assert "relu2" in ids["source"]
    assert {"sum", "conv3", "conv4"} <= ids["source"] & ids["target"]
    assert ["sum", "conv3"] in found["target"]["edges"]
    assert [layer["id"] for layer in found["source"]["layers"] if layer["fault"]] == ["relu2"]


def test_only_what_differs_is_marked() -> None:
    source = network()
    target = source.with_hyperparameters("pool", count_padding=True)
    found = neighbourhood(case(source, target), suspect(source="pool", target="pool"))
    assert found is not None
    differing = {layer["id"]: layer["differs"] for layer in found["target"]["layers"] if layer["differs"]}
    assert differing == {"pool": ["count_padding"]}


@pytest.mark.parametrize("places", [{}, {"source": "nowhere", "target": None}])
def test_a_suspect_of_no_layer_has_no_neighbourhood(places: dict[str, Any]) -> None:
    assert neighbourhood(case(network(), network()), suspect(**places)) is None


def test_the_worst_of_each_cause_is_drawn_and_all_know_their_layers() -> None:
    several, rounded = localized.several().faults, localized.rounded().faults
    assert all("neighbourhood" in found.evidence for found in several)
    assert ["neighbourhood" in found.evidence for found in rounded] == [True, *[False] * 5]
    assert all("layers" in found.evidence for found in (*several, *rounded))
    assert len(several) <= SHOWN


def test_a_missing_layer_knows_what_comes_after_it() -> None:
    (missing,) = (found for found in localized.several().faults if found.cause == "missing_node")
    assert missing.evidence["layers"] == {"source": "relu2", "target": None, "before": "conv3"}


@pytest.mark.parametrize(("kind", "cause"), [(kind, cause) for kind, table in TABLES.items() for cause in table])
def test_what_is_known_of_a_cause_is_told_in_sentences(kind: str, cause: str) -> None:
    texts = about([fault(kind=kind, cause=cause)])[kind][cause]
    assert set(texts) == {"finds", "arises", "example", "repair"}
    assert all(text.endswith((".", "!", "?")) for text in texts.values())


def test_of_an_unknown_cause_nothing_is_told() -> None:
    assert about([fault(kind="parameters", cause="made_up")]) == {}
    assert about([]) == {}
