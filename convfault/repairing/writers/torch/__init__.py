"""Writes edits into exported programs of torch, and into state dicts."""
