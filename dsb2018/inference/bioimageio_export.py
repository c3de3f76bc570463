"""Writes a dense model as a package of bioimage.io, which other programs run.

The package describes the model in the format of bioimage.io, version 0.5, and contains its network
as ONNX and as TorchScript. Its input is the image as it is; the description says how it is
preprocessed. Two steps cannot be expressed in this format, so the documentation in the package
describes them: the scale at which the model works, and the step from maps to nuclei.
"""

import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
import yaml

from dsb2018 import __version__
from dsb2018.draw import PREDICTED, draw_outlines
from dsb2018.inference.bioimageio_document import PackageDetails, document
from dsb2018.inference.predictor import Predictor
from dsb2018.io.files import replacing, sha256
from dsb2018.modeling.onnx_export import OPSET, add_properties, check_dense, trace_to_onnx
from dsb2018.modeling.probabilities import Probabilities
from dsb2018.prepare.sample import draw_image
from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.runtime.package_file import DESCRIPTION, NETWORK, SPEC_KEY

SCRIPT, DOCUMENT, COVER, INPUT = "network.pt", "README.md", "cover.png", "input.npy"
FORMAT = "0.5.3"  # the oldest one that has all that is used
HALO = 32  # pixels at the border of a tile where the output is inaccurate
EPSILON = 1e-6  # of `scale_range`, the default
CHANNELS = {  # of the outputs, and their descriptions
    "probabilities": (["nucleus", "interior"], "probabilities of nuclei and of their interior"),
    "offsets": (["down", "right"], "vectors from each pixel to the center of its nucleus, pixels"),
}
DATA_SCIENCE_BOWL = {
    "text": "Caicedo et al.: Nucleus segmentation across imaging experiments: the 2018 Data "
    "Science Bowl. Nature Methods 16, 2019",
    "doi": "10.1038/s41592-019-0612-7",
}


def write_package(predictor: Predictor, details: PackageDetails, path: Path) -> None:
    """Writes a package.

    Args:
        predictor: a dense model in torch, on the CPU.
        details: see `PackageDetails`.
        path: the zip file.

    Raises:
        ValueError: the model is not dense, or the input shall be gray, but the model normalizes
            red, green and blue differently.
    """
    spec = predictor.spec
    check_dense(predictor.model)
    if details.is_gray and len(set(zip(spec.pixel_mean, spec.pixel_std, strict=True))) > 1:
        raise ValueError("this model normalizes red, green and blue differently; leave out --gray")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        channels = 1 if details.is_gray else 3
        outputs = _write_networks(predictor, channels, folder)
        tensors = _write_examples(predictor, channels, outputs, folder)
        (folder / DOCUMENT).write_text(document(spec, details, outputs))
        description = _describe(predictor, details, channels, tensors, folder)
        text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
        (folder / DESCRIPTION).write_text(text)
        with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in sorted(folder.iterdir()):
                archive.write(member, member.name)


def _write_networks(predictor: Predictor, channels: int, folder: Path) -> list[str]:
    """Writes the network in both formats; returns the names of its outputs."""
    network = Probabilities(predictor.model, predictor.spec.channel_order).eval()
    edge = 4 * predictor.model.size_divisibility
    example = torch.zeros(1, channels, edge, 2 * edge)
    with torch.no_grad():
        outputs = list(CHANNELS)[: len(network(example))]
        torch.jit.save(torch.jit.trace(network, example), str(folder / SCRIPT))
    trace_to_onnx(network, example, outputs, folder / NETWORK)
    add_properties(folder / NETWORK, predictor.model.size_divisibility, predictor.spec)
    return outputs


def _write_examples(
    predictor: Predictor, channels: int, outputs: Sequence[str], folder: Path
) -> dict[str, np.ndarray]:
    """Writes the input and the outputs by which the package is tested, and its cover.

    Returns:
        {name of the output: (1, maps, H, W) float32}.
    """
    drawn, _ = draw_image("fluorescence", np.random.default_rng(0))
    image = np.ascontiguousarray(drawn[..., 2::-1])
    pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[None, :channels].astype(np.float32))
    np.save(folder / INPUT, pixels)
    session = onnxruntime.InferenceSession(str(folder / NETWORK))
    values = session.run(None, {"image": _preprocess(pixels, predictor.spec)})
    tensors = dict(zip(outputs, values, strict=True))
    for name, tensor in tensors.items():
        np.save(folder / f"{name}.npy", tensor)
    cover = draw_outlines(image, predictor(image).labels, PREDICTED)
    cv2.imwrite(str(folder / COVER), cover[:, :, ::-1])
    return tensors


