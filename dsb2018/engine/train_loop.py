"""One iteration of training."""

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
    """Losses of one batch, their gradients, and the update of the weights.

    Unlike Detectron2's `SimpleTrainer`, the batch and the random numbers follow from the seed and
    the number of the iteration, a batch may be taken in parts, autocast works on any device, and a
    loss or gradient that is not finite stops the training in all processes, its batch saved.
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
            model: gives a dict of losses; `DistributedDataParallel` of it with several processes.
            load: from the number of an iteration to the batches from there on, `parts` for each.
            optimizer: of the model's parameters.
            precision: of autocast; float32 for none.
            device: as in `MODEL.DEVICE`.
            seed: of the model's random numbers.
            parts: number of batches whose gradients are averaged for one update.
            folder: where a batch is saved whose loss is not finite.
        """
        super().__init__()
        self.model = model.train()
        self.optimizer = optimizer
        self.precision, self.device = precision, device
        self.seed, self.parts, self.folder = seed, parts, Path(folder)
        self.stop_signal = StopSignal()
        self._load = load
        self._batches: Iterator[list[dict]] | None = None
        # Small gradients would become 0 in float16; in the other precisions it does nothing.
        self.grad_scaler = torch.amp.GradScaler(
            torch.device(device).type, enabled=precision == torch.float16
        )

    def run_step(self) -> bool:
        """Trains on the batches of iteration `self.iter` and writes losses, `grad_norm` and
        `data_time` (seconds) to the event storage.

        Returns:
            Whether any process was asked to stop; the same in all of them.

        Raises:
            FloatingPointError: a loss or gradient is NaN or infinite; the update is not made.
        """
        batches, data_time = self._next_batches()
        self.optimizer.zero_grad()
        losses = [self._backward(batch, part) for part, batch in enumerate(batches)]
        self.grad_scaler.unscale_(self.optimizer)  # gradients are clipped at their true size
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), math.inf)  # measured, not clipped
        losses, norm, stop = self._average(losses, norm)
        # In float16 a gradient that overflows is usual: the scaler leaves out the update and halves
        # its scale; below 1 that does not help either.
        usual = self.grad_scaler.is_enabled() and self.grad_scaler.get_scale() >= 1
        if not all(map(math.isfinite, [*losses.values(), 0.0 if usual else norm])):
            raise FloatingPointError(self._report({**losses, "grad_norm": norm}, batches))
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        storage = get_event_storage()
        storage.put_scalars(total_loss=sum(losses.values()), data_time=data_time, **losses)
        if math.isfinite(norm):
            storage.put_scalar("grad_norm", norm)
        return stop

    def _next_batches(self) -> tuple[list[list[dict]], float]:
        """The batches of this iteration, and how long they were waited for, seconds."""
        if self._batches is None:  # only now it is known where a resumed training goes on
            self._batches = iter(self._load(self.iter))
        start = time.perf_counter()
        batches = [next(self._batches) for _ in range(self.parts)]
        return batches, time.perf_counter() - start

    def close(self) -> None:
        """Ends the processes that load data; else they, who ignore signals, would be waited for."""
        self._batches = None

    def _backward(self, batch: list[dict], part: int) -> dict[str, torch.Tensor]:
        """Adds the gradients of a batch; returns its losses."""
        seed_all_rng(mix_seeds(self.seed, self.iter, part, comm.get_rank()))
        distributed_model = isinstance(self.model, DistributedDataParallel)
        more_to_come = distributed_model and part + 1 < self.parts
        with self.model.no_sync() if more_to_come else nullcontext():
            with autocast(self.precision, self.device):
                losses = self.model(batch)
            self.grad_scaler.scale(sum(losses.values()) / self.parts).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _average(
        self, losses: list[dict[str, torch.Tensor]], norm: torch.Tensor
    ) -> tuple[dict[str, float], float, bool]:
        """Means of losses over parts and processes, the norm, and whether any process was asked
        to stop: all at once, since a GPU has to be waited for."""
        names = list(losses[0])
        means = torch.stack([sum(part[name] for part in losses) for name in names]) / self.parts
        stop = float(self.stop_signal.received is not None)
        numbers = torch.cat([means.float(), norm.view(1).float(), means.new_tensor([stop]).float()])
        if comm.get_world_size() > 1:
            distributed.all_reduce(numbers)
            numbers /= comm.get_world_size()
        *values, norm, stop = numbers.tolist()
        return dict(zip(names, values, strict=True)), norm, stop > 0

    def _report(self, numbers: dict[str, float], batches: list[list[dict]]) -> str:
        """Saves the batches of this process; returns what is to be said."""
        path = self.folder / f"bad_batch_{self.iter:07d}_{comm.get_rank()}.pth"
        with replacing(path) as file:
            torch.save({"iteration": self.iter, "losses": numbers, "batches": batches}, file)
        said = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        return (
            f"iteration {self.iter}: {said}; the weights were not changed. The batch is in {path}. "
            "A lower SOLVER.BASE_LR, a longer SOLVER.WARMUP_ITERS, SOLVER.CLIP_GRADIENTS or "
            "SOLVER.PRECISION fp32 may help, in a new run that starts with MODEL.WEIGHTS of the "
            "last checkpoint: --resume would do the same again."
        )

    def state_dict(self) -> dict:
        """Optimizer, scale of the gradients, and the seed."""
        return {
            "iteration": self.iter,
            "optimizer": self.optimizer.state_dict(),
            "grad_scaler": self.grad_scaler.state_dict(),
            "seed": self.seed,
            "precision": str(self.precision).removeprefix("torch."),
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """The reverse of `state_dict`; the seed of the checkpoint counts, so that the order of
        the images goes on."""
        self.iter = state_dict["iteration"]
        self.optimizer.load_state_dict(state_dict["optimizer"])
        if state_dict.get("grad_scaler"):  # empty in other precisions than float16
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
        self.seed = state_dict.get("seed", self.seed)
