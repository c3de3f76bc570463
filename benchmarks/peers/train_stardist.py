"""Trains StarDist on a prepared dataset for a given time and writes its label images.

    python benchmarks/peers/train_stardist.py --root datasets/dsb2018 --minutes 30 \\
        --output output/stardist

Needs an environment of its own, see docs/peers.md. The settings are those of StarDist's example for
this dataset: 32 rays, a grid of 2, percentile normalization; flips, rotations by 90° and changes of
brightness; thresholds optimized on a tenth of the training images.
"""

import time

import numpy as np
from csbdeep.utils import normalize
from csbdeep.utils.tf import keras_import
from peer import argument_parser, read_dataset, write_results
from stardist.models import Config2D, StarDist2D

Callback = keras_import("callbacks", "Callback")


class StopAfter(Callback):
    """Ends a training after the given time."""

    def __init__(self, minutes: float):
        super().__init__()
        self._end = time.monotonic() + 60 * minutes

    def on_epoch_end(self, epoch, logs=None):
        if time.monotonic() > self._end:
            self.model.stop_training = True


def augment(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Applies random flips, rotations, brightness and noise, as in StarDist's example."""
    turns, flipped = np.random.randint(4), np.random.rand() < 0.5
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if flipped:
        image, labels = image[::-1], labels[::-1]
    image = image * np.random.uniform(0.6, 2) + np.random.uniform(-0.2, 0.2)
    return image + 0.02 * np.random.uniform(0, 1) * np.random.normal(size=image.shape), labels


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="steps per epoch")
    args = parser.parse_args()
    np.random.seed(0)
    images = read_dataset(args.root, args.train)
    order = np.random.permutation(len(images))
    val_indices = set(order[: max(1, len(images) // 10)].tolist())
    train = [image for index, image in enumerate(images) if index not in val_indices]
    val = [images[index] for index in sorted(val_indices)]

    def to_arrays(images):
        return [normalize(i.gray, 1, 99.8) for i in images], [i.labels for i in images]

    config = Config2D(
        n_rays=32,
        grid=(2, 2),
        n_channel_in=1,
        train_patch_size=(256, 256),
        train_batch_size=4,
        train_epochs=10000,
        train_steps_per_epoch=args.steps,
        train_tensorboard=False,
    )
    model = StarDist2D(config, name="stardist", basedir=str(args.output))
    model.prepare_for_training()
    model.callbacks.append(StopAfter(args.minutes))
    model.train(*to_arrays(train), validation_data=to_arrays(val), augmenter=augment)
    model.optimize_thresholds(*to_arrays(val))

    def segment(gray):
        return model.predict_instances(normalize(gray, 1, 99.8))[0]

    write_results(args, segment, int(model.keras_model.count_params()))


if __name__ == "__main__":
    main()
