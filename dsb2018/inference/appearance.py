"""How the picture of an image looks, for a comparison with the images of the training."""

from dataclasses import replace

import numpy as np

from dsb2018.images.false_color import is_false_color
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.images.stains import STAINS, unmix
from dsb2018.inference.background import background_levels
from dsb2018.structures.contrast import GreyRange, find_range
from dsb2018.structures.nuclei import Nuclei

MOST_COLOR = 0.02  # difference between the channels of a gray pixel, 0 to 1
BROWN = 0.1  # optical density of DAB in a brown pixel
LEAST_BROWN = 0.05  # share of the pixels in a section with brown stain


def picture_of(
    channel: MicroscopyImage, grey_range: GreyRange
) -> tuple[MicroscopyImage, GreyRange]:
    """Returns the image that people see, and its gray values that become 0 and 255.

    It is the nuclear channel, but tissue sections keep their colors if the model's input is the
    amount of a stain.

    Args:
        channel: the nuclear channel, which is the model's input.
        grey_range: its gray values that become 0 and 255.
    """
    if not channel.stain:
        return channel, grey_range
    colors = replace(channel, stain="")
    return colors, find_range(colors.windows(), None)


class Appearance:
    """The appearance of a picture; each property is computed when it is needed."""

    def __init__(
        self,
        nuclei: Nuclei,
        picture: MicroscopyImage,
        grey_range: GreyRange,
        levels: np.ndarray | None = None,
    ):
        """
        Args:
            nuclei: the nuclei that were found.
            picture: the 2-D image, of one channel or RGB.
            grey_range: gray values that become 0 and 1.
            levels: see `background_levels`; None: computed if they are needed.
        """
        self._nuclei, self._picture, self._grey_range = nuclei, picture, grey_range
        self._levels = levels

    def background(self) -> float:
        """Returns the gray value outside of the nuclei.

        Returns:
            0 to 1; NaN for a colored image and an image without nuclei.
        """
        if not len(self._nuclei):
            return float("nan")
        low, high = self._grey_range
        levels = self._levels
        if levels is None:
            levels = background_levels(self._nuclei, self._picture)
        levels = (levels - low) / (high - low)
        return float(levels.mean()) if np.ptp(levels) < MOST_COLOR else float("nan")

    def has_several_stains(self) -> bool:
        """Returns whether this is fluorescence of several stains, in as many colors.

        Images with a single stain have been reduced to one channel, see `choose_nuclear_channel`.
        """
        return self._is_color and is_false_color(self._picture.sample())

    @property
    def _is_color(self) -> bool:
        axis = self._picture.channel_axis
        return axis is not None and self._picture.length(axis) == 3

    def is_brown(self) -> bool:
        """Returns whether this is a section with a brown stain, as in immunohistochemistry.

        Of the images with color, no image of DSB2018 and CoNSeP has brown in more than 2 % of the
        pixels, 4 of 80 of NuInsSeg in 5 % or more, and scikit-image's example in 20 %.
        """
        if not self._is_color:
            return False
        brown, count = 0, 0
        for window in self._picture.windows():
            sample = self._grey_range.apply(window[::2, ::2])
            is_colored = np.ptp(sample, axis=2) > MOST_COLOR * 255  # gray has all stains
            brown += np.count_nonzero(is_colored & (unmix(sample, STAINS[-1])[..., 0] > BROWN))
            count += sample[..., 0].size
        return bool(brown >= LEAST_BROWN * count)
