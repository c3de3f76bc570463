"""A network's output that is NaN or infinite is an error, not an image without nuclei."""

import torch


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
