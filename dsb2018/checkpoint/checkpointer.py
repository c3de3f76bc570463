"""Checkpoints of a training, and the weights of a trained model."""

import logging
import re
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from dsb2018.checkpoint import named_weights  # noqa: F401 registers the names of weights
from dsb2018.checkpoint.imagenet import name_as_timm
from dsb2018.checkpoint.weight_files import DamagedWeightsError, read_weights
from dsb2018.errors import UsageError
from dsb2018.io.files import read_file, replacing, write_atomically
from dsb2018.io.names import check_address

logger = logging.getLogger(__name__)

# Counters, constants and anchors, which some files hold and others do not.
HARMLESS = r"(num_batches_tracked|^pixel_mean|^pixel_std)$|anchor_generator\."


class NucleiCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer; also reads safetensors and the pip packages' ImageNet files.

    Files are written whole or not at all, and read without running any code that is in them. Where
    the last checkpoint is damaged, the one before it is taken.
    """

    def save(self, name: str, tag: bool = True, **kwargs) -> None:
        """Writes `name`.pth to the folder.

        Args:
            name: of the file.
            tag: whether this is where a resumed training goes on.
            kwargs: what the checkpoint holds beside the model and the checkpointables.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: each.state_dict() for key, each in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        with replacing(path) as file:
            torch.save({"model": self.model.state_dict(), **states, **kwargs}, file)
        logger.info("Saved %s", path)
        if tag:
            self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Makes it the file where a resumed training goes on."""
        write_atomically(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def get_checkpoint_file(self) -> str:
        """The last checkpoint, as the file `last_checkpoint` names it; "" where that is none.

        Raises:
            ValueError: the file cannot be read.
        """
        mark = Path(self.save_dir) / "last_checkpoint"
        try:
            name = read_file(mark).decode().strip()
        except FileNotFoundError:
            return ""
        except (ValueError, OSError) as error:
            raise ValueError(f"{mark}: damaged ({error}); delete it to start anew") from error
        return str(Path(self.save_dir) / Path(name).name)

    def has_checkpoint(self) -> bool:
        """Whether a training can be resumed."""
        return bool(self.save_dir) and bool(self.get_checkpoint_file())

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict:
        """With `resume`, loads the last checkpoint of the folder that can be read, where there is
        one; else weights alone, from `path`.

        Returns:
            What the checkpoint holds beside that.

        Raises:
            ValueError: there are checkpoints, and all of them are damaged.
        """
        if not resume or not self.has_checkpoint():
            return self.load(path, checkpointables=[])
        last = Path(self.get_checkpoint_file())
        number = re.search(r"_(\d+)$", last.stem)  # of model_final there is none
        before = numbered_checkpoints(self.save_dir, int(number[1]) if number else None)
        for file in dict.fromkeys([last, *before]):
            try:
                return self.load(str(file))
            except (DamagedWeightsError, FileNotFoundError) as error:
                logger.warning("%s; the checkpoint before it is taken", error)
                self._parsed_url_during_load = None  # Detectron2's main branch expects that
        raise ValueError(f"{self.save_dir}: no checkpoint can be read; start without --resume")

    def load(self, path: str, *args, **kwargs) -> dict:
        """Loads a checkpoint or weights, see `Checkpointer.load`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: damaged, or not a checkpoint.
        """
        check_address(path or "")
        if path and "://" not in path and not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such checkpoint, or not a regular file")
        return super().load(path, *args, **kwargs)

    def load_trained(self, path: str, *, resume: bool = False) -> None:
        """Loads the weights of a trained model: exactly those that the model has, all finite.

        Args:
            path: as `MODEL.WEIGHTS`.
            resume: take the last checkpoint of the folder, where there is one, instead of `path`.

        Raises:
            FileNotFoundError: no such file.
            UsageError: `path` is empty.
            ValueError: damaged, of another model, or with values that are not finite.
        """
        if resume and self.has_checkpoint():
            path = self.get_checkpoint_file()
        elif not path:
            raise UsageError(
                "MODEL.WEIGHTS is empty: name the trained weights, as in MODEL.WEIGHTS "
                "output/unet/unet_light/model_final.pth"
            )
        self._incompatible = None
        self.resume_or_load(path, resume=resume)
        self._check_complete(path)
        check_finite_weights(self.model, path)

    def _check_complete(self, path: str) -> None:
        found = self._incompatible
        wrong = {
            "have another shape": [name for name, *_ in found.incorrect_shapes],
            "are missing": found.missing_keys,
            "are unknown": found.unexpected_keys,
        }
        for what, names in wrong.items():
            names = [name for name in names if not re.search(HARMLESS, name)]
            if names:
                raise ValueError(
                    f"{path}: weights of another model than the config's: {len(names)} parameters "
                    f"{what}, such as {names[0]}"
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
    """`model_<iteration>.pth` in a folder, the last iteration first.

    Args:
        folder: where they are.
        up_to: the last iteration that counts; None: all. Later ones are of a run before.
    """
    found = {
        int(path.stem.split("_")[1]): path
        for path in Path(folder).glob("model_*.pth")
        if re.fullmatch(r"model_\d+", path.stem)
    }
    return [found[each] for each in sorted(found, reverse=True) if up_to is None or each <= up_to]


def check_finite_weights(model: nn.Module, path: str) -> None:
    """Checks that a model has no parameter or statistic that is NaN or infinite.

    Raises:
        ValueError: it has; the message names the first.
    """
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not values.isfinite().all():
            raise ValueError(
                f"{path}: {name} has values that are NaN or infinite; the training that wrote this "
                "file has failed, or the file is damaged"
            )
