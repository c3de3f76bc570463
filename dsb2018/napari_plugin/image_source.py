"""The image layer that the user chooses, its axes and its nuclear channel."""

from collections.abc import Callable
from typing import Any

from napari.layers import Image

from dsb2018.images.microscopy_image import RGB_CHANNELS, MicroscopyImage, choose_channel
from dsb2018.images.nuclear_channel import choose_nuclear_channel
from dsb2018.images.stains import STAINS
from dsb2018.napari_plugin.layer_images import open_layer, possible_axes
from dsb2018.napari_plugin.panels import ImagePanel

COLORS = "colors"  # all three channels of an RGB image


class ImageSource:
    """Keeps the choices of an `ImagePanel` up to date with the layers of the viewer.

    Args:
        viewer: of napari.
        panel: the controls.
        on_error: is called with messages.
    """

    def __init__(self, viewer: Any, panel: ImagePanel, on_error: Callable[[str], None]):
        self._viewer, self._panel, self._on_error = viewer, panel, on_error
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self._list_images)
        viewer.layers.selection.events.active.connect(self._follow_active_layer)
        panel.image.currentTextChanged.connect(lambda _: self._offer_axes())
        panel.axes_changed.connect(self._offer_channels)
        self._list_images()

    @property
    def layer(self) -> Image | None:
        """The chosen image layer."""
        name = self._panel.image.currentText()
        images = (layer for layer in self._viewer.layers if isinstance(layer, Image))
        return next((layer for layer in images if layer.name == name), None)

    @property
    def axes(self) -> str:
        """The axes of the layer."""
        return self._panel.axes.currentText()

    def open(self) -> tuple[MicroscopyImage, MicroscopyImage]:
        """Returns the image and its nuclear channel.

        Raises:
            ValueError: the axes do not fit the layer.
        """
        image = open_layer(self.layer, self.axes)
        name = self._panel.channel.currentText()
        if image.channel_axis is None:
            return image, image
        if name in RGB_CHANNELS:
            return image, image.at(S=RGB_CHANNELS.index(name))
        if name == COLORS:
            return image, choose_nuclear_channel(image, None)
        return image, choose_channel(image, name)

    def _list_images(self, _: Any = None) -> None:
        names = [layer.name for layer in self._viewer.layers if isinstance(layer, Image)]
        for layer in self._viewer.layers:
            layer.events.name.disconnect(self._list_images)
            layer.events.name.connect(self._list_images)
        box, chosen = self._panel.image, self._panel.image.currentText()
        box.blockSignals(True)
        box.clear()
        box.addItems(names)
        box.setCurrentText(chosen if chosen in names else (names or [""])[-1])
        box.blockSignals(False)
        if box.currentText() != chosen:
            self._offer_axes()

    def _follow_active_layer(self, _: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Image):
            self._panel.image.setCurrentText(active.name)

    def _offer_axes(self) -> None:
        choices: tuple[str, ...] = ()
        if self.layer is not None:
            try:
                choices = possible_axes(self.layer)
            except ValueError as error:
                self._on_error(str(error))
        self._panel.offer_axes(choices)

    def _offer_channels(self) -> None:
        choices = []
        if self.layer is not None and "S" in self.axes:
            choices = [COLORS, *STAINS, *RGB_CHANNELS]
        elif self.layer is not None and "C" in self.axes:
            count = open_layer(self.layer, self.axes).length("C")
            choices = [str(number) for number in range(count)]
        self._panel.offer_channels(choices)
