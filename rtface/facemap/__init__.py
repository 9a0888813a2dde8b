"""Facemap's weights as a model bundle: fetched, read without running them, written as ONNX."""
