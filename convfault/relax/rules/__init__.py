"""The normalization rules, one function each, in the order in which they are tried on a layer."""

from __future__ import annotations

from convfault.relax.draft import Rule
from convfault.relax.rules import (
    activation,
    affine,
    constants,
    dilation,
    linear,
    normalization,
    order,
    pool,
    power,
    rearrange,
    resizing,
    response,
    scatter,
    sequence,
    shape,
    smooth,
)

RECOGNIZE: tuple[Rule, ...] = normalization.RECOGNIZE
"""What can no longer be told once constants are folded."""

SIMPLIFY: tuple[Rule, ...] = (
    *constants.RULES,
    *shape.RULES,
    *sequence.RULES,
    *order.RULES,
    *pool.RULES,
    *rearrange.RULES,
    *resizing.RULES,
    *scatter.RULES,
)
"""No-ops gone, constants folded, transposes out of the way, one form for each window."""

COMBINE: tuple[Rule, ...] = (
    *SIMPLIFY,
    *dilation.RULES,
    *linear.RULES,
    *activation.RULES,
    *power.RULES,
    *smooth.RULES,
    *normalization.RULES,
    *response.RULES,
    *affine.RULES,
)
"""And weights absorbed, activations recognized, scales and shifts folded into them."""
