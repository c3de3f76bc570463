"""Checks that the output of a network is finite."""


def check_finite_output(is_finite: bool) -> None:
    """Stops if the output of a network has NaN, which would look like an image without nuclei.

    Args:
        is_finite: whether all values of the output are finite.

    Raises:
        FloatingPointError: they are not.
    """
    if not is_finite:
        raise FloatingPointError(
            "the network's output has NaN or infinite values; the weights are damaged, or their "
            "values are too large for SOLVER.PRECISION; try SOLVER.PRECISION fp32"
        )
