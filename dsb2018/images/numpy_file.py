"""Reader of NumPy's `.npy` files."""

from pathlib import Path

from dsb2018.images.axes import understand_axes
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.io.arrays import read_array


def open_numpy(name: str, path: Path) -> list[MicroscopyImage]:
    """Reads an array: (H, W), (H, W, 3) RGB, or (Z, H, W) slices.

    Raises:
        ValueError: the file is damaged, contains Python objects, or has other axes.
    """
    array = read_array(path)
    if array.ndim not in (2, 3):
        raise ValueError(f"{path}: an array of shape {array.shape}, expected (H, W) or (H, W, 3)")
    axes = "YXS" if array.ndim == 3 and array.shape[2] in (1, 3) else "ZYX"[-array.ndim :]
    return [MicroscopyImage(name, path, array, *understand_axes(axes, array.shape, path))]
