"""Signs that a model does not know a kind of image.

On images without nuclei, or with stains that it was not trained on, a model still finds something,
but with less confidence. Of the median scores of the packaged U-Net `nuclei`, none of 75 images of
`dsb2018_val` is below `LOW_SCORE`, 5 of 112 tiles of CoNSeP and 13 of 80 images of NuInsSeg, but
those of a photo of a face, a cup of coffee, and galaxies are.

Of 541 gray images of `dsb2018_train` and `dsb2018_val` with bright nuclei, none has a background
above 0.12 of the range of its gray values (99.5 % are below 0.09); a photo of coins has 0.22.
"""

import math

from dsb2018.inference.appearance import Appearance

LOW_SCORE = 0.9  # median score of the nuclei of an image
# Median diameters of nuclei that models can bring to their scale, pixels.
SMALLEST, LARGEST = 6.0, 96.0
BRIGHT = 0.18  # background of a gray image, 0 to 1


def find_doubts(median_score: float, median_diameter: float, appearance: Appearance) -> str:
    """Returns why the nuclei of an image should be checked; "" if there is no reason.

    Args:
        median_score: of the nuclei, 0 to 1; NaN for an image without nuclei.
        median_diameter: of the nuclei, pixels; NaN for an image without nuclei.
        appearance: of the picture.
    """
    doubts = ["no nuclei"] if math.isnan(median_score) else []
    has_several_stains = appearance.has_several_stains()
    if has_several_stains:
        doubts.append("several colors on black: name the nuclear channel with --channel")
    if median_score < LOW_SCORE:
        doubts.append("low confidence")
        if not has_several_stains and appearance.is_brown():
            doubts.append("brown stain: try --channel hematoxylin")
    if not math.isnan(median_diameter) and not SMALLEST <= median_diameter <= LARGEST:
        doubts.append(f"nuclei of {median_diameter:.0f} pixels")
    if appearance.background() > BRIGHT:
        doubts.append("bright background")
    return ", ".join(doubts)
