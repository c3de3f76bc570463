"""Axes and units of image files."""

from pathlib import Path

# {unit: micrometers}
MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
}


def understand_axes(axes: str, shape: tuple[int, ...], path: Path) -> tuple[str, dict[str, int]]:
    """Checks the axes of a file, and fixes T, Z and unknown axes of length 1 at index 0.

    Args:
        axes: a letter for each axis of the array.
        shape: shape of the array.
        path: path of the file, for messages.

    Returns:
        The axes, and {axis: index} of the fixed axes.

    Raises:
        ValueError: an axis occurs twice or is unknown, C and S both occur, or Y or X is missing.
    """
    has_duplicates = len(set(axes)) < len(axes)
    if has_duplicates or ("C" in axes and "S" in axes):
        raise ValueError(
            f"{path}: axes {axes} of shape {shape}, expected axes of TZCYX or TZYXS, each only once"
        )
    fixed = {}
    for axis, length in zip(axes, shape, strict=True):
        if axis not in "YXZCST":
            if length > 1:
                raise ValueError(f"{path}: axis {axis} of length {length}, expected axes of TZCYXS")
            fixed[axis] = 0
        elif length == 1 and axis in "ZT":
            fixed[axis] = 0
    if "Y" not in axes or "X" not in axes:
        raise ValueError(f"{path}: axes {axes}, expected Y and X among them")
    return axes, fixed
