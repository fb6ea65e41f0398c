"""Writes edits into ONNX models."""
