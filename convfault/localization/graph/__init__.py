"""The analyzer of the graph: which nodes are missing, superfluous, misplaced, or wired otherwise."""
