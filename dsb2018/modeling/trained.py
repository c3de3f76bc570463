"""The one way from weights to predictions: for evaluation, comparison, tuning and prediction."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.errors import UsageError
from dsb2018.modeling.fuse import fuse_batch_norm
from dsb2018.modeling.postprocess import Maps
from dsb2018.modeling.precision import autocast, inference_precision
from dsb2018.structures.instances import read_output
from dsb2018.structures.nuclei import Prediction


class TrainedModel:
    """A model that predicts, with the precision and thresholds of its config.

    Inputs are Detectron2's: a list of dicts with `image` (3, H', W') uint8, and `height` and
    `width` of the output in pixels; see `dsb2018.data.Preprocessing`.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module):
        """
        Args:
            cfg: of the model.
            model: any meta-architecture. One without `predict` returns Detectron2's `instances`.
        """
        self.model = model
        self.parameter_count = sum(parameter.numel() for parameter in model.parameters())
        self._score_thresh = cfg.TEST.SCORE_THRESH
        self._device = cfg.MODEL.DEVICE
        self._precision = inference_precision(cfg.SOLVER.PRECISION, self._device)

    def __call__(self, batched_inputs: list[dict]) -> list[Prediction]:
        """The nuclei of each image.

        Raises:
            FloatingPointError: the network's output is NaN or infinite.
        """
        with self._inference():
            if hasattr(self.model, "predict"):
                return self.model.predict(batched_inputs)
            outputs = self.model(batched_inputs)
            return [read_output(output, self._score_thresh) for output in outputs]

    def predict_maps(self, batched_inputs: list[dict]) -> list[Maps]:
        """The probability maps of each image.

        Raises:
            UsageError: the model finds nuclei without such maps.
        """
        if not hasattr(self.model, "predict_maps"):
            raise UsageError(
                f"{type(self.model).__name__} has no probability maps; expected a dense model"
            )
        with self._inference():
            return self.model.predict_maps(batched_inputs)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with (
            evaluation_mode(self.model),
            torch.inference_mode(),
            autocast(self._precision, self._device),
        ):
            yield


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """In this context a model is in evaluation mode."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


def load_model(cfg: CfgNode) -> TrainedModel:
    """Builds a model, loads its weights and makes it ready to predict.

    On a CPU, batch normalisation is fused into the convolutions before it.

    Args:
        cfg: complete, with `MODEL.WEIGHTS`.

    Raises:
        FileNotFoundError: no such weights.
        UsageError: `MODEL.WEIGHTS` is empty.
        ValueError: damaged weights, or those of another model.
    """
    model = build_model(cfg).eval()
    NucleiCheckpointer(model).load_trained(cfg.MODEL.WEIGHTS)
    trained = TrainedModel(cfg, model)  # counts the parameters before some are fused
    if cfg.MODEL.DEVICE == "cpu":
        trained.model = fuse_batch_norm(model)
    return trained
