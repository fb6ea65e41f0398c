"""Finds which layer of the target does what a layer of the source does, whatever is wrong with the target.

Where the whole structure is the same and no parameters speak against it, that decides (``relax.fingerprint``). Else
the layers are compared one by one (``resemblance``), along the paths (``paths``), and the assignment that keeps most of
both graphs is searched (``assignment``): structure before parameters, parameters and activations to break ties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from convfault.localization.aligning.alignment import Alignment, Match
from convfault.localization.aligning.assignment import CONNECTION, LEAST, Problem, Wiring, best_pairs, solve
from convfault.localization.aligning.paths import inputs_of, path_scores
from convfault.localization.aligning.resemblance import Resemblance, resemblance
from convfault.localization.aligning.testimony import judged
from convfault.relax.fingerprint import fingerprints
from convfault.relax.graph import Array, Graph

PASSES = 4
FORBIDDEN = -100.0
"""Worth of a pair of different kinds while the rest is searched."""


def align(
    source: Graph,
    target: Graph,
    source_values: Mapping[str, Array] | None = None,
    target_values: Mapping[str, Array] | None = None,
) -> Alignment:
    """Match the layers of two graphs.

    Values are activations by layer id, batch first, of the same pictures on both sides: evidence where parameters
    are broken; any may be missing. Raises nothing: what has no counterpart is listed as such.
    """
    equal = _of_equal_structure(source, target)
    if equal is not None:
        matches, settled = judged(source, target, equal)
        if settled:
            return _alignment(source, target, matches)
    if not len(source) or not len(target):
        return _alignment(source, target, ())
    known = resemblance(source, target, source_values, target_values)
    pairs = _searched(source, target, known, equal)
    return _alignment(source, target, judged(source, target, pairs, known)[0])


def _alignment(source: Graph, target: Graph, matches: Sequence[Match]) -> Alignment:
    matched = {match.source for match in matches}, {match.target for match in matches}
    return Alignment(
        tuple(sorted(matches, key=lambda match: source.position(match.source))),
        tuple(layer.id for layer in source if layer.id not in matched[0]),
        tuple(layer.id for layer in target if layer.id not in matched[1]),
    )


def _of_equal_structure(source: Graph, target: Graph) -> Array | None:
    """For each layer of the source the one of the target that stands at the same place, if that is so for all."""
    if len(source) != len(target):
        return None
    marks = fingerprints(source), fingerprints(target)
    places = {mark: target.position(name) for name, mark in marks[1].items()}
    if len(places) < len(target) or set(marks[0].values()) != set(places):
        return None
    return np.array([places[marks[0][layer.id]] for layer in source], int)


def _searched(source: Graph, target: Graph, known: Resemblance, equal: Array | None) -> Array:
    """For each layer of the source the position of its counterpart, -1 for none."""
    wirings = Wiring(source), Wiring(target)
    whole = 0.5 * (known.form - 1) + 0.4 * known.content + _ends(source, target)
    alone = np.where(known.form > 0, whole, FORBIDDEN)
    starts = _starts(source, target, known, alone)
    if equal is not None:
        starts.append(np.eye(len(target))[equal])
    neutral = _problem(alone, wirings, np.ones((len(source), len(target))))
    found: list[Array] = []
    for start in starts:
        if not any(np.array_equal(start, earlier) for earlier in found):
            found.append(_settled(alone, wirings, start))
    best = max(found, key=neutral.worth)
    tight = _tightened(replace(neutral, wiring=(wirings[0].direct, wirings[1].direct)), best)
    filled = _filled(_problem(whole, wirings, tight), tight)
    return np.where(filled.any(1), filled.argmax(1), -1)


def _tightened(direct: Problem, assignment: Array) -> Array:
    """With layers at the edge of a gap matched rather than equal ones inside it: more direct connections are kept."""
    for _ in range(2 * PASSES):
        gradient, matched = direct.gradient(assignment), _matched(assignment)
        held = np.where(assignment > 0, gradient, -np.inf)
        rows = np.where(matched[0] | ~matched[1], 0, gradient - held.max(0)[None, :])
        columns = np.where(matched[1] | ~matched[0], 0, gradient - held.max(1)[:, None])
        gains = np.maximum(rows, columns)
        at, place = np.unravel_index(int(np.argmax(gains)), gains.shape)
        if gains[at, place] < LEAST:
            break
        assignment = assignment.copy()
        assignment[at, :] = assignment[:, place] = 0.0
        assignment[at, place] = 1.0
    return assignment


def _matched(assignment: Array) -> tuple[Array, Array]:
    """Which layers of the source (a column) and of the target (a row) are matched."""
    return np.asarray(assignment.any(1))[:, None], np.asarray(assignment.any(0))[None, :]


def _filled(problem: Problem, assignment: Array) -> Array:
    """With what was left between matched layers matched too: a layer of a wrong kind stands where a right one did."""
    for _ in range(PASSES):
        matched = _matched(assignment)
        left = ~matched[0] & ~matched[1]
        added = best_pairs(np.where(left, problem.gradient(assignment), 0.0), LEAST)
        if not added.any():
            break
        assignment = assignment + added
    return assignment


def _settled(alone: Array, wirings: tuple[Wiring, Wiring], start: Array) -> Array:
    """Solved again and again, connections reaching over what was left unmatched, until nothing changes."""
    current = start
    for _ in range(PASSES):
        found = solve(_problem(alone, wirings, current), current)
        if np.array_equal(found, current):
            break
        current = found
    return current


def _problem(alone: Array, wirings: tuple[Wiring, Wiring], matched: Array) -> Problem:
    rows, columns = _matched(matched)
    slots = sorted(set(wirings[0].slots) & set(wirings[1].slots))
    return Problem(
        alone,
        (wirings[0].reaching(rows[:, 0]), wirings[1].reaching(columns[0])),
        tuple((wirings[0].slots[slot], wirings[1].slots[slot]) for slot in slots),
    )


def _starts(source: Graph, target: Graph, known: Resemblance, alone: Array) -> list[Array]:
    """First assignments: by the best path through each pair, and by what each pair has in common alone."""
    both = known.parametric[0][:, None] & known.parametric[1][None, :]
    single = known.form + known.content - 0.3 * both * (1 - known.content) + _ends(source, target)
    paths = path_scores(source, target, single)
    behind = np.maximum(paths.max(1)[:, None], paths.max(0)[None, :]) - paths
    likely = np.where(known.form > 0, np.maximum(3 - behind, 0), 0)
    return [best_pairs(likely), best_pairs(alone + 0.1 * likely)]


def _ends(source: Graph, target: Graph) -> Array:
    """For being a model's input or output on both sides, more at the same place; and a little for like depth."""
    depths = [_depths(graph) for graph in (source, target)]
    result = -0.02 * np.abs(depths[0][:, None] - depths[1][None, :]) / max(*depths[0], *depths[1], 1)
    for names in ((source.inputs, target.inputs), (source.outputs, target.outputs)):
        for a, first in enumerate(names[0]):
            for b, second in enumerate(names[1]):
                result[source.position(first), target.position(second)] += CONNECTION if a == b else CONNECTION / 2
    return np.asarray(result)


def _depths(graph: Graph) -> Array:
    """Layers on the longest path from an input."""
    depths: list[int] = []
    for sources in inputs_of(graph):
        depths.append(1 + max((depths[at] for at in sources), default=-1))
    return np.array(depths)
