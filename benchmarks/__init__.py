"""Speed, measured beside what it is compared with: `make bench`."""

from dsb2018 import compat

compat.require_detectron2()
