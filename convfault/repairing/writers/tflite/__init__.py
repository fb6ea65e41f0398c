"""Writes edits into TFLite files."""
