"""What happens around iterations; each hook does one thing, and a config key turns it on."""

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
    """Further training has not helped for a while. Not an error, so no `Exception`."""


class WeightAverage(HookBase):
    """An exponential moving average of the weights, which is what is evaluated and saved.

    Sooner than `decay` alone would, the average forgets the first weights: after n updates it
    keeps at most (1 + n) / (10 + n) of itself.
    """

    def __init__(self, model: nn.Module, decay: float):
        """
        Args:
            model: what is trained; copied.
            decay: share of the average that an update keeps, 0 to 1.

        Raises:
            ValueError: another decay.
        """
        if not 0 < decay < 1:
            raise ValueError(f"SOLVER.EMA_DECAY {decay}, expected 0 (none) to below 1")
        self._decay, self._source = decay, model
        self._average = AveragedModel(model, avg_fn=self._mix, use_buffers=True)

    @property
    def model(self) -> nn.Module:
        """The model with the averaged weights."""
        return self._average.module

    def _mix(self, average: torch.Tensor, new: torch.Tensor, _) -> torch.Tensor:
        if not average.is_floating_point():  # counters of batch normalisation
            return new
        count = int(self._average.n_averaged)  # on the CPU, where nothing has to be waited for
        return torch.lerp(new, average, min(self._decay, (1 + count) / (10 + count)))

    def after_step(self) -> None:
        """Takes in the new weights."""
        self._average.update_parameters(self._source)

    def state_dict(self) -> dict:
        """The trained weights, and the number of updates; checkpoints hold the average itself as
        their model."""
        return {"model": self._source.state_dict(), "count": int(self._average.n_averaged)}

    def load_state_dict(self, state_dict: dict) -> None:
        """The reverse of `state_dict`."""
        self._source.load_state_dict(state_dict["model"])
        self._average.n_averaged.fill_(state_dict["count"])


class Usage(HookBase):
    """Writes `images_per_second` and `memory_gb`: of the GPU, the most that was taken so far;
    without one, of this process now."""

    def __init__(self, batch_size: int):
        """
        Args:
            batch_size: images of an iteration, all processes together.
        """
        self._batch_size = batch_size

    def after_step(self) -> None:
        """Writes both."""
        storage = self.trainer.storage
        seconds, measured_at = storage.latest().get("time", (0, -1))
        if seconds and measured_at == storage.iter:  # the first iterations are not timed
            storage.put_scalar("images_per_second", self._batch_size / seconds)
        on_gpu = torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0
        used = torch.cuda.max_memory_allocated() if on_gpu else psutil.Process().memory_info().rss
        storage.put_scalar("memory_gb", used / 1e9, smoothing_hint=False)


class OldCheckpoints(HookBase):
    """Deletes all but the last checkpoints; the best and the final one have other names."""

    def __init__(self, folder: str | Path, period: int, kept: int):
        """
        Args:
            folder: where they are.
            period: iterations between two.
            kept: number that are kept; 0: all.
        """
        self._folder, self._period, self._kept = Path(folder), period, kept

    def after_step(self) -> None:
        """Deletes, when a new one was just written."""
        if self._kept and (self.trainer.iter + 1) % self._period == 0:
            for path in numbered_checkpoints(self._folder, self.trainer.iter)[self._kept :]:
                path.unlink(missing_ok=True)


class BestCheckpoint(HookBase):
    """Saves `model_best.pth` after each evaluation that is better than all before, and stops the
    training when `patience` of them in a row were not."""

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
            save: writes a checkpoint of a name.
            folder: where it is written.
            metric: as in metrics.json, such as "nuclei/mAP" or "validation/total_loss"; see
                `is_lower_better`.
            period: iterations between two evaluations.
            patience: number of evaluations; 0: never stops.
        """
        self._save, self._path = save, Path(folder) / f"{self.NAME}.pth"
        self._metric, self._period, self._patience = metric, period, patience
        self._sign = -1 if is_lower_better(metric) else 1
        self.best: float | None = None
        self.best_iteration: int | None = None
        self._failures = 0

    def before_train(self) -> None:
        """A resumed training knows the best that there is, also where it was killed between that
        and its next checkpoint."""
        if self.trainer.start_iter and self._path.exists():
            hooks = torch.load(self._path, map_location="cpu", weights_only=True)["trainer"][
                "hooks"
            ]
            found = hooks[type(self).__name__]
            if found["metric"] == self._metric and self._is_better(found["best"]):
                self.best, self.best_iteration = found["best"], found["iteration"]

    def after_step(self) -> None:
        """Looks at the evaluation of this iteration, if there was one."""
        done = self.trainer.iter + 1
        if done % self._period == 0 and done != self.trainer.max_iter:
            self._look()
            if self._patience and self._failures >= self._patience:
                raise EarlyStop(
                    f"{self._metric} was not better than {self.best:.2f} (iteration "
                    f"{self.best_iteration}) in {self._failures} evaluations"
                )

    def after_train(self) -> None:
        """Looks at the evaluation after the last iteration."""
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._look()
        if self.best is not None:
            logger.info("Best %s: %.2f, iteration %d", self._metric, self.best, self.best_iteration)

    def _look(self) -> None:
        latest, iteration = self.trainer.storage.latest(), self.trainer.storage.iter
        value, measured_at = latest.get(self._metric, (None, iteration))
        # What the main process has measured; an evaluation that was broken off is none.
        value, measured_at = comm.all_gather((value, measured_at))[0]
        if measured_at != iteration:
            return
        if value is None:
            known = sorted(name for name in latest if "/" in name)
            logger.warning("TEST.BEST_METRIC %s was not measured, but %s", self._metric, known)
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
        """The best so far."""
        return {
            "metric": self._metric,
            "best": self.best,
            "iteration": self.best_iteration,
            "failures": self._failures,
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """The reverse of `state_dict`; of another metric nothing is known yet."""
        if state_dict["metric"] == self._metric:
            self.best, self.best_iteration = state_dict["best"], state_dict["iteration"]
            self._failures = state_dict["failures"]


class ProgressBar(HookBase):
    """A bar on the terminal: iterations, time left, loss."""

    @staticmethod
    def wanted() -> bool:
        """Whether a person sees it."""
        return sys.stderr.isatty()

    def before_train(self) -> None:
        """Opens the bar."""
        self._bar = tqdm(
            total=self.trainer.max_iter,
            initial=self.trainer.start_iter,
            unit="step",
            smoothing=0.05,
            dynamic_ncols=True,
        )

    def after_step(self) -> None:
        """Moves it on."""
        self._bar.set_postfix_str(f"loss {self._loss():.4g}", refresh=False)
        self._bar.update()

    def _loss(self) -> float:
        return self.trainer.storage.history("total_loss").median(20)

    def after_train(self) -> None:
        """Closes it."""
        self._bar.close()
