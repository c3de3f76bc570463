"""The one trainer of all models."""

import json
import logging
import math
import time
import weakref
from collections import OrderedDict
from pathlib import Path

import torch
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.engine import DefaultTrainer, SimpleTrainer, create_ddp_model
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset
from detectron2.solver import build_optimizer
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from detectron2.utils import comm

from dsb2018.data import NucleiMapper
from dsb2018.data.sampling import modality_repeat_factors
from dsb2018.engine.precision import autocast, choose_precision
from dsb2018.engine.summary import score_table
from dsb2018.evaluation import build_evaluators
from dsb2018.files import write_atomically
from dsb2018.modeling import NucleiCheckpointer

logger = logging.getLogger(__name__)


class Step(SimpleTrainer):
    """One iteration: Detectron2's `SimpleTrainer`, with autocast on any device."""

    def __init__(self, model, data_loader, optimizer, precision: torch.dtype, device: str):
        """
        Args:
            model, data_loader, optimizer: see `SimpleTrainer`.
            precision: of autocast; float32 for none.
            device: as in `MODEL.DEVICE`.
        """
        super().__init__(model, data_loader, optimizer)
        self.precision, self.device = precision, device
        # Small gradients would become 0 in float16; in the other precisions it does nothing.
        self.grad_scaler = torch.amp.GradScaler(
            torch.device(device).type, enabled=precision == torch.float16
        )

    def run_step(self) -> None:
        """Loads a batch, computes losses and gradients, and updates the model.

        Raises:
            FloatingPointError: a loss is NaN or infinite; the update is not made.
        """
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        with autocast(self.precision, self.device):
            losses = self.model(data)
        self.optimizer.zero_grad()
        self.grad_scaler.scale(sum(losses.values())).backward()
        self._write_metrics(losses, data_time)
        self.grad_scaler.unscale_(self.optimizer)  # gradients are clipped at their true size
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict:
        """Optimizer and scale of the gradients."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """The reverse of `state_dict`."""
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler"):  # empty in other precisions than float16
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


class Trainer(DefaultTrainer):
    """Detectron2's `DefaultTrainer` with this project's data, evaluators and precision."""

    def __init__(self, cfg):
        """
        Args:
            cfg: a complete config; see `dsb2018.engine.setup`.
        """
        TrainerBase.__init__(self)  # DefaultTrainer's own cannot take another step
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        model = create_ddp_model(model, broadcast_buffers=False)
        precision = choose_precision(cfg.SOLVER.PRECISION, cfg.MODEL.DEVICE)
        self._trainer = Step(model, data_loader, optimizer, precision, cfg.MODEL.DEVICE)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = NucleiCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def train(self) -> dict:
        """Trains to `SOLVER.MAX_ITER`; returns the last evaluation's results, see `test`."""
        super().train()
        return getattr(self, "_last_eval_results", {})

    def state_dict(self) -> dict:
        """What a checkpoint holds beside the model: iteration, hooks and optimizer."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """The reverse of `state_dict`."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def build_optimizer(cls, cfg, model) -> torch.optim.Optimizer:
        """SGD as Detectron2 builds it, Adam, or AdamW.

        Raises:
            ValueError: SOLVER.OPTIMIZER is another.
        """
        if cfg.SOLVER.OPTIMIZER == "SGD":
            return build_optimizer(cfg, model)
        kinds = {"ADAM": torch.optim.Adam, "ADAMW": torch.optim.AdamW}
        if cfg.SOLVER.OPTIMIZER in kinds:
            parameters = get_default_optimizer_params(
                model,
                base_lr=cfg.SOLVER.BASE_LR,
                weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
                bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
                weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
            )
            kind = maybe_add_gradient_clipping(cfg, kinds[cfg.SOLVER.OPTIMIZER])
            return kind(parameters, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY)
        raise ValueError(f"SOLVER.OPTIMIZER {cfg.SOLVER.OPTIMIZER!r}, expected SGD, ADAM or ADAMW")

    @classmethod
    def build_train_loader(cls, cfg):
        """Batches of training samples, without end; see `modality_repeat_factors` for how often
        each image is drawn."""
        dicts = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )
        factors = modality_repeat_factors(dicts, cfg.DATALOADER.MODALITY_POWER)
        return build_detection_train_loader(
            cfg,
            mapper=NucleiMapper(cfg, is_train=True),
            dataset=dicts,
            sampler=RepeatFactorTrainingSampler(factors),
        )

    @classmethod
    def build_test_loader(cls, cfg, dataset_name: str):
        """Each image of a dataset once."""
        mapper = NucleiMapper(cfg, is_train=False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name: str) -> DatasetEvaluators:
        """All evaluators that fit the dataset."""
        return build_evaluators(cfg, dataset_name)

    @classmethod
    def test(cls, cfg, model, evaluators=None) -> OrderedDict:
        """Evaluates on each dataset of `DATASETS.TEST` and writes
        `OUTPUT_DIR/inference/<dataset>/results.json`.

        Returns:
            {task: {metric: value}} for one dataset, {dataset: {task: …}} for several.
        """
        precision = choose_precision(cfg.SOLVER.PRECISION, cfg.MODEL.DEVICE)
        results = OrderedDict()
        for index, name in enumerate(cfg.DATASETS.TEST):
            evaluator = evaluators[index] if evaluators else cls.build_evaluator(cfg, name)
            loader = cls.build_test_loader(cfg, name)
            with autocast(precision, cfg.MODEL.DEVICE):
                results[name] = inference_on_dataset(model, loader, evaluator)
            if comm.is_main_process():
                path = Path(cfg.OUTPUT_DIR) / "inference" / name / "results.json"
                write_atomically(path, _to_json(results[name]))
                logger.info("Scores on %s, percent:\n%s", name, score_table(results[name]))
        return next(iter(results.values())) if len(results) == 1 else results


def _to_json(results: dict) -> str:
    """JSON of {task: {metric: number}}; NaN, which JSON does not have, becomes null."""
    clean = {
        task: {name: None if math.isnan(value) else value for name, value in metrics.items()}
        for task, metrics in results.items()
    }
    return json.dumps(clean, indent=2) + "\n"
