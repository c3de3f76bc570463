"""Checks that the output of a network is finite."""

import torch


def check_finite_output(values: torch.Tensor) -> None:
    """Checks the output of a network. Without this, NaN would look like an image without nuclei.

    Raises:
        FloatingPointError: the output has NaN or infinite values.
    """
    if not values.isfinite().all():
        raise FloatingPointError(
            "the network's output has NaN or infinite values; the weights are damaged, or their "
            "values are too large for SOLVER.PRECISION; try SOLVER.PRECISION fp32"
        )
