"""From image files to nuclei: readers, tiling, stacks, measurements and output formats.

`Predictor` is the Python interface, and `tools/predict.py` is the command.
"""
