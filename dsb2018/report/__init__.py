"""Comparisons of models, and of other tools: scores with their uncertainty, tables and pages."""

from dsb2018 import compat

compat.require_detectron2()
