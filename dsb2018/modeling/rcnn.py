"""Mask R-CNN with a semantic map in its output, so that every metric can be computed."""

import torch
from detectron2.config import configurable
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    ROI_HEADS_REGISTRY,
    GeneralizedRCNN,
    StandardROIHeads,
)
from detectron2.structures import ImageList, Instances

from dsb2018.runtime.finite import check_finite_output
from dsb2018.structures.instances import read_output
from dsb2018.structures.nuclei import Prediction


@ROI_HEADS_REGISTRY.register()
class NucleiROIHeads(StandardROIHeads):
    """`StandardROIHeads` that computes scores and boxes in float32 under autocast.

    In bfloat16, many confident nuclei would get equal scores. AP and non-maximum suppression depend
    on their ranking.
    """

    def _forward_box(self, features: dict[str, torch.Tensor], proposals: list[Instances]):
        features = {name: feature.float() for name, feature in features.items()}
        if not self.training:  # Detectron2 silently drops detections that are not finite
            for feature in features.values():
                check_finite_output(bool(feature.isfinite().all()))
        with torch.autocast(proposals[0].proposal_boxes.device.type, enabled=False):
            return super()._forward_box(features, proposals)


@META_ARCH_REGISTRY.register()
class NucleiRCNN(GeneralizedRCNN):
    """Detectron2's `GeneralizedRCNN` with `sem_seg` in its output, in addition to `instances`."""

    @configurable
    def __init__(self, *, score_thresh: float, channels_last: bool, **kwargs):
        """
        Args:
            score_thresh: minimum score of an instance in the semantic map, 0 to 1.
            channels_last: whether to run the network in the memory layout NHWC.
            **kwargs: see `GeneralizedRCNN`.
        """
        super().__init__(**kwargs)
        self.score_thresh = score_thresh
        self.channels_last = channels_last
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Returns the arguments of the constructor for a config."""
        return {
            **super().from_config(cfg),
            "score_thresh": cfg.TEST.SCORE_THRESH,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
        }

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalizes the images, pads them to the stride and batches them: (N, 3, H, W) float32."""
        images = super().preprocess_image(batched_inputs)
        if self.channels_last:
            images.tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        return images

    def inference(self, batched_inputs, detected_instances=None, do_postprocess: bool = True):
        """Runs inference, see `GeneralizedRCNN.inference`.

        Each output also has `sem_seg`: (2, H, W) float32 scores of background and nucleus, at the
        output size of the image.
        """
        results = super().inference(batched_inputs, detected_instances, do_postprocess)
        if do_postprocess:
            for result in results:
                result["sem_seg"] = union_of_masks(result["instances"], self.score_thresh)
        return results

    def predict(self, batched_inputs: list[dict]) -> list[Prediction]:
        """Returns the nuclei of each image. The model must be in evaluation mode."""
        outputs = self.inference(batched_inputs)
        return [read_output(output, self.score_thresh) for output in outputs]


def union_of_masks(instances: Instances, score_thresh: float) -> torch.Tensor:
    """Returns the semantic map of instances.

    Args:
        instances: instances with `scores` (N,) and `pred_masks` (N, H, W) bool.
        score_thresh: instances with a lower score are left out, 0 to 1.

    Returns:
        (2, H, W) float32 maps of background and nucleus, 1 where the pixel has the class and 0
        elsewhere.
    """
    masks = instances.pred_masks[instances.scores >= score_thresh]
    nuclei = masks.any(dim=0) if len(masks) else masks.new_zeros(instances.image_size)
    return torch.stack([~nuclei, nuclei]).float()
