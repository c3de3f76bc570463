"""A label layer, and where its nuclei come from."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.napari_plugin.features import position_of, to_features
from dsb2018.napari_plugin.layer_images import label_shape
from dsb2018.napari_plugin.segmentation import Criteria, Frame, Segmentation


@dataclass(eq=False)
class Result:
    """The nuclei that were found in an image layer.

    Args:
        image: the image of the layer, with all channels.
        channel: its nuclear channel.
        segmentation: the output of the network.
        criteria: with which the nuclei were found.
        labels: the label layer; None: not yet shown.
        is_corrected: whether the labels were changed by hand.
    """

    image: MicroscopyImage
    channel: MicroscopyImage
    segmentation: Segmentation
    criteria: Criteria
    labels: Any = None
    is_corrected: bool = False

    @property
    def axes(self) -> str:
        """The axes of the label layer."""
        return self.image.axes.replace("S", "").removeprefix("C")

    def to_layer(self, frames: list[Frame]) -> np.ndarray:
        """Returns the labels of all time points in the shape of the label layer."""
        return np.stack([frame.labels for frame in frames]).reshape(label_shape(self.image))

    def by_time(self) -> np.ndarray:
        """Returns the labels of the layer, (T, Z, Y, X)."""
        count, depth = self.segmentation.frame_count, self.segmentation.depth or 1
        return np.asarray(self.labels.data).reshape(count, depth, *self.image.size)

    def show(self, frames: list[Frame]) -> None:
        """Replaces the labels and the measurements of the layer."""
        self.labels.data = self.to_layer(frames)
        self.labels.features = to_features([frame.columns for frame in frames])

    def shown_plane(self, point: tuple[float, ...]) -> tuple[int, int]:
        """Returns the time point and the slice that are shown.

        Args:
            point: of the viewer, in world coordinates.
        """
        position = np.round(self.labels.world_to_data(point)).astype(int)
        found = {
            axis: int(np.clip(position[index], 0, self.labels.data.shape[index] - 1))
            for index, axis in enumerate(self.axes)
        }
        return found.get("T", 0), found.get("Z", 0)

    def plane_name(self, time: int, z: int) -> str:
        """Returns the name of a plane."""
        name = self.image.name
        if self.segmentation.frame_count > 1:
            name += f"_t{time:04d}"
        return name if self.segmentation.depth is None else f"{name}_z{z:04d}"

    def plane_channel(self, time: int, z: int) -> MicroscopyImage:
        """Returns the nuclear channel of a plane."""
        fixed = {"T": time, "Z": z}
        free = [axis for axis in fixed if axis in self.image.axes]
        return self.channel.at(**{axis: fixed[axis] for axis in free})

    def world_position(self, label: int) -> np.ndarray | None:
        """Returns the center of a nucleus in world coordinates of the layer; None: no nucleus."""
        position = position_of(self.labels.features, label)
        if position is None:
            return None
        point = [position.get(axis, 0.0) for axis in self.axes]
        return np.asarray(self.labels.data_to_world(point))
