"""Reader of the files of microscope vendors, through `bioio` and its plugins.

Each plugin is a package of its own. Windows are read from CZI and ND2 files; of other files, the
whole scene is read into memory.
"""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dsb2018.images.axes import understand_axes
from dsb2018.images.microscopy_image import SMALL, MicroscopyImage

CZI = ".czi"
# {file extension: plugin}
PLUGINS = {
    CZI: "bioio-czi",
    ".nd2": "bioio-nd2",
    ".lif": "bioio-lif",
    ".dv": "bioio-dv",
    ".sldy": "bioio-sldy",
    **dict.fromkeys((".ims", ".oib", ".oif", ".oir", ".vsi"), "bioio-bioformats"),
}
logger = logging.getLogger(__name__)
INCLUDED = ("bioio-czi", "bioio-nd2", "bioio-lif")  # in the extra `vendor`


def open_vendor_file(name: str, path: Path) -> list[MicroscopyImage]:
    """Opens the scenes of a file.

    Returns:
        An image for each scene, with its pixel size and channel names. With several scenes, the
        number of the scene is added to the name.

    Raises:
        ImportError: `bioio` or its plugin is not installed.
        ValueError: the axes are not supported. The plugins raise other errors for damaged files.
    """
    plugin = PLUGINS[path.suffix.lower()]
    if not (find_spec("bioio") and find_spec(plugin.replace("-", "_"))):
        packages = '"dsb2018[vendor]"' if plugin in INCLUDED else f"bioio {plugin}"
        raise ImportError(f"{path}: files with {path.suffix} need: pip install {packages}")
    from bioio import BioImage  # takes a while, and few commands need it

    count = len(BioImage(path).scenes)
    return [
        _open_scene(BioImage(path), path, number, name if count == 1 else f"{name}_s{number:04d}")
        for number in range(count)
    ]


def _open_scene(file: Any, path: Path, number: int, name: str) -> MicroscopyImage:
    file.set_scene(number)
    array = _Scene(file, is_reversed=path.suffix.lower() == CZI)
    is_small = np.prod(array.shape) * array.dtype.itemsize <= SMALL
    y, x, z = _read_sizes(file, path)
    return MicroscopyImage(
        name,
        path,
        array[(slice(None),) * len(array.axes)] if is_small else array,
        *understand_axes(array.axes, array.shape, path),
        pixel_size=(y, x) if y and x else None,
        slice_distance=z,
        channels=tuple(map(str, file.channel_names or ())) if "C" in array.axes else (),
    )


def _read_sizes(file: Any, path: Path) -> tuple[float | None, float | None, float | None]:
    """Returns height and width of a pixel and the distance of slices, micrometers."""
    try:
        sizes = file.physical_pixel_sizes
    except Exception as error:  # noqa: BLE001 plugins raise any error for missing metadata
        logger.warning("%s: the pixel size cannot be read (%s)", path, error)
        return None, None, None
    return sizes.Y, sizes.X, sizes.Z


class _Scene:
    """The pixels of a scene, which are read when it is indexed.

    Args:
        file: of bioio, set to the scene.
        is_reversed: whether colors are stored as blue, green and red.
    """

    def __init__(self, file: Any, *, is_reversed: bool):
        self._file, self._is_reversed = file, is_reversed
        lengths = dict(zip(file.dims.order, file.shape, strict=True))
        if "S" in lengths and lengths["C"] == 1:  # colors are one channel
            del lengths["C"]
        self.axes, self.shape = "".join(lengths), tuple(lengths.values())
        self.dtype = np.dtype(file.dtype)

    def __getitem__(self, key: tuple[int | slice, ...]) -> np.ndarray:
        chosen = {
            axis: slice(*part.indices(length)) if isinstance(part, slice) else part
            for axis, part, length in zip(self.axes, key, self.shape, strict=True)
        }
        colors = chosen.pop("S", slice(None))
        kept = "".join(axis for axis, part in chosen.items() if isinstance(part, slice))
        fixed = {} if "C" in self.axes else {"C": 0}
        if "S" not in self.axes:
            return self._file.get_image_data(kept, **chosen, **fixed)
        pixels = self._file.get_image_data(f"{kept}S", **chosen, **fixed)
        return (pixels[..., ::-1] if self._is_reversed else pixels)[..., colors]
