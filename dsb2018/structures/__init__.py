"""Masks, label images, nuclei, ground truth and contrast: NumPy only, no torch."""
