"""Weights and outputs that are NaN or infinite are errors: silently, they would give no nuclei."""

import torch
from torch import nn


def check_finite_weights(model: nn.Module, path: str) -> None:
    """Checks that a model has no parameter or statistic that is NaN or infinite.

    Raises:
        ValueError: it has; the message names the first.
    """
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not values.isfinite().all():
            raise ValueError(
                f"{path}: {name} has values that are NaN or infinite; the training that wrote this "
                "file has failed, or the file is damaged"
            )


def check_finite_output(values: torch.Tensor) -> None:
    """
    Raises:
        FloatingPointError: a network's output has NaN or infinite values, which would otherwise be
            taken for an image without nuclei.
    """
    if not values.isfinite().all():
        raise FloatingPointError(
            "the network's output has NaN or infinite values; its weights are damaged, or "
            "SOLVER.PRECISION is too low for them (fp32 is the safest)"
        )
