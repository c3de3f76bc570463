"""Tiled processing of large images."""
