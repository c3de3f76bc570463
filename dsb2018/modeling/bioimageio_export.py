"""Writes a dense model as a package of bioimage.io, which other programs run.

The package describes the model in the format of bioimage.io, version 0.5, and contains its weights
as ONNX and as TorchScript. The scale at which a model works, and the step from maps to nuclei,
cannot be expressed in this format; the documentation in the package describes both.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch

from dsb2018.draw import side_by_side
from dsb2018.io.files import replacing
from dsb2018.modeling.onnx_export import add_properties, trace_to_onnx
from dsb2018.modeling.probabilities import Probabilities
from dsb2018.prepare.sample import draw_image
from dsb2018.runtime.model_spec import ModelSpec

NETWORK, SCRIPT = "network.onnx", "network.torchscript"
HALO = 32  # pixels at the border of a tile whose output is inaccurate
DATASET = (
    "Caicedo et al. (2019): Nucleus segmentation across imaging experiments: the 2018 Data Science "
    "Bowl",
    "10.1038/s41592-019-0612-7",
)


@dataclass(frozen=True)
class PackageDetails:
    """What the model itself does not know.

    Args:
        name: of the model.
        authors: names.
        license: identifier of SPDX.
        scores: {dataset: {score: percent}} of its validation.
        gray: whether the input has one channel instead of three.
    """

    name: str
    authors: Sequence[str]
    license: str
    scores: dict[str, dict[str, float]]
    gray: bool = False


def check_can_package() -> None:
    """Checks that packages can be written.

    Raises:
        ImportError: a library is missing.
    """
    if find_spec("bioimageio") is None or find_spec("bioimageio.core") is None:
        raise ImportError('packages of bioimage.io need: pip install "dsb2018[bioimageio]"')


def write_package(predictor: Any, details: PackageDetails, path: Path) -> None:
    """Writes a package.

    Args:
        predictor: a `Predictor` with a dense model in torch, on the CPU.
        details: see `PackageDetails`.
        path: the zip file.

    Raises:
        ImportError: a library is missing.
        ValueError: the model is not dense, or the input shall be gray but the channels are
            normalized differently.
    """
    check_can_package()
    from bioimageio.spec import save_bioimageio_package

    spec = predictor.spec
    if details.gray and len(set(zip(spec.pixel_mean, spec.pixel_std, strict=True))) > 1:
        raise ValueError("--gray: the model normalizes red, green and blue differently")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = Probabilities(predictor.model, spec.channel_order).eval()
        channels, divisor = (1 if details.gray else 3), predictor.model.size_divisibility
        outputs = _write_networks(network, spec, channels, divisor, folder)
        _write_examples(predictor, spec, details, folder)
        (folder / "README.md").write_text(_document(spec, details, outputs))
        description = _describe(spec, details, divisor, outputs, folder)
        with replacing(path) as file:
            written = save_bioimageio_package(description, output_path=folder / "package.zip")
            file.write(written.read_bytes())


def _write_networks(
    network: Probabilities, spec: ModelSpec, channels: int, divisor: int, folder: Path
) -> list[str]:
    """Writes the network in both formats; returns the names of its outputs."""
    edge = 4 * divisor
    example = torch.zeros(1, channels, edge, 2 * edge)
    with torch.no_grad():
        count = len(network(example))
        torch.jit.save(torch.jit.trace(network, example), str(folder / SCRIPT))
    outputs = ["probabilities", "offsets"][:count]
    trace_to_onnx(network, example, outputs, folder / NETWORK)
    add_properties(folder / NETWORK, divisor, spec, are_probabilities=True)
    return outputs


def _write_examples(predictor: Any, spec: ModelSpec, details: PackageDetails, folder: Path) -> None:
    """Writes the input and the outputs by which the package is tested, and its cover."""
    drawn, _ = draw_image("fluorescence", np.random.default_rng(0))
    image = np.ascontiguousarray(drawn[..., :3])
    raw = image.transpose(2, 0, 1)[None, : 1 if details.gray else 3].astype(np.float32)
    np.save(folder / "input.npy", raw)
    session = onnxruntime.InferenceSession(str(folder / NETWORK))
    outputs = session.run(None, {"image": _preprocess(raw, spec)})
    for number, output in enumerate(outputs):
        np.save(folder / f"output_{number}.npy", output)
    cover = side_by_side(image, None, predictor(image).labels)
    cv2.imwrite(str(folder / "cover.png"), cover[:, :, ::-1])


def _preprocess(raw: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Preprocesses the (1, C, H, W) input of a package as its description says."""
    percent = spec.stretch_percent
    low, high = (0.0, 255.0) if percent is None else np.percentile(raw, [percent, 100 - percent])
    scaled = (raw - low) / (high - low + EPSILON)
    mean, std = (
        np.array(values, np.float32)[: raw.shape[1], None, None] / 255
        for values in (spec.pixel_mean, spec.pixel_std)
    )
    return ((scaled - mean) / std).astype(np.float32)
