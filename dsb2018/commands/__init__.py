"""Implementation of the scripts in `tools/`."""
