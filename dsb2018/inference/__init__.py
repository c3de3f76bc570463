"""From image files to nuclei: reading, tiles, stacks, measuring and writing.

`Predictor` is the Python side of it, `tools/predict.py` the command.
"""
