"""Detectron2 augmentations for images of nuclei.

New images have other stains, exposures, sizes and cameras than the training images. Color, contrast
and scale are therefore varied much more than in Detectron2's defaults. The augmentations use OpenCV
and work on uint8 images.
"""

import cv2
import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

from dsb2018.structures.labels import median_diameter


class CropResizeTransform(Transform):
    """Crops a window and resizes it. Pixels outside of the window are not processed.

    Args:
        x, y, w, h: window in the input, pixels.
        new_w, new_h: size of the output, pixels.
    """

    def __init__(self, x: int, y: int, w: int, h: int, new_w: int, new_h: int):
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Transforms a (H, W[, C]) image to (new_h, new_w[, C]).

        The interpolation is area-based if the window shrinks, else bilinear.
        """
        return self._resize(img, cv2.INTER_AREA if self.new_w < self.w else cv2.INTER_LINEAR)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Transforms (H, W[, L]) labels to (new_h, new_w[, L]) by nearest neighbor."""
        return self._resize(segmentation, cv2.INTER_NEAREST_EXACT)

    def _resize(self, array: np.ndarray, interpolation: int) -> np.ndarray:
        window = array[self.y : self.y + self.h, self.x : self.x + self.w]
        if (self.new_w, self.new_h) == (self.w, self.h):
            return window
        size = self.new_w, self.new_h
        resized = cv2.resize(np.ascontiguousarray(window), size, interpolation=interpolation)
        # cv2.resize drops a last axis of length 1.
        return resized.reshape(self.new_h, self.new_w, *array.shape[2:])

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Transforms the (N, 2) x, y coordinates of points."""
        scale = np.array([self.new_w / self.w, self.new_h / self.h])
        return (coords - np.array([self.x, self.y])) * scale


class RandomZoomCrop(T.Augmentation):
    """Crops a window at a random position and resizes it by a random zoom.

    With a `diameter`, the zoom is relative to the scale at which the median nucleus of the image
    has this diameter. An image without nuclei is then zoomed as if its nuclei had it.

    If the zoomed image is smaller than `size`, the output has the size of the zoomed image. A
    window without nuclei is replaced by another one, so that large and sparse images contribute as
    much to the training as others. After `tries` windows, the last one is used even if it is empty.

    Args:
        size: maximum height and width of the output, pixels.
        zoom: (minimum, maximum) output pixels per input pixel, drawn uniformly on a log scale.
        tries: maximum number of windows to draw, 1 or more.
        diameter: median diameter of the nuclei to which the zoom is relative, pixels; 0: the zoom
            is relative to the image.
    """

    def __init__(self, size: int, zoom: tuple[float, float], tries: int = 3, diameter: float = 0.0):
        super().__init__()
        self._init({"size": size, "zoom": zoom, "diameter": diameter, "tries": tries})

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        """Draws a window for a (H, W[, C]) image and its (H, W[, L]) labels."""
        height, width = image.shape[:2]
        zoom = float(np.exp(np.random.uniform(*np.log(self.zoom))))
        if self.diameter and (median := median_diameter(sem_seg)):
            zoom *= self.diameter / median
        h, w = (min(edge, max(1, round(self.size / zoom))) for edge in (height, width))
        for _ in range(self.tries):
            y, x = np.random.randint(0, height - h + 1), np.random.randint(0, width - w + 1)
            if sem_seg[y : y + h, x : x + w].any():
                break
        new_h, new_w = (min(self.size, max(1, round(side * zoom))) for side in (h, w))
        return CropResizeTransform(x, y, w, h, new_w, new_h)


class ZoomToLimit(T.Augmentation):
    """Resizes the whole image, with a limit for enlargement.

    Args:
        zoom: output pixels per input pixel.
        max_size: maximum length of the longest edge of an enlarged image, pixels. An image whose
            longest edge already exceeds it is not enlarged.
    """

    def __init__(self, zoom: float, max_size: int):
        super().__init__()
        self._init({"zoom": zoom, "max_size": max_size})

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns the transform for a (H, W[, C]) image."""
        height, width = image.shape[:2]
        zoom = min(self.zoom, max(1.0, self.max_size / max(height, width)))
        new_w, new_h = (max(1, round(edge * zoom)) for edge in (width, height))
        return CropResizeTransform(0, 0, width, height, new_w, new_h)


class RandomQuarterTurn(T.Augmentation):
    """Rotates by 0, 90, 180 or 270 degrees. Combined with flips, this gives all 8 orientations."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draws the number of quarter turns."""
        return QuarterTurnTransform(np.random.randint(4), *image.shape[:2])


class QuarterTurnTransform(Transform):
    """Rotates an image of (height, width) counterclockwise by `turns` × 90 degrees."""

    def __init__(self, turns: int, height: int, width: int):
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Returns a rotated view of a (H, W[, C]) array."""
        return np.rot90(img, self.turns)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Transforms the (N, 2) x, y coordinates of points."""
        height, width = self.height, self.width
        for _ in range(self.turns):
            coords = np.stack([coords[:, 1], width - coords[:, 0]], axis=1)
            height, width = width, height
        return coords


