"""Writes the same images and nuclei in every form of input data."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import roifile
import scipy.io
import tifffile

from dsb2018.inference.export.geojson import outline
from dsb2018.structures.labels import crop_labels
from dsb2018.structures.masks import encode

HEIGHT, WIDTH = 40, 60


def draw_labels(seed: int) -> np.ndarray:
    """Returns (H, W) labels 1 to 4: a disc, a touching rectangle, a ring, and a pixel-thin bar."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    labels[(y - 12) ** 2 + (x - 12 - seed) ** 2 <= 64] = 1
    labels[8:20, 21 + seed : 30 + seed] = 2
    ring = (y - 28) ** 2 + (x - 40) ** 2
    labels[(ring <= 81) & (ring > 9)] = 3
    labels[36, 2:20] = 4
    return labels


def draw_image(seed: int) -> np.ndarray:
    """Returns (H, W) uint16 gray values that use more than 8 bits."""
    noise = np.random.default_rng(seed).normal(0, 40, (HEIGHT, WIDTH))
    return (600 + noise + 900 * (draw_labels(seed) > 0)).astype(np.uint16)


NAMES = ("a_1", "a_2", "b_1")


def _write_images(folder: Path, suffix: str = ".png", ending: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(NAMES):
        path = folder / f"{name}{ending}{suffix}"
        if suffix == ".npy":
            np.save(path, draw_image(seed))
        elif suffix == ".tif":
            tifffile.imwrite(path, draw_image(seed))
        else:
            cv2.imwrite(str(path), draw_image(seed))


def _labels() -> dict[str, np.ndarray]:
    return {name: draw_labels(seed) for seed, name in enumerate(NAMES)}


def stardist(root: Path) -> dict:
    """TIFF in `images` and `masks`."""
    _write_images(root / "images", ".tif")
    (root / "masks").mkdir()
    for name, labels in _labels().items():
        tifffile.imwrite(root / "masks" / f"{name}.tif", labels)
    return {"input": root}


def cellpose(root: Path) -> dict:
    """Images and `_masks` side by side."""
    _write_images(root, ending="_img")
    for name, labels in _labels().items():
        cv2.imwrite(str(root / f"{name}_masks.png"), labels)
    return {"input": root}


def bbbc039(root: Path) -> dict:
    """TIFF images and color label images, whose values are used again for distant nuclei."""
    _write_images(root / "images", ".tif")
    (root / "masks").mkdir()
    for name, labels in _labels().items():
        color = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        color[..., 2] = np.array([0, 1, 2, 1, 1])[labels]
        color[..., 3] = 255
        cv2.imwrite(str(root / "masks" / f"{name}.png"), color)
    return {"input": root}


def consep(root: Path) -> dict:
    """The .mat files of HoVer-Net, with a folder of overlays."""
    _write_images(root / "Images")
    _write_images(root / "Overlay")
    (root / "Labels").mkdir()
    for name, labels in _labels().items():
        scipy.io.savemat(root / "Labels" / f"{name}.mat", {"inst_map": labels.astype(float)})
    return {"input": root}


def arrays(root: Path) -> dict:
    """NumPy files, labels of 32 bits with large and unordered values."""
    _write_images(root / "images", ".npy")
    (root / "labels").mkdir()
    values = np.array([0, 4_000_000_000, 7, 100_000, 3], np.uint32)
    for name, labels in _labels().items():
        np.save(root / "labels" / f"{name}.npy", values[labels])
    return {"input": root}


def float_labels(root: Path) -> dict:
    """TIFF labels in float32, in a folder of their own."""
    _write_images(root / "pictures")
    (root / "corrected").mkdir()
    for name, labels in _labels().items():
        tifffile.imwrite(root / "corrected" / f"{name}.tif", labels.astype(np.float32))
    return {"input": root / "pictures", "truth": root / "corrected"}


def zipped(root: Path) -> dict:
    """A zip archive of images and labels."""
    stardist(root / "data")
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        for path in sorted((root / "data").rglob("*.tif")):
            archive.write(path, path.relative_to(root))
    return {"input": root / "data.zip"}


def _coco(folder: str, segment) -> dict:
    images = [
        {"id": n, "file_name": f"{folder}{name}.png", "height": HEIGHT, "width": WIDTH}
        for n, name in enumerate(NAMES, start=1)
    ]
    annotations = [
        {"image_id": n, "category_id": 3, "bbox": crop.box, "segmentation": segment(labels == k)}
        for n, labels in enumerate(_labels().values(), start=1)
        for k, crop in crop_labels(labels)
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation |= {"id": number, "iscrowd": 0}
    categories = [{"id": 0, "name": "cells"}, {"id": 3, "name": "nucleus"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_rle(root: Path) -> dict:
    """Compressed RLE; the images are in a subfolder that `file_name` does not name."""
    _write_images(root / "images" / "default")
    (root / "annotations").mkdir()
    path = root / "annotations" / "instances_default.json"
    path.write_text(json.dumps(_coco("", encode)))
    return {"input": root}


def coco_uncompressed(root: Path) -> dict:
    """Uncompressed RLE; the file is named, and its file names have backslashes."""

    def runs(mask: np.ndarray) -> dict:
        flat = np.concatenate([[0], mask.T.ravel().astype(int), [1 - int(mask.T.ravel()[-1])]])
        counts = np.diff(np.flatnonzero(np.diff(flat)), prepend=0).tolist()
        return {"size": [HEIGHT, WIDTH], "counts": counts}

    _write_images(root / "pictures")
    (root / "all.json").write_text(json.dumps(_coco("C:\\data\\", runs)))
    return {"input": root / "pictures", "truth": root / "all.json"}


def roi_zips(root: Path) -> dict:
    """ImageJ ROI sets beside the images, with a line, which is no nucleus."""
    _write_images(root, ".tif")
    line = roifile.ImagejRoi.frompoints(np.array([[1, 1], [9, 9]]))
    line.roitype = roifile.ROI_TYPE.POLYLINE
    for name, labels in _labels().items():
        rois = {f"{name}.line.roi": line.tobytes()}
        for label, crop in crop_labels(labels):
            rois[f"{label}.roi"] = _roi(outline(crop)["coordinates"]).tobytes()
        with zipfile.ZipFile(root / f"{name}_rois.zip", "w") as archive:
            for roi_name, data in rois.items():
                archive.writestr(roi_name, data)
    return {"input": root}


def _roi(rings: list) -> roifile.ImagejRoi:
    roi = roifile.ImagejRoi.frompoints(np.array(rings[0], np.float32))
    if len(rings) == 1:
        return roi
    path = []  # a composite ROI: 0 moves, 1 draws a line, 4 closes the ring
    for ring in rings:
        commands = np.column_stack([np.ones(len(ring) - 1), ring[:-1]])
        commands[0, 0] = 0
        path += [*commands.ravel(), 4]
    roi.multi_coordinates = np.array(path, np.float32)
    roi.integer_coordinates = roi.subpixel_coordinates = None
    roi.roitype = roifile.ROI_TYPE.RECT
    roi.n_coordinates = 0
    roi.shape_roi_size = len(path)
    return roi


def qupath(root: Path) -> dict:
    """GeoJSON as `predict.py` and QuPath write it, with a point, which is no nucleus."""
    _write_images(root / "images")
    (root / "geojson").mkdir()
    for name, labels in _labels().items():
        features = [
            {"type": "Feature", "geometry": outline(crop), "properties": {}}
            for _, crop in crop_labels(labels)
        ]
        point = {"type": "Point", "coordinates": [3, 4]}
        features.append({"type": "Feature", "geometry": point, "properties": None})
        text = json.dumps({"type": "FeatureCollection", "features": features})
        (root / "geojson" / f"{name}.geojson").write_text(text)
    return {"input": root}


WRITERS = {
    writer.__name__: writer
    for writer in (
        *(stardist, cellpose, bbbc039, consep, arrays, float_labels, zipped),
        *(coco_rle, coco_uncompressed, roi_zips, qupath),
    )
}
