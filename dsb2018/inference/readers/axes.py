"""What the axes of a file mean, and its units."""

from pathlib import Path

MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
}


def understand_axes(axes: str, shape: tuple[int, ...], path: Path) -> tuple[str, dict[str, int]]:
    """Axes of one length are held at 0; others than known ones must not be longer.

    Args:
        axes: a letter for each axis of the shape.
        shape: of the file's array.
        path: of the file, for messages.

    Returns:
        The axes, and the positions of those that are held.

    Raises:
        ValueError: axes that no image has, or no Y and X.
    """
    twice = sorted({axis for axis in axes if axes.count(axis) > 1})
    if twice or ("C" in axes and "S" in axes):
        raise ValueError(f"{path}: axes {axes} of {shape}, expected some of TZCYX, or TZYXS")
    fixed = {}
    for axis, length in zip(axes, shape, strict=True):
        if axis not in "YXZCST":
            if length > 1:
                raise ValueError(f"{path}: an axis {axis!r} of {length}, expected some of TZCYXS")
            fixed[axis] = 0
        elif length == 1 and axis in "ZT":
            fixed[axis] = 0
    if "Y" not in axes or "X" not in axes:
        raise ValueError(f"{path}: axes {axes}, expected Y and X among them")
    return axes, fixed
