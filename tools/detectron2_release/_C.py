"""Stands in for Detectron2's compiled operators, where it was built without a compiler.

What torchvision has is in `detectron2.layers.deform_conv`; the COCO evaluation is in
`detectron2.evaluation.fast_eval_api`. Rotated boxes need the C++ sources.
"""

OPERATORS = (
    "box_iou_rotated",
    "deform_conv_backward_filter",
    "deform_conv_backward_input",
    "deform_conv_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "nms_rotated",
    "roi_align_rotated_backward",
    "roi_align_rotated_forward",
)


def get_compiler_version() -> str:
    """For the report on the environment."""
    return "not compiled"


def get_cuda_version() -> str:
    """For the report on the environment."""
    return "not compiled"


def has_cuda() -> bool:
    """Whether the operators were compiled for CUDA."""
    return False


def __getattr__(name: str):
    if name not in OPERATORS:
        raise AttributeError(f"module 'detectron2._C' has no attribute {name!r}")

    def missing(*args, **kwargs):
        raise NotImplementedError(
            f"detectron2._C.{name}: Detectron2 was installed without its C++ operators; build it "
            "from source, see https://detectron2.readthedocs.io/tutorials/install.html"
        )

    return missing
