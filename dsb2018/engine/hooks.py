"""Hooks of the training. Each hook does one thing and is controlled by a config key."""

import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from dsb2018.checkpoint import numbered_checkpoints
from dsb2018.evaluation.metrics import is_lower_better

logger = logging.getLogger(__name__)


class EarlyStop(BaseException):
    """Raised to stop a training whose metric no longer improves.

    Stopping is not an error, so this is not an `Exception`.
    """


class WeightAverage(HookBase):
    """Exponential moving average of the weights. The averaged weights are evaluated and saved.

    The decay is lower at the beginning, so that the average forgets the initial weights faster:
    after n updates it is at most (1 + n) / (10 + n).
    """

    def __init__(self, model: nn.Module, decay: float):
        """
        Args:
            model: model to train; the average is a copy of it.
            decay: weight of the old average in an update, above 0 and below 1.

        Raises:
            ValueError: `decay` is out of range.
        """
        if not 0 < decay < 1:
            raise ValueError(
                f"SOLVER.EMA_DECAY {decay}, expected a number from 0 (no average) to below 1"
            )
        self._decay, self._source = decay, model
        self._average = AveragedModel(model, multi_avg_fn=self._mix, use_buffers=True)

    @property
    def model(self) -> nn.Module:
        """The model with the averaged weights."""
        return self._average.module

    def _mix(self, averages: list[torch.Tensor], new: list[torch.Tensor], _) -> None:
        """Updates all averages of one dtype at once; one by one, a GPU would wait for each."""
        if not averages[0].is_floating_point():  # counters of batch normalization
            torch._foreach_copy_(averages, new)
            return
        count = int(self._average.n_averaged)  # a CPU tensor, so this does not wait for the GPU
        decay = min(self._decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(averages, new, 1 - decay)

    def after_step(self) -> None:
        """Updates the average with the new weights."""
        self._average.update_parameters(self._source)

    def state_dict(self) -> dict:
        """Returns the trained weights and the number of updates.

        The averaged weights are saved as the model of the checkpoint.
        """
        return {"model": self._source.state_dict(), "count": int(self._average.n_averaged)}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restores the result of `state_dict`."""
        self._source.load_state_dict(state_dict["model"])
        self._average.n_averaged.fill_(state_dict["count"])


class Usage(HookBase):
    """Writes `images_per_second` and `memory_gb` to the event storage.

    `memory_gb` is the peak memory of the GPU, or the current memory of this process if no GPU is
    used.
    """

    def __init__(self, batch_size: int):
        """
        Args:
            batch_size: number of images per iteration, summed over all processes.
        """
        self._batch_size = batch_size

    def after_step(self) -> None:
        """Writes both values."""
        storage = self.trainer.storage
        seconds, measured_at = storage.latest().get("time", (0, -1))
        if seconds and measured_at == storage.iter:  # the first iterations are not timed
            storage.put_scalar("images_per_second", self._batch_size / seconds)
        used = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
        used = used or psutil.Process().memory_info().rss
        storage.put_scalar("memory_gb", used / 1e9, smoothing_hint=False)


class OldCheckpoints(HookBase):
    """Deletes old checkpoints. `model_best.pth` and `model_final.pth` are always kept."""

    def __init__(self, folder: str | Path, period: int, kept: int):
        """
        Args:
            folder: folder of the checkpoints.
            period: number of iterations between two checkpoints.
            kept: number of checkpoints to keep; 0: all.
        """
        self._folder, self._period, self._kept = Path(folder), period, kept

    def after_step(self) -> None:
        """Deletes old checkpoints if a new one was written in this iteration."""
        if self._kept and (self.trainer.iter + 1) % self._period == 0:
            for path in numbered_checkpoints(self._folder, self.trainer.iter)[self._kept :]:
                path.unlink(missing_ok=True)


class BestCheckpoint(HookBase):
    """Saves `model_best.pth` whenever the metric improves.

    The training stops after `patience` evaluations in a row without an improvement.
    """

    NAME = "model_best"

    def __init__(
        self,
        save: Callable[[str], None],
        folder: str | Path,
        metric: str,
        period: int,
        patience: int,
    ):
        """
        Args:
            save: function that writes the checkpoint with the given name.
            folder: folder of the checkpoints.
            metric: name of the metric in metrics.json, such as "nuclei/mAP" or
                "validation/total_loss"; see `is_lower_better`.
            period: number of iterations between two evaluations.
            patience: number of evaluations without an improvement; 0: never stop.
        """
        self._save, self._path = save, Path(folder) / f"{self.NAME}.pth"
        self._metric, self._period, self._patience = metric, period, patience
        self._sign = -1 if is_lower_better(metric) else 1
        self.best: float | None = None
        self.best_iteration: int | None = None
        self._failures = 0  # evaluations in a row without an improvement

    def before_train(self) -> None:
        """Reads the best value from `model_best.pth` if the training is resumed.

        The file may be newer than the checkpoint that the training resumes from.
        """
        if self.trainer.start_iter and self._path.exists():
            hooks = torch.load(self._path, map_location="cpu", weights_only=True)["trainer"][
                "hooks"
            ]
            state = hooks[type(self).__name__]
            if state["metric"] == self._metric and self._is_better(state["best"]):
                self.best, self.best_iteration = state["best"], state["iteration"]

    def after_step(self) -> None:
        """Compares the result if the model was evaluated in this iteration.

        Raises:
            EarlyStop: the metric has not improved in `patience` evaluations.
        """
        iterations = self.trainer.iter + 1
        if iterations % self._period == 0 and iterations != self.trainer.max_iter:
            self._compare_with_best()
            if self._patience and self._failures >= self._patience:
                raise EarlyStop(
                    f"{self._metric} was not better than {self.best:.2f} (iteration "
                    f"{self.best_iteration}) in {self._failures} evaluations"
                )

    def after_train(self) -> None:
        """Compares the result of the evaluation after the last iteration."""
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._compare_with_best()
        if self.best is not None:
            logger.info("Best %s: %.2f, iteration %d", self._metric, self.best, self.best_iteration)

    def _compare_with_best(self) -> None:
        latest, iteration = self.trainer.storage.latest(), self.trainer.storage.iter
        value, measured_at = latest.get(self._metric, (None, iteration))
        # Only the main process has the result. An interrupted evaluation does not count.
        value, measured_at = comm.all_gather((value, measured_at))[0]
        if measured_at != iteration:
            return
        if value is None:
            measured = sorted(name for name in latest if "/" in name)
            logger.warning(
                "TEST.BEST_METRIC %s was not measured, expected one of %s", self._metric, measured
            )
        elif self._is_better(value):
            self.best, self.best_iteration, self._failures = value, iteration, 0
            self._save(self.NAME)
        else:
            self._failures += 1

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        return self.best is None or self._sign * (value - self.best) > 0

    def state_dict(self) -> dict:
        """Returns the best value so far."""
        return {
            "metric": self._metric,
            "best": self.best,
            "iteration": self.best_iteration,
            "failures": self._failures,
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Restores the result of `state_dict`, unless it belongs to another metric."""
        if state_dict["metric"] == self._metric:
            self.best, self.best_iteration = state_dict["best"], state_dict["iteration"]
            self._failures = state_dict["failures"]


class ProgressBar(HookBase):
    """Progress bar on the terminal: iterations, remaining time and loss."""

    @staticmethod
    def wanted() -> bool:
        """Returns whether the standard error stream is a terminal."""
        return sys.stderr.isatty()

    def before_train(self) -> None:
        """Creates the bar."""
        self._bar = tqdm(
            total=self.trainer.max_iter,
            initial=self.trainer.start_iter,
            unit="step",
            smoothing=0.05,
            dynamic_ncols=True,
        )

    def after_step(self) -> None:
        """Updates the bar."""
        self._bar.set_postfix_str(f"loss {self._loss():.4g}", refresh=False)
        self._bar.update()

    def _loss(self) -> float:
        return self.trainer.storage.history("total_loss").median(20)

    def after_train(self) -> None:
        """Closes the bar."""
        self._bar.close()
