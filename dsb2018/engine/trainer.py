"""Trainer for all models."""

import json
import logging
import math
import signal
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch.utils.data import DataLoader
from tqdm.contrib.logging import logging_redirect_tqdm

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.data.loaders import build_test_loader, build_train_loader
from dsb2018.engine.hooks import (
    BestCheckpoint,
    EarlyStop,
    OldCheckpoints,
    ProgressBar,
    Usage,
    WeightAverage,
)
from dsb2018.engine.interruption import Interrupted
from dsb2018.engine.processes import distribute, share_buffers
from dsb2018.engine.solver import build_lr_scheduler, build_optimizer
from dsb2018.engine.summary import summarize_scores
from dsb2018.engine.tracking import WandbWriter
from dsb2018.engine.train_loop import SeededTrainLoop
from dsb2018.engine.validation import validation_losses
from dsb2018.evaluation import build_evaluators
from dsb2018.io.files import write_atomically
from dsb2018.modeling.precision import choose_precision
from dsb2018.modeling.trained import TrainedModel, bring_to_scale, evaluation_mode

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Detectron2's `DefaultTrainer` with this project's data, evaluators, hooks and precision."""

    def __init__(self, cfg):
        """
        Args:
            cfg: complete config, see `dsb2018.engine.setup`.
        """
        TrainerBase.__init__(self)  # DefaultTrainer.__init__ always creates its own train loop
        self.cfg = cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        self._trained_model = model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        distributed_model = distribute(model, cfg.MODEL.DEVICE, cfg.MODEL.SYNC_BN)
        decay = cfg.SOLVER.EMA_DECAY  # `distribute` has made the model equal in all processes
        self._average = WeightAverage(model, decay) if decay else None
        self._trainer = SeededTrainLoop(
            distributed_model,
            self._load_batches,
            optimizer,
            precision=choose_precision(cfg.SOLVER.PRECISION, cfg.MODEL.DEVICE),
            device=cfg.MODEL.DEVICE,
            seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
            parts=cfg.SOLVER.ACCUMULATION,
            folder=cfg.OUTPUT_DIR,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        # The evaluated weights are saved as the model; WeightAverage saves the trained ones.
        self.evaluated_model = self._average.model if self._average else model
        self.checkpointer = NucleiCheckpointer(
            self.evaluated_model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self._stop = False
        self._last_eval_results: dict = {}
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Loads the last checkpoint in `OUTPUT_DIR`, or `MODEL.WEIGHTS`.

        Args:
            resume: load the last checkpoint if there is one.
        """
        if comm.is_main_process():
            # A process that was killed while it wrote a checkpoint leaves an unfinished file.
            for unfinished in Path(self.cfg.OUTPUT_DIR).glob(".model_*.pth.*"):
                unfinished.unlink(missing_ok=True)
            if not resume:  # the file belongs to an earlier run
                (Path(self.cfg.OUTPUT_DIR) / "last_checkpoint").unlink(missing_ok=True)
        comm.synchronize()
        super().resume_or_load(resume)
        if self._average and not self.start_iter:
            self._trained_model.load_state_dict(self.evaluated_model.state_dict())

    def train(self) -> dict:
        """Trains to `SOLVER.MAX_ITER`, or until the metric stops improving (`TEST.PATIENCE`).

        Returns:
            The results of the last evaluation, see `test`.

        Raises:
            Interrupted: SIGINT or SIGTERM was received; a checkpoint was saved.
        """
        try:
            with self._trainer.stop_signal.watched(), self._log_beside_bar():
                super().train()
        except EarlyStop as reason:
            logger.info("Stopped early: %s", reason)
            self.checkpointer.save("model_final", iteration=self.iter)
        finally:
            self.close()
        return self._last_eval_results

    def close(self) -> None:
        """Ends the worker processes that load data. `train` calls it at the end."""
        self._trainer.close()

    def run_step(self) -> None:
        """Runs one iteration."""
        self._trainer.iter = self.iter
        self._stop = self._trainer.run_step()

    def after_step(self) -> None:
        """Runs the hooks, and stops the training if a stop signal was received."""
        super().after_step()
        if self._stop:
            self._save_resumable()
            comm.synchronize()  # no process may end before the checkpoint is written
            raise Interrupted(self._trainer.stop_signal.received or signal.SIGTERM)

    def _save_resumable(self) -> None:
        if self.iter < self.max_iter:  # after the last iteration, model_final.pth is saved
            self.checkpointer.save(f"model_{self.iter:07d}", iteration=self.iter)
            logger.info("Stopped after iteration %d; --resume continues from there", self.iter)

    def state_dict(self) -> dict:
        """Returns the state to save with the model: iteration, hooks and optimizer."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restores the result of `state_dict`."""
        states = dict(state_dict.get("hooks", {}))
        precision = state_dict["_trainer"].get("precision")
        if precision and self.cfg.SOLVER.PRECISION == "auto" and self.cfg.MODEL.DEVICE == "cpu":
            # On a busy machine, the measurement of "auto" may choose another precision.
            self._trainer.precision = getattr(torch, precision)
        if self._average and WeightAverage.__name__ not in states:  # switched on since then
            self._trained_model.load_state_dict(self.evaluated_model.state_dict())
        elif not self._average and WeightAverage.__name__ in states:  # switched off since then
            self._trained_model.load_state_dict(states.pop(WeightAverage.__name__)["model"])
        super().load_state_dict({**state_dict, "hooks": states})
        self._trainer.load_state_dict(state_dict["_trainer"])

    def build_hooks(self) -> list[HookBase]:
        """Returns the hooks in the order in which they run."""
        cfg, is_main = self.cfg, comm.is_main_process()
        period = cfg.TEST.EVAL_PERIOD
        candidates = [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._average,
            Usage(cfg.SOLVER.IMS_PER_BATCH),
            hooks.EvalHook(period, self._evaluate),
            self._build_best_checkpoint() if period and cfg.TEST.BEST_METRIC else None,
            # After BestCheckpoint, so that the checkpoint contains the best score.
            hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD),
            OldCheckpoints(cfg.OUTPUT_DIR, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.CHECKPOINTS)
            if is_main
            else None,
            ProgressBar() if is_main and ProgressBar.wanted() else None,
            hooks.PeriodicWriter(self.build_writers(), period=20) if is_main else None,
        ]
        return [hook for hook in candidates if hook]

    def build_writers(self) -> list[EventWriter]:
        """Returns the writers of log lines, metrics.json, TensorBoard and Weights & Biases."""
        writers = super().build_writers()
        if self.cfg.WANDB.ENABLED:
            writers.append(WandbWriter(self.cfg, lambda: self.start_iter > 0))
        return writers

    def _evaluate(self) -> dict:
        """Returns scores and validation losses, or {} if the training is about to stop."""
        if self._stop:
            return {}
        share_buffers(self.evaluated_model)
        try:
            with self._trainer.stop_signal.calling(self._stop_evaluation):
                self._last_eval_results = self.test(self.cfg, self.evaluated_model)
                if not (self.cfg.TEST.LOSS and self.cfg.DATASETS.TEST):
                    return self._last_eval_results
                names = self.cfg.DATASETS.TEST
                losses = validation_losses(self.cfg, self.evaluated_model, names)
                return {**self._last_eval_results, "validation": losses}
        except Exception:
            self._save_resumable()  # keep the iterations since the last checkpoint
            raise

    def _stop_evaluation(self, number: int) -> None:
        """Saves a checkpoint at once, because launchers soon kill a process.

        A single process also interrupts the evaluation. With several, the others would wait for it.
        """
        self._save_resumable()
        if comm.get_world_size() == 1:
            self._stop = True
            raise Interrupted(number)

    def _build_best_checkpoint(self) -> BestCheckpoint:
        names, metric = self.cfg.DATASETS.TEST, self.cfg.TEST.BEST_METRIC
        if len(names) > 1 and not metric.startswith((*names, "validation/")):
            metric = f"{names[0]}/{metric}"
        return BestCheckpoint(
            lambda name: self.checkpointer.save(name, tag=False, iteration=self.iter),
            self.cfg.OUTPUT_DIR,
            metric,
            self.cfg.TEST.EVAL_PERIOD,
            self.cfg.TEST.PATIENCE,
        )

    def _load_batches(self, start_iter: int) -> Iterable[list[dict]]:
        return self.build_train_loader(self.cfg, start_iter, self._trainer.seed)

    @contextmanager
    def _log_beside_bar(self) -> Iterator[None]:
        """Context in which log lines are printed above the progress bar."""
        if comm.is_main_process() and ProgressBar.wanted():
            loggers = [logging.getLogger(name) for name in ("detectron2", "dsb2018", "fvcore")]
            with logging_redirect_tqdm(loggers):
                yield
        else:
            yield

    @classmethod
    def build_optimizer(cls, cfg, model) -> torch.optim.Optimizer:
        """Builds the optimizer, see `dsb2018.engine.solver`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Builds the learning rate schedule, see `dsb2018.engine.solver`."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg, start_iter: int = 0, seed: int = 0) -> DataLoader:
        """Builds the loader of training batches, see `dsb2018.data.loaders`."""
        return build_train_loader(cfg, start_iter, seed)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name: str):
        """Builds the loader of test images, see `dsb2018.data.loaders`."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name: str) -> DatasetEvaluators:
        """Builds all evaluators that apply to the dataset."""
        return build_evaluators(cfg, dataset_name)

    @classmethod
    def test(cls, cfg, model, evaluators=None) -> OrderedDict:
        """Evaluates a model on each dataset of `DATASETS.TEST`.

        Writes `OUTPUT_DIR/inference/<dataset>/results.json`.

        Args:
            cfg: complete config.
            model: model to evaluate.
            evaluators: one evaluator per dataset; None: those of `build_evaluator`.

        Returns:
            {task: {metric: value}} for one dataset, {dataset: {task: …}} for several.
        """
        trained = bring_to_scale(cfg, TrainedModel(cfg, model))
        results = OrderedDict()
        for index, name in enumerate(cfg.DATASETS.TEST):
            evaluator = evaluators[index] if evaluators else cls.build_evaluator(cfg, name)
            loader = cls.build_test_loader(cfg, name)
            with evaluation_mode(model):
                results[name] = inference_on_dataset(trained, loader, evaluator)
            if comm.is_main_process():
                path = Path(cfg.OUTPUT_DIR) / "inference" / name / "results.json"
                write_atomically(path, _to_json(results[name]))
                logger.info("Scores on %s, percent:\n%s", name, summarize_scores(results[name]))
        return next(iter(results.values())) if len(results) == 1 else results


def _to_json(results: dict) -> str:
    """Converts {task: {metric: number}} to JSON. NaN does not exist in JSON and becomes null."""
    clean = {
        task: {name: None if math.isnan(value) else value for name, value in metrics.items()}
        for task, metrics in results.items()
    }
    return json.dumps(clean, indent=2) + "\n"
