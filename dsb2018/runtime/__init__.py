"""Runs trained models without torch: the input, the scale, the network in ONNX Runtime, the nuclei.

The maps of a network become nuclei in the same way here and in `dsb2018.modeling`, which imports
this package. This package imports neither torch nor Detectron2.
"""
