"""From two models that differ to a target that agrees, proven by running the written file on all of the data."""
