"""A dense model with a backbone and a semantic head, as Detectron2's `SemanticSegmentor`."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.meta_arch.semantic_seg import build_sem_seg_head
from torch import nn

from dsb2018.modeling.dense import DenseModel, count_maps, upsample_to


@META_ARCH_REGISTRY.register()
class NucleiSegmentor(DenseModel):
    """Detectron2's backbones and semantic heads with the losses and nuclei of `DenseModel`.

    The modules have the same names as in Detectron2's `SemanticSegmentor` and `PanopticFPN`.
    Weights of its model zoo can therefore be loaded, except for the last layer, which has other
    classes.
    """

    @configurable
    def __init__(self, *, backbone: Backbone, sem_seg_head: nn.Module, **kwargs):
        """
        Args:
            backbone: see `build_backbone`.
            sem_seg_head: a module whose method `layers` converts feature maps to logits of any
                stride; see `SemSegFPNHead`, `FCNHead`, `UNetHead` and `LightHead`.
            **kwargs: see `DenseModel`.
        """
        super().__init__(**kwargs)
        self.backbone, self.sem_seg_head = backbone, sem_seg_head
        if self.channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Returns the arguments of the constructor for a config."""
        backbone = build_backbone(cfg)
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = count_maps(cfg.MODEL.DENSE.SEPARATION)
        return {
            **super().from_config(cfg),
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
        }

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input are padded to multiples of this number of pixels."""
        strides = [shape.stride for shape in self.backbone.output_shape().values()]
        return self.backbone.size_divisibility or max(strides)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """See `DenseModel.maps`."""
        logits = self.sem_seg_head.layers(self.backbone(images))
        return upsample_to(logits.float(), images.shape[-2:])  # float32 even under autocast
