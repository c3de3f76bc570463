"""The base class of all dense models: from images to maps, and from maps to losses or nuclei."""

import numpy as np
import torch
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import ImageList
from torch import nn
from torch.nn import functional as F

from dsb2018.config import check_separation
from dsb2018.modeling.losses import LOSSES, check_losses, cross_entropy_loss, offset_loss
from dsb2018.runtime.finite import check_finite_output
from dsb2018.runtime.postprocess import (
    OFFSET_UNIT,
    InstanceOptions,
    Maps,
    output_size,
    postprocess,
    read_maps,
)
from dsb2018.structures.instances import to_instances
from dsb2018.structures.nuclei import Prediction


class DenseModel(nn.Module):
    """The base class of meta-architectures that classify each pixel. Subclasses implement `maps`.

    The maps are logits of background and nucleus and, with a `separation`, a third map of the
    interior of nuclei, which separates touching nuclei. With the separation "centers", two more
    maps are the vector to the center of the nucleus, in `OFFSET_UNIT` pixels. The probability of a
    nucleus is the sigmoid of the difference between the first two maps. One map would be enough for
    this, but Detectron2's semantic evaluator expects one map per class.

    In training, the input is a list of dicts with `image` (3, H, W), `sem_seg` (H, W) of 0 and 1,
    with a separation, `interior` (H, W) float from 0 to 1, or negative in pixels that are left out,
    and with "centers", `offsets` (2, H, W) float. The output is a dict of losses.

    In inference, the input is a list of dicts with `image`, and with `height` and `width` of the
    output. The output is a list of dicts with `sem_seg`, (2, height, width) float32 logits on the
    device of the model, and `instances` on the CPU (see `to_instances`). `predict` returns the same
    nuclei without a full-size mask for each nucleus.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(
        self,
        *,
        losses: list[str],
        separation: str,
        border_weight: float,
        instance_options: InstanceOptions,
        max_instances: int,
        pixel_mean: list[float],
        pixel_std: list[float],
        channels_last: bool,
        average_flips: bool = False,
    ):
        """
        Args:
            losses: names in `LOSSES`. The losses are added up.
            separation: content of the third map: "border" (the inside of nuclei, except near
                another nucleus), "distance" and "centers" (distance from the edge, 1 in the middle
                of a nucleus) or "none" (no third map).
            border_weight: with "border", the weight in the loss of the pixels between nuclei. They
                are few, but they decide whether two nuclei are separated.
            instance_options: options of the postprocessing.
            max_instances: maximum number of `instances` of an image, each with a full-size mask.
            pixel_mean, pixel_std: 3 values each, in gray values.
            channels_last: whether to run the network in the memory layout NHWC.
            average_flips: whether to average the maps of each image and its flips in inference.

        Raises:
            ValueError: unknown loss or separation.
        """
        super().__init__()
        check_losses(losses)
        self.loss_names = list(losses)
        self.map_count = count_maps(separation)
        self.border_weight = border_weight
        self.instance_options, self.max_instances = instance_options, max_instances
        self.channels_last, self.average_flips = channels_last, average_flips
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Returns the arguments of the constructor for a config."""
        return {
            "losses": cfg.MODEL.DENSE.LOSSES,
            "separation": cfg.MODEL.DENSE.SEPARATION,
            "border_weight": cfg.MODEL.DENSE.BORDER_WEIGHT,
            "instance_options": InstanceOptions.from_config(cfg),
            "max_instances": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
            "average_flips": cfg.TEST.AUG.ENABLED and cfg.TEST.AUG.FLIP,
        }

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.pixel_mean.device

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input are padded to multiples of this number of pixels."""
        return 1

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Computes (N, 2 to 5, H, W) logits of (N, 3, H, W) normalized images.

        H and W are multiples of `size_divisibility`.
        """
        raise NotImplementedError

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Returns losses in training and predictions in inference; see the class."""
        if self.training:
            maps = self.maps(self.preprocess_image(batched_inputs).tensor).float()
            return self.losses(maps, batched_inputs)
        outputs = []
        for logits, sample in zip(self.logits(batched_inputs), batched_inputs, strict=True):
            size = output_size(sample)
            prediction = postprocess(read_maps(_to_numpy(logits)), self.instance_options, size)
            instances = to_instances(prediction.detections, self.max_instances)
            sem_seg = sem_seg_postprocess(logits[:2], tuple(logits.shape[1:]), *size)
            outputs.append({"sem_seg": sem_seg, "instances": instances})
        return outputs

    def predict(self, batched_inputs: list[dict]) -> list[Prediction]:
        """Returns the nuclei of each image. The model must be in evaluation mode."""
        return [
            postprocess(maps, self.instance_options, output_size(sample))
            for maps, sample in zip(self.predict_maps(batched_inputs), batched_inputs, strict=True)
        ]

    def predict_maps(self, batched_inputs: list[dict]) -> list[Maps]:
        """Returns the maps of each image, at the size of its `image`."""
        return [read_maps(_to_numpy(logits)) for logits in self.logits(batched_inputs)]

    def logits(self, batched_inputs: list[dict]) -> list[torch.Tensor]:
        """Returns the (2 to 5, H, W) float32 output of the network for each (3, H, W) image.

        Raises:
            FloatingPointError: see `check_finite_output`.
        """
        images = self.preprocess_image(batched_inputs)
        run = self._average_flips if self.average_flips else self.maps
        maps = run(images.tensor).float()
        check_finite_output(bool(maps.isfinite().all()))
        return [
            padded[:, :height, :width]
            for padded, (height, width) in zip(maps, images.image_sizes, strict=True)
        ]

    def _average_flips(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the mean logits of (N, 3, H, W) images and their three flips."""
        total = torch.zeros((), device=images.device)
        for axes in ((), (2,), (3,), (2, 3)):
            maps = self.maps(images.flip(axes)).float().flip(axes)
            for axis in axes if self.map_count > 3 else ():
                maps[:, axis + 1] *= -1  # an offset along a flipped axis
            total = total + maps
        return total / 4

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalizes, pads and batches the images: (N, 3, H, W) float32."""
        images = _to_device([sample["image"] for sample in batched_inputs], self.device)
        images = [(image - self.pixel_mean) / self.pixel_std for image in images]
        batch = ImageList.from_tensors(images, self.size_divisibility)
        if self.channels_last:
            batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
        return batch

    def losses(self, maps: torch.Tensor, batched_inputs: list[dict]) -> dict[str, torch.Tensor]:
        """Returns the losses of (N, 2 to 5, H, W) float32 logits, without their padding."""
        nucleus = maps[:, 1] - maps[:, 0]
        target = self._flatten_targets(batched_inputs, "sem_seg")
        logits = self._flatten_maps(nucleus, batched_inputs)
        result = {f"loss_{name}": LOSSES[name](logits, target) for name in self.loss_names}
        if self.map_count > 2:
            interior = self._flatten_targets(batched_inputs, "interior")
            logits = self._flatten_maps(maps[:, 2], batched_inputs)
            border = target * (interior == 0)  # no pixels with "distance"
            weights = (1 + border * (self.border_weight - 1)) * (interior >= 0)
            result["loss_interior"] = cross_entropy_loss(logits, interior.clamp(min=0), weights)
        if self.map_count > 3:
            weights = target * (interior >= 0)
            errors = [
                offset_loss(
                    self._flatten_maps(maps[:, 3 + axis], batched_inputs),
                    self._flatten_targets(batched_inputs, "offsets", axis) / OFFSET_UNIT,
                    weights,
                )
                for axis in (0, 1)
            ]
            result["loss_offsets"] = errors[0] + errors[1]
        return result

    def _flatten_targets(
        self, batched_inputs: list[dict], key: str, channel: int | None = None
    ) -> torch.Tensor:
        """Returns the pixels of one target map of all images, (P,) float32."""
        maps = [
            sample[key] if channel is None else sample[key][channel] for sample in batched_inputs
        ]
        return torch.cat([values.flatten() for values in maps]).float().to(self.device)

    @staticmethod
    def _flatten_maps(maps: torch.Tensor, batched_inputs: list[dict]) -> torch.Tensor:
        """Returns the pixels of (N, H, W) maps of all images without padding, (P,)."""
        sizes = [sample["image"].shape[1:] for sample in batched_inputs]
        if all(size == maps.shape[1:] for size in sizes):
            return maps.flatten()
        pixels = [padded[:h, :w].flatten() for padded, (h, w) in zip(maps, sizes, strict=True)]
        return torch.cat(pixels)


def _to_device(images: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Moves images of one dtype to a device in a single transfer, since a GPU waits for each."""
    pixels = torch.cat([image.flatten() for image in images]).to(device)
    parts = pixels.split([image.numel() for image in images])
    return [part.view(image.shape) for part, image in zip(parts, images, strict=True)]


def count_maps(separation: str) -> int:
    """Returns the number of a model's maps: 2, or more with a separation.

    Raises:
        ValueError: the separation is not in `SEPARATIONS`.
    """
    check_separation(separation)
    return {"none": 2, "border": 3, "distance": 3, "centers": 5}[separation]


def _to_numpy(logits: torch.Tensor) -> np.ndarray:
    return logits.cpu().numpy()


def upsample_to(maps: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Resizes (N, C, h, w) maps to (N, C, *size) by bilinear interpolation."""
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
