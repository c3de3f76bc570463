"""Separates the stains of tissue sections, which absorb light of different colors."""

import numpy as np

STAINS = ("hematoxylin", "eosin", "dab")


def unmix(pixels: np.ndarray, stain: str) -> np.ndarray:
    """Computes the amount of a stain by color deconvolution (Ruifrok and Johnston, 2001).

    Args:
        pixels: (H, W, 3) RGB of any real dtype; floats from 0 to 1.
        stain: one of `STAINS`.

    Returns:
        (H, W, 1) float32 optical density, 0 where there is none.
    """
    from skimage.color import hed_from_rgb, separate_stains  # slow to import, and rarely needed

    densities = separate_stains(pixels, hed_from_rgb)
    return densities[..., STAINS.index(stain), None].astype(np.float32)
