"""Mask R-CNN that also gives a semantic map, so that every metric can be measured on it."""

import torch
from detectron2.config import configurable
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    ROI_HEADS_REGISTRY,
    GeneralizedRCNN,
    StandardROIHeads,
)
from detectron2.structures import ImageList, Instances

from dsb2018.modeling.finite import check_finite_output
from dsb2018.structures.instances import read_output
from dsb2018.structures.nuclei import Prediction


@ROI_HEADS_REGISTRY.register()
class NucleiROIHeads(StandardROIHeads):
    """`StandardROIHeads` whose scores and boxes stay in float32 under autocast.

    In bfloat16 the scores of all sure nuclei would be the same few numbers, and their ranking,
    which AP and the suppression of doubles depend on, arbitrary.
    """

    def _forward_box(self, features: dict[str, torch.Tensor], proposals: list[Instances]):
        features = {name: feature.float() for name, feature in features.items()}
        if not self.training:  # else detections that are not finite would be dropped silently
            for feature in features.values():
                check_finite_output(feature)
        with torch.autocast(proposals[0].proposal_boxes.device.type, enabled=False):
            return super()._forward_box(features, proposals)


@META_ARCH_REGISTRY.register()
class NucleiRCNN(GeneralizedRCNN):
    """Detectron2's `GeneralizedRCNN`, whose output has `sem_seg` beside `instances`."""

    @configurable
    def __init__(self, *, score_thresh: float, channels_last: bool, **kwargs):
        """
        Args:
            score_thresh: instances below it are not part of the semantic map, 0 to 1.
            channels_last: run the network in memory layout NHWC.
            **kwargs: see `GeneralizedRCNN`.
        """
        super().__init__(**kwargs)
        self.score_thresh = score_thresh
        self.channels_last = channels_last
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """The constructor's arguments, from a config."""
        return {
            **super().from_config(cfg),
            "score_thresh": cfg.TEST.SCORE_THRESH,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
        }

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalises, pads to the stride and batches the images: (N, 3, H, W) float32."""
        images = super().preprocess_image(batched_inputs)
        if self.channels_last:
            images.tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        return images

    def inference(self, batched_inputs, detected_instances=None, do_postprocess: bool = True):
        """See `GeneralizedRCNN.inference`; each output also has `sem_seg`, (2, H, W) float32
        scores of background and nucleus at the image's own size."""
        results = super().inference(batched_inputs, detected_instances, do_postprocess)
        if do_postprocess:
            for result in results:
                result["sem_seg"] = union_of_masks(result["instances"], self.score_thresh)
        return results

    def predict(self, batched_inputs: list[dict]) -> list[Prediction]:
        """The nuclei of each image; in evaluation mode."""
        outputs = self.inference(batched_inputs)
        return [read_output(output, self.score_thresh) for output in outputs]


def union_of_masks(instances: Instances, score_thresh: float) -> torch.Tensor:
    """The semantic map of instances.

    Args:
        instances: with `scores` (N,) and `pred_masks` (N, H, W) bool.
        score_thresh: instances below it are left out, 0 to 1.

    Returns:
        (2, H, W) float32: 1 for background and nucleus where they are, 0 elsewhere.
    """
    masks = instances.pred_masks[instances.scores >= score_thresh]
    nuclei = masks.any(dim=0) if len(masks) else masks.new_zeros(instances.image_size)
    return torch.stack([~nuclei, nuclei]).float()