class RandomStain(T.Augmentation):
    """Changes colors at random, to simulate other stains, exposures and cameras.

    Some images become gray, and the channels of some are mixed. Contrast, brightness and gamma are
    drawn for the image and varied a little for each channel. Some images are then inverted (dark
    nuclei on a bright background and the reverse).

    Args:
        strength: strength of all changes except the inversion, from 0 (none) to 1.
        inversion: probability that an image is inverted, 0 to 1.
    """

    def __init__(self, strength: float = 1.0, inversion: float = 0.15):
        super().__init__()
        self._init({"strength": strength, "inversion": inversion})

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draws a color change for a (H, W, 3) uint8 image."""
        matrix = self._draw_mixing()
        table = self._draw_table()

        def recolor(img: np.ndarray) -> np.ndarray:
            if matrix is not None:
                img = cv2.transform(np.ascontiguousarray(img), matrix)
            return cv2.LUT(np.ascontiguousarray(img), table)

        return T.ColorTransform(recolor)

    def _draw_mixing(self) -> np.ndarray | None:
        """Draws a (3, 3) color matrix whose rows add up to 1, or None for no change."""
        kind = np.random.rand()
        if kind < 0.2 * self.strength:  # gray, with random channel weights
            return np.tile(np.random.dirichlet([2, 2, 2]), (3, 1)).astype(np.float32)
        if kind < 0.5 * self.strength:  # another stain: permute and mix the channels
            order = np.eye(3)[np.random.permutation(3)]
            return (0.7 * order + 0.3 * np.random.dirichlet([1, 1, 1], 3)).astype(np.float32)
        return None

    def _draw_table(self) -> np.ndarray:
        """Draws a (1, 256, 3) uint8 lookup table: new value by old value and channel."""
        common, single = 0.5 * self.strength, 0.15 * self.strength
        spread = np.random.uniform(-1, 1, (3, 1)) * common
        spread = spread + np.random.uniform(-1, 1, (3, 3)) * single
        contrast, brightness, gamma = np.exp(spread[0]), 0.3 * spread[1], np.exp(spread[2])
        values = np.linspace(0, 1, 256)[:, None] ** gamma
        values = (values - 0.5) * np.minimum(contrast, 1.3) + 0.5 + brightness
        if np.random.rand() < self.inversion:
            values = 1 - values
        return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)[None]


class RandomLocalContrast(T.Augmentation):
    """Raises the local contrast of some images by adaptive histogram equalization (CLAHE).

    Args:
        probability: probability that an image is changed, 0 to 1.
    """

    def __init__(self, probability: float):
        super().__init__()
        self._init({"probability": probability})

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draws the strength for a (H, W, 3) uint8 image."""
        if np.random.rand() >= self.probability:
            return T.NoOpTransform()
        clip, cells = np.random.uniform(1, 4), int(np.random.randint(2, 9))

        def equalize(img: np.ndarray) -> np.ndarray:
            clahe = cv2.createCLAHE(clip, (cells, cells))
            luma, *chroma = cv2.split(cv2.cvtColor(np.ascontiguousarray(img), cv2.COLOR_RGB2YCrCb))
            return cv2.cvtColor(cv2.merge([clahe.apply(luma), *chroma]), cv2.COLOR_YCrCb2RGB)

        return T.ColorTransform(equalize)


class RandomOptics(T.Augmentation):
    """Adds random blur and noise, to simulate another focus and camera.

    Args:
        probability: probability of blur and, independently, of noise, 0 to 1.
        max_sigma: maximum standard deviation of the blur, pixels.
        max_noise: maximum standard deviation of the noise, in gray values from 0 to 255.
    """

    def __init__(self, probability: float = 0.25, max_sigma: float = 1.5, max_noise: float = 12.0):
        super().__init__()
        self._init({"probability": probability, "max_sigma": max_sigma, "max_noise": max_noise})

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draws blur and noise for a (H, W, 3) uint8 image."""
        blur, noise = np.random.rand(2) < self.probability
        sigma = np.random.uniform(0.3, self.max_sigma) if blur else 0
        deviation = np.random.uniform(0, self.max_noise) if noise else 0
        seed = np.random.randint(2**31 - 1)

        def degrade(img: np.ndarray) -> np.ndarray:
            img = np.ascontiguousarray(img)
            if sigma:
                img = cv2.GaussianBlur(img, (0, 0), sigma)
            if deviation:
                noise_values = np.empty(img.shape, np.int16)
                cv2.setRNGSeed(seed)
                cv2.randn(noise_values, (0, 0, 0), (deviation, deviation, deviation))
                img = cv2.add(img, noise_values, dtype=cv2.CV_8U)
            return img

        return T.ColorTransform(degrade)
