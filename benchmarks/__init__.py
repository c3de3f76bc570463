"""Benchmarks of speed and memory: `make bench`."""

from dsb2018 import compat

compat.require_detectron2()
