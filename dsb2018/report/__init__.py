"""Comparison of models and other tools: scores with confidence intervals, tables and pages."""

from dsb2018 import compat

compat.require_detectron2()
