"""Runs packages of bioimage.io.

Those that `dsb2018 export` wrote give exactly the nuclei of the exported model. Packages of others
run in `bioimageio.core` if their maps can become nuclei: a foreground and perhaps boundaries or
distances. Packages may come from anybody, so their Python code is never run.
"""

import zipfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dsb2018.errors import UsageError
from dsb2018.runtime.finite import check_finite_output
from dsb2018.runtime.maps_model import MapsModel
from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.runtime.onnx_model import OnnxModel
from dsb2018.runtime.package_file import NETWORK, is_own, read_description
from dsb2018.runtime.postprocess import InstanceOptions, Maps

FORMATS = ("onnx", "torchscript")  # of the weights; others need the code of their authors
STEPS = frozenset(
    [
        "binarize",
        "clip",
        "ensure_dtype",
        "scale_linear",
        "sigmoid",
        "softmax",
        "fixed_zero_mean_unit_variance",
        "zero_mean_unit_variance",
        "scale_range",
        "scale_mean_variance",
    ]
)
# {meaning of a map: parts of its name}
MEANINGS = {
    "boundary": ("bound", "border", "edge", "contour"),
    "distance": ("dist",),
    "foreground": ("foreground", "fg", "nucle", "mask", "interior", "prob"),
}
UNNAMED = {1: ("foreground",), 2: ("foreground", "boundary")}  # the usual order
OPTIONS = InstanceOptions(method="watershed", seed_depth=0.1, min_area=8, max_hole=100)
TOLERANCE = 1e-3  # of probabilities
PERCENT = 0.1  # of the pixels, see `find_range`


def open_package(path: Path, threads: int, threshold: float | None) -> Any:
    """Opens a package.

    Args:
        path: the zip file.
        threads: see `OnnxModel`; packages of others use their own number.
        threshold: minimum probability of a nucleus, 0 to 1; None: that of the package, or 0.5.

    Returns:
        A model with the interface of `OnnxModel`.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: it is a package of others, and `bioimageio.core` is not installed.
        UsageError: the package cannot run here.
        ValueError: it is not a package, or it is damaged.
    """
    description = read_description(path)
    if not is_own(description):
        return ForeignModel(path, description, threshold)
    with zipfile.ZipFile(path) as archive:
        content = archive.read(NETWORK)
    return OnnxModel(path, threads=threads, threshold=threshold, content=content)


class ForeignModel(MapsModel):
    """A package of others.

    Args:
        path: the zip file.
        description: its description.
        threshold: minimum probability of a nucleus, 0 to 1; None: 0.5.

    Raises:
        ImportError, UsageError, ValueError: see `open_package`.
    """

    def __init__(self, path: Path, description: Mapping[str, Any], threshold: float | None):
        format_name = check_package(path, description)
        if not has_core():
            raise ImportError(f'{path}: this package needs: pip install "dsb2018[bioimageio]"')
        from bioimageio.core import create_prediction_pipeline, load_model_description

        model = load_model_description(path, format_version="latest", perform_io_checks=False)
        self._path = path
        self._pipeline = create_prediction_pipeline(model, weights_format=format_name)
        if len(model.inputs) != 1:
            raise UsageError(f"{path}: {len(model.inputs)} inputs, expected one image")
        self._input, self._outputs = model.inputs[0], model.outputs
        self._channels, self._sizes = _read_axes(path, self._input.axes)
        options = OPTIONS
        if threshold is not None:
            options = InstanceOptions(**{**vars(OPTIONS), "nucleus_thresh": threshold})
        self.spec = ModelSpec(
            diameter=0.0,
            zoom=1.0,
            max_size=1 << 20,
            stretch_percent=PERCENT,
            channel_order="RGB",
            pixel_mean=(0.0, 0.0, 0.0),
            pixel_std=(1.0, 1.0, 1.0),
            instances=options,
        )

    def use_threads(self, threads: int) -> None:
        """Does nothing: the package decides."""

    def predict_maps(self, batched_inputs: list[dict]) -> list[Maps]:
        """Returns the maps of each image.

        Raises:
            FloatingPointError: the output of the network has NaN or infinite values.
            ValueError: the image is larger than the network allows, or the maps are unknown.
        """
        return [self._predict(np.asarray(sample["image"])) for sample in batched_inputs]

    def _predict(self, image: np.ndarray) -> Maps:
        from bioimageio.core import Sample, Tensor

        height, width = image.shape[1:]
        pixels = image.astype(np.float32)
        if self._channels == 1:
            pixels = pixels.mean(axis=0, keepdims=True)
        missing = [
            _fitting(length, smallest, step) - length
            for length, (smallest, step) in zip((height, width), self._sizes, strict=True)
        ]
        if min(missing) < 0:
            raise ValueError(f"{self._path}: images of at most {self._sizes[0][0]} pixels")
        pixels = np.pad(pixels, [(0, 0), *((0, more) for more in missing)], mode="symmetric")
        names = [str(axis.id) for axis in self._input.axes]
        order = [name for name in ("batch", "channel", "y", "x") if name in names]
        array = pixels[None] if "channel" in order else pixels
        if "batch" not in order:
            array = array[0]
        tensor = Tensor(array, dims=order).transpose(names)
        sample = Sample(members={self._input.id: tensor}, stat={}, id=None)
        result = self._pipeline.predict_sample_without_blocking(sample)
        channels: list[tuple[str, np.ndarray]] = []
        for output in self._outputs:
            values = result.members[output.id].data
            values = values.transpose(*(d for d in values.dims if d not in "yx"), "y", "x")
            planes = np.asarray(values, np.float32).reshape(-1, *values.shape[-2:])
            labels = _channel_names(output, len(planes))
            channels += zip(labels, planes[:, :height, :width], strict=True)
        check_finite_output(all(bool(np.isfinite(plane).all()) for _, plane in channels))
        return read_named_maps(channels, str(self._path))


