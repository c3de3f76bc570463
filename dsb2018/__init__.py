"""Nuclei segmentation in microscopy images on Detectron2."""

__version__ = "0.1.0"
