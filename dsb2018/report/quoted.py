"""Results of others, as they published them, to stand beside ours. They are of other images,
splits and definitions, so they are quoted, not compared."""

from typing import NamedTuple


class Quoted(NamedTuple):
    """A row of a published table, percent; None: not given."""

    name: str
    source: str
    training_accuracy: float | None
    accuracy: float | None
    iou: float | None


PAPER = "the paper that this project rebuilds: DSB2018, its 65 test images"
QUOTED = (
    Quoted("simple CNN", PAPER, None, 93.7, 62.0),
    Quoted("ResNet-101", PAPER, None, 96.1, 77.0),
    Quoted("U-Net", PAPER, None, 98.0, 83.0),
    Quoted("Mask R-CNN", PAPER, None, 99.2, 88.0),
)