def _preprocess(pixels: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Preprocesses (1, C, H, W) pixels as the description says."""
    low, high = np.percentile(pixels, _percentiles(spec))
    scaled = ((pixels - low) / (high - low + EPSILON)).clip(0, 1)
    mean, std = (
        np.array(values, np.float32)[: pixels.shape[1], None, None] / 255
        for values in (spec.pixel_mean, spec.pixel_std)
    )
    return ((scaled - mean) / std).astype(np.float32)


def _percentiles(spec: ModelSpec) -> tuple[float, float]:
    percent = spec.stretch_percent or 0.0
    return percent, 100 - percent


def _describe(
    predictor: Predictor,
    details: PackageDetails,
    channels: int,
    tensors: Mapping[str, np.ndarray],
    folder: Path,
) -> dict[str, Any]:
    """Returns the description of the package, the content of `bioimageio.yaml`."""
    spec = predictor.spec
    networks = {name: _file(folder / name) for name in (SCRIPT, NETWORK)}
    return {
        "type": "model",
        "format_version": FORMAT,
        "name": details.name,
        "description": "Segments the nuclei of cells in microscopy images"
        + (f", at a scale where they are {spec.diameter:g} pixels wide" if spec.diameter else ""),
        "authors": [{"name": name} for name in details.authors],
        "cite": [DATA_SCIENCE_BOWL],
        "license": details.license,
        "tags": ["nuclei", "segmentation", "instance-segmentation", "2d", "microscopy", "unet"],
        "covers": [COVER],
        "documentation": DOCUMENT,
        "timestamp": datetime.now(UTC).isoformat(),
        "inputs": [
            {
                "id": "image",
                "axes": _input_axes(channels, predictor.model.size_divisibility),
                "data": {"type": "float32"},
                "preprocessing": _preprocessing_steps(spec, channels),
                "test_tensor": _file(folder / INPUT),
            }
        ],
        "outputs": [
            {
                "id": name,
                "description": CHANNELS[name][1],
                "axes": _output_axes(CHANNELS[name][0][: tensor.shape[1]]),
                "data": {"type": "float32"},
                "test_tensor": _file(folder / f"{name}.npy"),
            }
            for name, tensor in tensors.items()
        ],
        "weights": {
            "torchscript": {**networks[SCRIPT], "pytorch_version": torch.__version__.split("+")[0]},
            "onnx": {**networks[NETWORK], "opset_version": OPSET, "parent": "torchscript"},
        },
        "config": {"dsb2018": {"version": __version__, SPEC_KEY: json.loads(spec.to_json())}},
    }


def _file(path: Path) -> dict[str, str]:
    return {"source": path.name, "sha256": sha256(path)}


def _input_axes(channels: int, divisor: int) -> list[dict[str, Any]]:
    names = ["gray"] if channels == 1 else ["red", "green", "blue"]
    size = {"min": -(-4 * HALO // divisor) * divisor, "step": divisor}
    space = [{"type": "space", "id": axis, "size": dict(size)} for axis in "yx"]
    return [{"type": "batch"}, {"type": "channel", "channel_names": names}, *space]


def _output_axes(names: Sequence[str]) -> list[dict[str, Any]]:
    space = [
        {
            "type": "space",
            "id": axis,
            "size": {"tensor_id": "image", "axis_id": axis},
            "halo": HALO,
        }
        for axis in "yx"
    ]
    return [{"type": "batch"}, {"type": "channel", "channel_names": list(names)}, *space]


def _preprocessing_steps(spec: ModelSpec, channels: int) -> list[dict[str, Any]]:
    low, high = _percentiles(spec)
    scaling = {"axes": ["channel", "y", "x"], "min_percentile": low, "max_percentile": high}
    mean, std = ([value / 255 for value in values] for values in (spec.pixel_mean, spec.pixel_std))
    # A single channel has numbers instead of lists, which must be longer.
    normalization: dict[str, Any] = {"mean": mean[0], "std": std[0]}
    if channels > 1:
        normalization = {"axis": "channel", "mean": mean, "std": std}
    return [
        {"id": "scale_range", "kwargs": scaling},
        {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}},
        {"id": "fixed_zero_mean_unit_variance", "kwargs": normalization},
    ]