def has_core() -> bool:
    """Returns whether `bioimageio.core` is installed."""
    return bool(find_spec("bioimageio") and find_spec("bioimageio.core"))


def check_package(path: Path, description: Mapping[str, Any]) -> str:
    """Checks that a package of others runs without code and downloads.

    Returns:
        The format of the weights to use.

    Raises:
        UsageError: it does not.
    """
    weights = description.get("weights")
    formats = [name for name in FORMATS if isinstance(weights, dict) and name in weights]
    if not formats:
        raise UsageError(f"{path}: no weights as {' or '.join(FORMATS)}")
    source = str(weights[formats[0]].get("source", ""))
    if "://" in source or PurePosixPath(source).is_absolute() or ".." in source:
        raise UsageError(f"{path}: its weights are not in the package ({source})")
    for tensor in [*description.get("inputs", ()), *description.get("outputs", ())]:
        for step in [*tensor.get("preprocessing", ()), *tensor.get("postprocessing", ())]:
            name = step.get("id") or step.get("name")
            if name not in STEPS:
                raise UsageError(f"{path}: it needs the step {name!r}, which is not supported")
    return formats[0]


def read_named_maps(channels: Iterable[tuple[str, np.ndarray]], source: str) -> Maps:
    """Finds out what the maps of a network mean.

    Names decide; of one or two maps without telling names, the first is the foreground, and the
    second one are boundaries.

    Args:
        channels: name and (H, W) float32 values of each map.
        source: the package, for messages.

    Raises:
        ValueError: no map is the foreground, or it has values outside of 0 to 1.
    """
    planes = list(channels)
    meanings = [_meaning(name) for name, _ in planes]
    if not any(meanings):
        meanings = list(UNNAMED.get(len(planes), ()))
    found = {
        meaning: plane
        for meaning, (_, plane) in reversed(list(zip(meanings, planes, strict=False)))
        if meaning
    }
    nucleus = found.get("foreground")
    if nucleus is None:
        names = ", ".join(name for name, _ in planes)
        raise ValueError(f"{source}: the maps {names}, expected a foreground")
    if nucleus.min() < -TOLERANCE or nucleus.max() > 1 + TOLERANCE:
        raise ValueError(f"{source}: a foreground outside of 0 to 1, expected probabilities")
    nucleus = nucleus.clip(0, 1)
    interior = None
    if "boundary" in found:
        interior = (nucleus * (1 - found["boundary"].clip(0, 1))).astype(np.float32)
    elif "distance" in found:
        distance = found["distance"].clip(0, None)
        interior = (distance / max(1.0, float(distance.max()))).astype(np.float32)
    return Maps(np.ascontiguousarray(nucleus), interior)


def _meaning(name: str) -> str | None:
    parts = MEANINGS.items()
    return next((m for m, texts in parts if any(text in name.lower() for text in texts)), None)


def _channel_names(output: Any, count: int) -> list[str]:
    """Returns the names of the maps of an output; with a single map, that of the output."""
    names = [name for axis in output.axes for name in map(str, getattr(axis, "channel_names", ()))]
    if count == 1:
        return [f"{output.id} {' '.join(names)}"]
    return names if len(names) == count else [f"map {number}" for number in range(count)]


def _read_axes(path: Path, axes: Iterable[Any]) -> tuple[int, list[tuple[int, int]]]:
    """Returns the number of channels, and smallest size and step of the axes Y and X.

    The step is 0 for an axis of a fixed size.
    """
    by_name = {str(axis.id): axis for axis in axes}
    others = set(by_name) - {"batch", "channel", "y", "x"}
    if others or not {"y", "x"} <= set(by_name):
        raise UsageError(f"{path}: axes {', '.join(by_name)}, expected an image with y and x")
    channel = by_name.get("channel")
    count = 1 if channel is None else len(channel.channel_names)
    if count not in (1, 3):
        raise UsageError(f"{path}: {count} channels, expected 1 or 3")
    sizes = []
    for name in ("y", "x"):
        size = by_name[name].size
        if isinstance(size, int):
            sizes.append((size, 0))
        elif hasattr(size, "step"):
            sizes.append((int(size.min), int(size.step)))
        else:
            sizes.append((1, 1))  # as the other axis
    return count, sizes


def _fitting(length: int, smallest: int, step: int) -> int:
    """Returns the smallest length that is allowed and not below a length."""
    if step == 0:
        return smallest
    return smallest + -(-max(0, length - smallest) // step) * step
