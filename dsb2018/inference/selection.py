"""Which of the nuclei that a model finds are kept."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from dsb2018.errors import UsageError
from dsb2018.structures.nuclei import Nuclei


class Area(NamedTuple):
    """An area in pixels, or in square micrometers.

    Args:
        value: the number.
        is_physical: whether it is in square micrometers.
    """

    value: float
    is_physical: bool

    @classmethod
    def from_text(cls, text: str) -> "Area":
        """Reads a number of pixels, such as 80, or square micrometers, such as 12.5um2.

        Raises:
            ValueError: it is neither.
        """
        match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*([uµμ]m(?:2|²))?", text.strip())
        if not match:
            raise ValueError(f"{text!r}, expected pixels, such as 80, or for example 12.5um2")
        return cls(float(match[1]), match[2] is not None)

    def in_pixels(self, pixel_size: tuple[float, float] | None, source: str) -> float:
        """Returns the number of pixels.

        Args:
            pixel_size: height and width of a pixel in micrometers; None: unknown.
            source: the image, for the message.

        Raises:
            ValueError: the pixel size is needed and unknown.
        """
        if not self.is_physical:
            return self.value
        if not pixel_size:
            raise ValueError(
                f"{source}: an area in square micrometers, but the file has no pixel size; pass "
                "--pixel-size, or the area in pixels"
            )
        return self.value / (pixel_size[0] * pixel_size[1])


@dataclass(frozen=True)
class Selection:
    """Keeps the nuclei of some sizes and places.

    Args:
        least: smallest area; None: any.
        most: largest area; None: any.
        exclude_border: whether nuclei that touch the border of the image are removed, because a
            part of them is not in the image.

    Raises:
        UsageError: the smallest area is larger than the largest.
    """

    least: Area | None = None
    most: Area | None = None
    exclude_border: bool = False

    def __post_init__(self):
        least, most = self.least, self.most
        if least and most and least.is_physical == most.is_physical and least.value > most.value:
            raise UsageError(
                f"the smallest area, {least.value:g}, is larger than the largest, {most.value:g}"
            )

    def apply(self, nuclei: Nuclei, pixel_size: tuple[float, float] | None, source: str) -> Nuclei:
        """Returns the nuclei that are kept, numbered again.

        Args:
            nuclei: the nuclei of an image.
            pixel_size, source: see `Area.in_pixels`.

        Raises:
            ValueError: see `Area.in_pixels`.
        """
        if self == NO_SELECTION:
            return nuclei
        least = self.least.in_pixels(pixel_size, source) if self.least else 0.0
        most = self.most.in_pixels(pixel_size, source) if self.most else float("inf")
        kept = [
            index
            for index, (crop, area) in enumerate(zip(nuclei.crops, nuclei.areas, strict=True))
            if least <= area <= most and not (self.exclude_border and nuclei.at_border(crop))
        ]
        return Nuclei(nuclei.size, [nuclei.crops[index] for index in kept], nuclei.scores[kept])


NO_SELECTION = Selection()  # keeps all
