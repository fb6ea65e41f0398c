"""All TensorFlow operators that convfault imports: the tables of the operator families together."""

from __future__ import annotations

from convfault.relax import graphdef_elementwise, graphdef_scatter, graphdef_shape, graphdef_window
from convfault.relax.graphdef import Operator

OPERATORS: dict[str, Operator] = {
    **graphdef_elementwise.OPERATORS,
    **graphdef_scatter.OPERATORS,
    **graphdef_shape.OPERATORS,
    **graphdef_window.OPERATORS,
}
