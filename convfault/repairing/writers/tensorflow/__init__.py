"""Writes edits into frozen TensorFlow graphs and SavedModels."""
