"""Train loop: losses, gradients and update of one iteration."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import get_event_storage
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dsb2018.data.seeded import mix_seeds
from dsb2018.engine.interruption import StopSignal
from dsb2018.io.files import replacing
from dsb2018.modeling.precision import autocast

logger = logging.getLogger(__name__)


class SeededTrainLoop(TrainerBase):
    """Train loop whose batches and random numbers depend only on the seed and the iteration.

    Further differences from Detectron2's `SimpleTrainer`: a batch may be processed in parts,
    autocast works on any device, and a loss or gradient that is not finite stops the training in
    all processes and saves the batch.
    """

    def __init__(
        self,
        model: nn.Module,
        load: Callable[[int], Iterable[list[dict]]],
        optimizer: torch.optim.Optimizer,
        *,
        precision: torch.dtype = torch.float32,
        device: str = "cpu",
        seed: int = 0,
        parts: int = 1,
        folder: str | Path = ".",
    ):
        """
        Args:
            model: model that returns a dict of losses; wrapped in `DistributedDataParallel` if
                there are several processes.
            load: function that takes the number of an iteration and returns the batches from this
                iteration on, `parts` batches per iteration.
            optimizer: optimizer of the model's parameters.
            precision: precision of autocast; float32 switches it off.
            device: value of `MODEL.DEVICE`.
            seed: seed of the model's random numbers.
            parts: number of batches whose gradients are averaged for one update.
            folder: folder for batches whose loss or gradient is not finite.
        """
        super().__init__()
        self.model = model.train()
        self.optimizer = optimizer
        self.precision, self.device = precision, device
        self.seed, self.parts, self.folder = seed, parts, Path(folder)
        self.stop_signal = StopSignal()
        self._load = load
        self._batches: Iterator[list[dict]] | None = None
        # In float16, small gradients would become 0. In other precisions the scaler does nothing.
        self.grad_scaler = torch.amp.GradScaler(
            torch.device(device).type, enabled=precision == torch.float16
        )

    def run_step(self) -> bool:
        """Trains on the batches of iteration `self.iter`.

        Writes the losses, `grad_norm` and `data_time` (seconds) to the event storage.

        Returns:
            Whether any process received a stop signal; the same value in all processes.

        Raises:
            FloatingPointError: a loss or gradient is NaN or infinite; the weights are not updated.
        """
        batches, data_time = self._next_batches()
        self.optimizer.zero_grad()
        losses = [self._backward(batch, part) for part, batch in enumerate(batches)]
        self.grad_scaler.unscale_(self.optimizer)  # gradients are clipped without the scale
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), math.inf)  # does not clip
        losses, norm, stop = self._average(losses, norm)
        # In float16 gradients may overflow: the scaler then skips the update and halves the scale.
        # An overflow at a scale below 1 is an error.
        may_overflow = self.grad_scaler.is_enabled() and self.grad_scaler.get_scale() >= 1
        if not all(map(math.isfinite, [*losses.values(), 0.0 if may_overflow else norm])):
            raise FloatingPointError(self._save_bad_batch({**losses, "grad_norm": norm}, batches))
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        storage = get_event_storage()
        storage.put_scalars(total_loss=sum(losses.values()), data_time=data_time, **losses)
        if math.isfinite(norm):
            storage.put_scalar("grad_norm", norm)
        return stop

    def _next_batches(self) -> tuple[list[list[dict]], float]:
        """Returns the batches of this iteration and the time to load them, in seconds."""
        if self._batches is None:  # the first iteration is known only after a checkpoint is loaded
            self._batches = iter(self._load(self.iter))
        start = time.perf_counter()
        batches = [next(self._batches) for _ in range(self.parts)]
        return batches, time.perf_counter() - start

    def close(self) -> None:
        """Ends the worker processes that load data.

        They ignore signals, so the main process would otherwise wait for them.
        """
        self._batches = None

    def _backward(self, batch: list[dict], part: int) -> dict[str, torch.Tensor]:
        """Adds the gradients of a batch and returns its losses."""
        seed_all_rng(mix_seeds(self.seed, self.iter, part, comm.get_rank()))
        is_distributed = isinstance(self.model, DistributedDataParallel)
        skip_sync = is_distributed and part + 1 < self.parts  # synchronize after the last part
        with self.model.no_sync() if skip_sync else nullcontext():
            with autocast(self.precision, self.device):
                losses = self.model(batch)
            self.grad_scaler.scale(sum(losses.values()) / self.parts).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _average(
        self, losses: list[dict[str, torch.Tensor]], norm: torch.Tensor
    ) -> tuple[dict[str, float], float, bool]:
        """Averages the losses over parts and processes.

        All numbers are sent in one tensor, because each transfer from a GPU waits for it.

        Args:
            losses: losses of each part.
            norm: gradient norm of this process.

        Returns:
            Mean losses, mean gradient norm, and whether any process received a stop signal.
        """
        names = list(losses[0])
        means = torch.stack([sum(part[name] for part in losses) for name in names]) / self.parts
        stop = float(self.stop_signal.received is not None)
        numbers = torch.cat([means.float(), norm.view(1).float(), means.new_tensor([stop]).float()])
        if comm.get_world_size() > 1:
            distributed.all_reduce(numbers)
            numbers /= comm.get_world_size()
        *values, norm, stop = numbers.tolist()
        return dict(zip(names, values, strict=True)), norm, stop > 0

    def _save_bad_batch(self, numbers: dict[str, float], batches: list[list[dict]]) -> str:
        """Saves the batches of this process and returns the error message."""
        path = self.folder / f"bad_batch_{self.iter:07d}_{comm.get_rank()}.pth"
        with replacing(path) as file:
            torch.save({"iteration": self.iter, "losses": numbers, "batches": batches}, file)
        values = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        return (
            f"iteration {self.iter}: {values}, expected finite numbers; the weights were not "
            f"changed, and the batch was saved to {path}. --resume would fail again. Start a new "
            "run with the last checkpoint as MODEL.WEIGHTS and with a lower SOLVER.BASE_LR, a "
            "larger SOLVER.WARMUP_ITERS, SOLVER.CLIP_GRADIENTS.ENABLED True or SOLVER.PRECISION "
            "fp32."
        )

    def state_dict(self) -> dict:
        """Returns iteration, seed, precision, and the states of the optimizer and scaler."""
        return {
            "iteration": self.iter,
            "optimizer": self.optimizer.state_dict(),
            "grad_scaler": self.grad_scaler.state_dict(),
            "seed": self.seed,
            "precision": str(self.precision).removeprefix("torch."),
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Restores the result of `state_dict`.

        The seed of the checkpoint replaces the current one, so that the order of the images
        continues.
        """
        self.iter = state_dict["iteration"]
        self.optimizer.load_state_dict(state_dict["optimizer"])
        if state_dict.get("grad_scaler"):  # empty unless the precision is float16
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
        self.seed = state_dict.get("seed", self.seed)
