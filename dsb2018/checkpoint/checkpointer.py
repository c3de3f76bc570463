"""Checkpointer: saves and loads checkpoints and trained weights."""

import logging
import re
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from dsb2018.checkpoint import named_weights  # noqa: F401 registers the path handlers
from dsb2018.checkpoint.imagenet import name_as_timm
from dsb2018.checkpoint.weight_files import read_weights
from dsb2018.errors import DamagedWeightsError, UsageError
from dsb2018.io.files import read_file, replacing, write_atomically
from dsb2018.io.names import check_address

logger = logging.getLogger(__name__)

# Buffers that a file may lack or have in addition: counters, constants and anchors.
OPTIONAL_BUFFERS = r"(num_batches_tracked|^pixel_mean|^pixel_std)$|anchor_generator\."


class NucleiCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with safe loading and atomic writing.

    It also loads safetensors files and the ImageNet weights of pip packages. Loading never runs
    code from a file. If the last checkpoint is damaged, the previous one is loaded.
    """

    def save(self, name: str, tag: bool = True, **kwargs) -> None:
        """Writes `name`.pth to the folder of the checkpointer.

        Args:
            name: file name without extension.
            tag: whether a resumed training continues from this checkpoint.
            kwargs: values to save in addition to the model and the checkpointables.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: item.state_dict() for key, item in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        with replacing(path) as file:
            torch.save({"model": self.model.state_dict(), **states, **kwargs}, file)
        logger.info("Saved %s", path)
        if tag:
            self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Records the checkpoint from which a resumed training continues."""
        write_atomically(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def get_checkpoint_file(self) -> str:
        """Returns the path of the last checkpoint, or "" if there is none.

        The file `last_checkpoint` in the folder names it.

        Raises:
            ValueError: the file `last_checkpoint` cannot be read.
        """
        pointer = Path(self.save_dir) / "last_checkpoint"
        try:
            name = read_file(pointer).decode().strip()
        except FileNotFoundError:
            return ""
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{pointer}: damaged ({error}); delete it to start a new training"
            ) from error
        return str(Path(self.save_dir) / Path(name).name)

    def has_checkpoint(self) -> bool:
        """Returns whether the folder has a checkpoint to resume from."""
        return bool(self.save_dir) and bool(self.get_checkpoint_file())

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict:
        """Loads the last checkpoint of the folder that can be read, or only weights from `path`.

        Args:
            path: weights, as in `MODEL.WEIGHTS`.
            resume: load the last checkpoint if there is one.

        Returns:
            The other values in the checkpoint.

        Raises:
            FileNotFoundError: `path` does not exist.
            ValueError: all checkpoints are damaged.
        """
        if not resume or not self.has_checkpoint():
            return self.load(path, checkpointables=[])
        last = Path(self.get_checkpoint_file())
        number = re.search(r"_(\d+)$", last.stem)  # None for model_final
        earlier = numbered_checkpoints(self.save_dir, int(number[1]) if number else None)
        for file in dict.fromkeys([last, *earlier]):
            try:
                return self.load(str(file))
            except (DamagedWeightsError, FileNotFoundError) as error:
                logger.warning("%s; loading the previous checkpoint", error)
                self._parsed_url_during_load = None  # required by Detectron2's main branch
        raise ValueError(f"{self.save_dir}: no checkpoint can be read; start without --resume")

    def load(self, path: str, *args, **kwargs) -> dict:
        """Loads a checkpoint or weights, see `Checkpointer.load`.

        Raises:
            FileNotFoundError: `path` does not exist.
            ValueError: the file is damaged or not a checkpoint.
        """
        check_address(path or "")
        if path and "://" not in path and not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such checkpoint, or not a regular file")
        return super().load(path, *args, **kwargs)

    def load_trained(self, path: str, *, resume: bool = False) -> None:
        """Loads the weights of a trained model and checks that they are complete and finite.

        Args:
            path: weights, as in `MODEL.WEIGHTS`.
            resume: load the last checkpoint of the folder, if there is one, instead of `path`.

        Raises:
            FileNotFoundError: `path` does not exist.
            UsageError: `path` is empty.
            ValueError: the file is damaged, belongs to another model, or has NaN or infinite
                values.
        """
        if resume and self.has_checkpoint():
            path = self.get_checkpoint_file()
        elif not path:
            raise UsageError(
                "MODEL.WEIGHTS is empty, expected trained weights, such as MODEL.WEIGHTS "
                "output/unet/unet_light/model_final.pth"
            )
        self._incompatible = None
        self.resume_or_load(path, resume=resume)
        self._check_complete(path)
        check_finite_weights(self.model, path)

    def _check_complete(self, path: str) -> None:
        incompatible = self._incompatible
        problems = {
            "have another shape": [name for name, *_ in incompatible.incorrect_shapes],
            "are missing": incompatible.missing_keys,
            "are unknown": incompatible.unexpected_keys,
        }
        for problem, names in problems.items():
            names = [name for name in names if not re.search(OPTIONAL_BUFFERS, name)]
            if names:
                raise ValueError(
                    f"{path}: the weights do not fit the model of the config: {len(names)} "
                    f"parameters {problem}, such as {names[0]}; use the config that they were "
                    "trained with"
                )

    def _load_model(self, checkpoint: dict):
        self._incompatible = super()._load_model(checkpoint)
        return self._incompatible

    def _load_file(self, filename: str) -> dict:
        checkpoint = read_weights(filename)
        if "_conv_stem.weight" in checkpoint["model"]:
            checkpoint["model"] = name_as_timm(checkpoint["model"], self.model)
        return checkpoint


def numbered_checkpoints(folder: str | Path, up_to: int | None = None) -> list[Path]:
    """Returns the files `model_<iteration>.pth` in a folder, the last iteration first.

    Args:
        folder: folder of the checkpoints.
        up_to: maximum iteration; None: all. Later checkpoints belong to an earlier run.
    """
    checkpoints = {
        int(path.stem.split("_")[1]): path
        for path in Path(folder).glob("model_*.pth")
        if re.fullmatch(r"model_\d+", path.stem)
    }
    iterations = sorted(checkpoints, reverse=True)
    return [checkpoints[number] for number in iterations if up_to is None or number <= up_to]


def check_finite_weights(model: nn.Module, path: str) -> None:
    """Checks that all parameters and buffers of a model are finite.

    Args:
        model: model to check.
        path: file of the weights, for the message.

    Raises:
        ValueError: a value is NaN or infinite; the message names the parameter.
    """
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not values.isfinite().all():
            raise ValueError(
                f"{path}: {name} has values that are NaN or infinite: the training failed or the "
                "file is damaged; use an earlier checkpoint"
            )
