"""Networks. Importing this package registers them with Detectron2.

`load_model` loads a trained model.
"""

from dsb2018 import compat

compat.require_detectron2()

from dsb2018.modeling.rcnn import NucleiRCNN  # noqa: E402
from dsb2018.modeling.segmentor import NucleiSegmentor  # noqa: E402
from dsb2018.modeling.semantic_heads import FCNHead, LightHead, UNetHead  # noqa: E402
from dsb2018.modeling.simple_cnn import SimpleCNN  # noqa: E402
from dsb2018.modeling.timm_backbone import TimmBackbone, build_timm_fpn_backbone  # noqa: E402
from dsb2018.modeling.trained import TrainedModel, load_model  # noqa: E402
from dsb2018.modeling.unet import UNet  # noqa: E402

__all__ = [
    "FCNHead",
    "LightHead",
    "NucleiRCNN",
    "NucleiSegmentor",
    "SimpleCNN",
    "TimmBackbone",
    "TrainedModel",
    "UNet",
    "UNetHead",
    "build_timm_fpn_backbone",
    "load_model",
]
