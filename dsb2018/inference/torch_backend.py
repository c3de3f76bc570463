"""Networks run by torch, and what every backend gives."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from dsb2018.data import NucleiMapper
from dsb2018.engine.precision import autocast, inference_precision
from dsb2018.engine.trainer import Trainer
from dsb2018.evaluation.nuclei_evaluator import instances_to_labels
from dsb2018.inference.nuclei import Nuclei
from dsb2018.modeling import NucleiCheckpointer
from dsb2018.modeling.dense import DenseModel
from dsb2018.modeling.folding import fold_batch_norm
from dsb2018.modeling.instances import InstanceOptions, find_nuclei, score_nuclei


class Backend(Protocol):
    """What runs a network."""

    def find(self, images: Sequence[np.ndarray]) -> list[Nuclei]:
        """Images of one size, (H, W, 3) uint8 in the model's channel order → their nuclei."""


class TorchBackend:
    """Runs any model of this project."""

    def __init__(self, cfg):
        """
        Args:
            cfg: complete, with `MODEL.WEIGHTS`.
        """
        self._device = cfg.MODEL.DEVICE
        model = Trainer.build_model(cfg).eval()
        NucleiCheckpointer(model).load_trained(cfg.MODEL.WEIGHTS)
        self.model = _folded(model) if self._device == "cpu" else model
        self._mapper = NucleiMapper(cfg, is_train=False)
        self._score_thresh = cfg.TEST.SCORE_THRESH
        self._precision = inference_precision(cfg.SOLVER.PRECISION, self._device)

    def find(self, images: Sequence[np.ndarray]) -> list[Nuclei]:
        """See `Backend.find`."""
        height, width = images[0].shape[:2]
        samples = [
            {"image": self._mapper.zoom(image), "height": height, "width": width}
            for image in images
        ]
        with torch.inference_mode(), autocast(self._precision, self._device):
            if isinstance(self.model, DenseModel):
                model = self.model
                return [
                    nuclei_of_maps(*model.probabilities(logits), model.instance_options)
                    for logits in model.logits(samples)
                ]
            outputs = self.model(samples)
        return [self._of_instances(output["instances"]) for output in outputs]

    def _of_instances(self, instances) -> Nuclei:
        """Those that are sure enough, without doubles; the best first."""
        labels = instances_to_labels(instances, self._score_thresh)
        scores = np.sort(instances.scores.float().cpu().numpy())[::-1]
        kept = np.unique(labels[labels > 0])  # a label is a rank
        dense = np.where(labels > 0, np.searchsorted(kept, labels) + 1, 0)
        return Nuclei.from_labels(dense, scores[kept - 1])


def _folded(model: torch.nn.Module) -> torch.nn.Module:
    """With less to compute, where it is known which part of a model sees the image first."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if isinstance(model, DenseModel):
        return fold_batch_norm(model, lambda it: it.maps(image))
    if hasattr(model, "backbone"):
        return fold_batch_norm(
            model, lambda it: torch.cat([m.flatten() for m in it.backbone(image).values()])
        )
    return model


def nuclei_of_maps(
    nucleus: np.ndarray, interior: np.ndarray | None, options: InstanceOptions
) -> Nuclei:
    """The nuclei of a dense model's maps, see `dsb2018.modeling.instances`."""
    labels = find_nuclei(nucleus, interior, options)
    return Nuclei.from_labels(labels, score_nuclei(labels, nucleus))
