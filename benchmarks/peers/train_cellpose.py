"""Trains Cellpose on a prepared dataset for a given time and writes its label images.

    python benchmarks/peers/train_cellpose.py --root datasets/dsb2018 --minutes 30 \\
        --output output/cellpose

Needs an environment of its own, see docs/peers.md. Trains the network of Cellpose 1 to 3 from
random weights, with Cellpose's augmentation and its settings for random weights (SGD, learning rate
0.2). Images are not rescaled to a common diameter of the nuclei. Cellpose has no time limit, so the
number of epochs is computed from the duration of the first one.
"""

import time

import torch
from cellpose import dynamics, models, train
from peer import argument_parser, read_dataset, write_results

DIAMETER = 17.0  # mean diameter in Cellpose's model for nuclei, pixels


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--epoch", type=int, default=100, help="images per epoch")
    args = parser.parse_args()
    torch.manual_seed(0)
    args.output.mkdir(parents=True, exist_ok=True)
    images = read_dataset(args.root, args.train)
    gray_images = [image.gray for image in images]
    labels = [image.labels for image in images]
    device = torch.device("cpu")
    flows = dynamics.labels_to_flows(labels, device=device)  # not part of the measured time
    model = models.CellposeModel(gpu=False, pretrained_model=False, diam_mean=DIAMETER)

    def fit(epochs: int) -> None:
        train.train_seg(
            model.net,
            train_data=gray_images,
            train_labels=flows,
            channels=[0, 0],
            SGD=True,
            learning_rate=0.2,
            n_epochs=epochs,
            nimg_per_epoch=args.epoch,
            rescale=False,
            min_train_masks=0,
            save_path=args.output,
            model_name="cellpose",
        )

    start = time.monotonic()
    fit(1)
    seconds = time.monotonic() - start
    model = models.CellposeModel(gpu=False, pretrained_model=False, diam_mean=DIAMETER)
    fit(max(1, round(60 * args.minutes / seconds)))

    def segment(gray):
        return model.eval(gray, channels=[0, 0], diameter=DIAMETER)[0]

    write_results(args, segment, sum(p.numel() for p in model.net.parameters()))


if __name__ == "__main__":
    main()
