"""Masks, label images, nuclei, ground truth and contrast. Only `instances` imports torch."""
