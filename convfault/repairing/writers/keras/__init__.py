"""Writes edits into Keras models, ``.keras`` and ``.h5``, of Keras 3 and 2."""
