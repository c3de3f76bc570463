"""The channel of an image that a model sees."""

from dsb2018.images.false_color import only_stain
from dsb2018.images.microscopy_image import MicroscopyImage, choose_channel


def choose_nuclear_channel(image: MicroscopyImage, channel: str | None) -> MicroscopyImage:
    """Selects the nuclear channel of an image, see `choose_channel`.

    Of an RGB image that shows fluorescence of a single stain, this is the brightest channel, if
    none is named.

    Raises:
        ValueError: see `choose_channel`.
    """
    chosen = choose_channel(image, channel)
    axis = chosen.channel_axis
    if channel is None and axis == "S" and chosen.length(axis) == 3:
        stain = only_stain(chosen.sample())
        return chosen if stain is None else chosen.at(S=stain)
    return chosen
