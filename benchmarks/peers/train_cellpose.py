"""Trains Cellpose on a prepared dataset for some minutes and writes its label images.

    python benchmarks/peers/train_cellpose.py --root datasets/dsb2018 --minutes 30 \\
        --output output/cellpose

Runs in an environment of its own, see docs/peers.md. The network of Cellpose 1 to 3 from random
weights, with Cellpose's own augmentation and training settings for that (SGD, learning rate 0.2);
nuclei are learned at the size that they have. Cellpose knows no time limit, so the number of epochs
follows from the time of the first.
"""

import time

import torch
from cellpose import dynamics, models, train
from peer import argument_parser, read_dataset, write_results

DIAMETER = 17.0  # pixels, of Cellpose's model for nuclei


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--epoch", type=int, default=100, help="images in an epoch")
    args = parser.parse_args()
    torch.manual_seed(0)
    args.output.mkdir(parents=True, exist_ok=True)
    images = read_dataset(args.root, args.train)
    grey = [image.grey for image in images]
    labels = [image.labels for image in images]
    device = torch.device("cpu")
    flows = dynamics.labels_to_flows(labels, device=device)  # before the clock starts
    model = models.CellposeModel(gpu=False, pretrained_model=False, diam_mean=DIAMETER)

    def fit(epochs: int) -> None:
        train.train_seg(
            model.net,
            train_data=grey,
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

    def segment(grey):
        return model.eval(grey, channels=[0, 0], diameter=DIAMETER)[0]

    write_results(args, segment, sum(p.numel() for p in model.net.parameters()))


if __name__ == "__main__":
    main()
