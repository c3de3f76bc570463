"""What all dense models share: from images to maps, and from maps to losses or nuclei."""

import torch
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import ImageList
from torch import nn
from torch.nn import functional as F

from dsb2018.config import check_separation
from dsb2018.modeling.finite import check_finite_output
from dsb2018.modeling.losses import LOSSES, check_losses, cross_entropy_loss
from dsb2018.modeling.postprocess import InstanceOptions, Maps, postprocess
from dsb2018.structures.instances import to_instances
from dsb2018.structures.nuclei import Prediction


class DenseModel(nn.Module):
    """A meta-architecture that gives each pixel a class; subclasses say how, in `maps`.

    The maps are logits of background and of nucleus, and, with a `separation`, a third one of the
    interior of nuclei, which tells those apart that touch. Probability of nucleus is the sigmoid
    of the difference of the first two: with one channel held at 0 it is the usual sigmoid output,
    but two are what Detectron2's semantic evaluator takes.

    In training: a list of dicts with `image` (3, H, W), `sem_seg` (H, W) of 0 and 1, and, with a
    separation, `interior` (H, W) float 0 to 1 → a dict of losses.
    In inference: a list of dicts with `image`, and `height` and `width` of the output → a list of
    dicts with `sem_seg` (2, height, width) float32 logits, on the model's device, and `instances`
    (see `to_instances`), on the CPU. `predict` gives the same nuclei without a full mask for each.
    """

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
    ):
        """
        Args:
            losses: some of `LOSSES`; they are added up.
            separation: what the third map is: "border" (inside and not near another nucleus),
                "distance" (from the edge, 1 in the middle), "none": there is no third.
            border_weight: with "border", how much more than others those few pixels count in the
                loss that lie between nuclei, since they decide whether two come apart.
            instance_options: how maps become nuclei.
            max_instances: at most so many of an image's nuclei become `instances`, each of which
                has a mask of the image's size.
            pixel_mean, pixel_std: 3 values each, in grey values.
            channels_last: run the network in memory layout NHWC.

        Raises:
            ValueError: another loss or separation.
        """
        super().__init__()
        check_losses(losses)
        self.loss_names = list(losses)
        self.map_count = count_maps(separation)
        self.border_weight = border_weight
        self.instance_options, self.max_instances = instance_options, max_instances
        self.channels_last = channels_last
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """The constructor's arguments, from a config."""
        return {
            "losses": cfg.MODEL.DENSE.LOSSES,
            "separation": cfg.MODEL.DENSE.SEPARATION,
            "border_weight": cfg.MODEL.DENSE.BORDER_WEIGHT,
            "instance_options": InstanceOptions.from_config(cfg),
            "max_instances": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
        }

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    @property
    def size_divisibility(self) -> int:
        """Images are padded to a multiple of this, pixels."""
        return 1

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised → (N, 2 or 3, H, W) logits; H and W are multiples of
        `size_divisibility`."""
        raise NotImplementedError

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """See the class."""
        if self.training:
            maps = self.maps(self.preprocess_image(batched_inputs).tensor).float()
            return self.losses(maps, batched_inputs)
        outputs = []
        for logits in self.logits(batched_inputs):
            prediction = postprocess(read_maps(logits), self.instance_options)
            instances = to_instances(prediction.detections, self.max_instances)
            outputs.append({"sem_seg": logits[:2], "instances": instances})
        return outputs

    def predict(self, batched_inputs: list[dict]) -> list[Prediction]:
        """The nuclei of each image; in evaluation mode."""
        return [
            postprocess(maps, self.instance_options) for maps in self.predict_maps(batched_inputs)
        ]

    def predict_maps(self, batched_inputs: list[dict]) -> list[Maps]:
        """The probability maps of each image, at the size that is wanted."""
        return [read_maps(logits) for logits in self.logits(batched_inputs)]

    def logits(self, batched_inputs: list[dict]) -> list[torch.Tensor]:
        """Each image's maps, (2 or 3, height, width) float32, at the size that is wanted.

        Raises:
            FloatingPointError: see `check_finite_output`.
        """
        images = self.preprocess_image(batched_inputs)
        maps = self.maps(images.tensor).float()
        check_finite_output(maps)
        return [
            sem_seg_postprocess(
                own, size, sample.get("height", size[0]), sample.get("width", size[1])
            )
            for own, size, sample in zip(maps, images.image_sizes, batched_inputs, strict=True)
        ]

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalises, pads and batches the images: (N, 3, H, W) float32."""
        images = [sample["image"].to(self.device) for sample in batched_inputs]
        images = [(image - self.pixel_mean) / self.pixel_std for image in images]
        batch = ImageList.from_tensors(images, self.size_divisibility)
        if self.channels_last:
            batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
        return batch

    def losses(self, maps: torch.Tensor, batched_inputs: list[dict]) -> dict[str, torch.Tensor]:
        """The losses of (N, 2 or 3, H, W) float32 logits; padding does not count."""
        nucleus = maps[:, 1] - maps[:, 0]
        truth = self._gather(batched_inputs, "sem_seg")
        logits = self._cut(nucleus, batched_inputs)
        result = {f"loss_{name}": LOSSES[name](logits, truth) for name in self.loss_names}
        if self.map_count > 2:
            interior = self._gather(batched_inputs, "interior")
            logits = self._cut(maps[:, 2], batched_inputs)
            border = truth * (interior == 0)  # with "distance" there are no such pixels
            weights = 1 + border * (self.border_weight - 1)
            result["loss_interior"] = cross_entropy_loss(logits, interior, weights)
        return result

    def _gather(self, batched_inputs: list[dict], key: str) -> torch.Tensor:
        """(P,) float32: the values of all images' maps of truth."""
        values = [sample[key].to(self.device).float().flatten() for sample in batched_inputs]
        return torch.cat(values)

    @staticmethod
    def _cut(maps: torch.Tensor, batched_inputs: list[dict]) -> torch.Tensor:
        """(N, H, W) → (P,): the values of all images, without their padding."""
        sizes = [sample["image"].shape[1:] for sample in batched_inputs]
        if all(size == maps.shape[1:] for size in sizes):
            return maps.flatten()
        return torch.cat([m[:h, :w].flatten() for m, (h, w) in zip(maps, sizes, strict=True)])


def count_maps(separation: str) -> int:
    """Number of a model's maps: background, nucleus, and with a separation the interior.

    Raises:
        ValueError: another separation than `SEPARATIONS`.
    """
    check_separation(separation)
    return 2 if separation == "none" else 3


def read_maps(logits: torch.Tensor) -> Maps:
    """(2 or 3, H, W) logits of one image → its probability maps."""
    nucleus = (logits[1] - logits[0]).sigmoid().cpu().numpy()
    return Maps(nucleus, logits[2].sigmoid().cpu().numpy() if len(logits) > 2 else None)


def upsample_to(maps: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """(N, C, h, w) → (N, C, *size), bilinear."""
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
