"""transformers' Trainer, told which weights move, when to look, and when to stop.

Nothing is printed, sent or reported anywhere. The learning curve is the Trainer's own log, so it is in
every checkpoint and goes on with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ssah_core.errors import OptionError
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Meter
from ssah_core.training.adapters import AdaptedPart
from ssah_core.training.checkpoints import Checkpoints
from ssah_core.training.examples import Examples, collate
from ssah_core.training.freezing import TrainedPart
from ssah_core.training.options import Evaluation, TrainingOptions
from ssah_core.training.rescoring import Rescoring, RoleLog


class Diverged(OptionError):
    """A loss or a weight is no number any more, and never will be one again."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The training has diverged: {what} is no number any more; lower the learning rate or warm up "
            "for longer."
        )


def check_converged(network: nn.Module) -> None:
    """Raise Diverged where a weight is not finite: after the last step no loss would tell."""
    for name, weight in network.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise Diverged(f"a value of {name}")


MakePart = Callable[[], AbstractContextManager[TrainedPart | AdaptedPart]]

_BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Measuring:
    """What is measured while a model is trained, each at its own steps."""

    evaluation: Evaluation | None = None
    rescoring: Rescoring | None = None

    def is_due(self, what: Evaluation | Rescoring | None, state: TrainerState) -> bool:
        """Whether one of the two is measured at this step: every so many, the first and the last."""
        step = state.global_step
        return what is not None and (step % what.every == 0 or step >= state.max_steps)

    def any_due(self, state: TrainerState) -> bool:
        """Whether there is anything to measure at this step."""
        return self.is_due(self.evaluation, state) or self.is_due(self.rescoring, state)


class Loop(Trainer):
    """One training of a model's network in place."""

    def __init__(
        self,
        model: Model,
        examples: Examples,
        options: TrainingOptions,
        part: MakePart,
        measuring: Measuring,
        watcher: Watcher,
        checkpoint: Path | None,
    ) -> None:
        super().__init__(
            model=model.network,
            args=_arguments(
                model,
                options,
                watcher.checkpoints,
                measure_first=measuring != Measuring() and checkpoint is None,
            ),
            train_dataset=examples,
            data_collator=collate,
            callbacks=[watcher],
        )
        self.remove_callback(PrinterCallback)
        self._open_model, self._options, self._measuring = model, options, measuring
        self._make_part = part
        self._part: TrainedPart | AdaptedPart | None = None
        self._roles = RoleLog(watcher.checkpoints.folder)
        self._checkpoint = None if checkpoint is None else str(checkpoint)
        self._stack = ExitStack()
        self._trained: list[nn.Parameter] = []

    def run(self) -> None:
        """Train to the end, to a stop or to cancellation, from the checkpoint where there is one."""
        try:
            with self._stack:
                self.train(resume_from_checkpoint=self._checkpoint)
        finally:
            # Autocast shadows the network's forward by wrappers that a copy of it would share.
            for name in ("forward", "_original_forward"):
                vars(self._open_model.network).pop(name, None)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW over what is trained; made after a checkpoint's weights are in the network."""
        self._part = part = self._stack.enter_context(self._make_part())
        decaying = set(self.get_decay_parameter_names(self._open_model.network))
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in part.parameters:
            groups[name in decaying].append(parameter)
        self._trained = [*groups[True], *groups[False]]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": groups[True], "weight_decay": self._options.weight_decay},
                {"params": groups[False], "weight_decay": 0.0},
            ],
            lr=self._options.learning_rate,
            betas=_BETAS,
            fused=True,
        )
        part.follow(self.optimizer)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Up in a line, then down in a line; no step has a rate of 0, so a single step learns, too."""
        warm = max(1, math.ceil(self._options.warmup * num_training_steps))

        def share(step: int) -> float:
            return min((step + 1) / warm, (num_training_steps - step) / num_training_steps)

        chosen = optimizer or self.optimizer
        assert chosen is not None
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, share)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        # The compact parameters are not the network's: clip what the optimiser moves.
        return nn.utils.clip_grad_norm_(self._trained, self._options.clip)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure what is due, log the figures into the curve, and stop where they have stalled."""
        evaluation, rescoring = self._measuring.evaluation, self._measuring.rescoring
        figures: dict[str, float] = {}
        stalled = False
        if evaluation is not None and self._measuring.is_due(evaluation, self.state):
            with self._looking():
                figures |= evaluation.figures(self._open_model)
            stalled = evaluation.has_stalled([*self.state.log_history, figures])
        if rescoring is not None and (stalled or self._measuring.is_due(rescoring, self.state)):
            figures["roles_changed"] = self._score_again(rescoring)
        self.log(dict(figures))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        if stalled:
            self.control.should_training_stop = True
            self.control.should_save = False  # the training is done: there is no step to go on with
        return figures

    def _score_again(self, rescoring: Rescoring) -> float:
        """Keep the roles as they are now; returns the share of units whose role is another."""
        assert self._part is not None
        with self._looking(), self._part.merged():
            vector = rescoring.vector(self._open_model)
        self._roles.keep(self.state.global_step, vector)
        return rescoring.changed(vector)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """The network ready for inference, and back to training with the same random numbers ahead."""
        network = self._open_model.network
        network.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng():
                yield
        finally:
            network.train()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The weights alone: the Trainer would add its arguments as a pickle."""
        assert output_dir is not None
        self._open_model.network.save_pretrained(output_dir)


class Watcher(TrainerCallback):
    """Reports every step, saves now and then, and stops the training when asked to."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        meter: Meter,
        measuring: Measuring,
        cancelled: CancelCheck | None,
        seconds_between_saves: float,
    ) -> None:
        self.checkpoints = checkpoints
        self.was_cancelled = False
        self._meter, self._measuring, self._cancelled = meter, measuring, cancelled
        self._pause = seconds_between_saves
        self._next_save = time.monotonic() + seconds_between_saves

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """After each optimiser step."""
        self._meter.advance(1)
        control.should_evaluate = self._measuring.any_due(state)
        if state.global_step >= state.max_steps:
            return
        if self._cancelled is not None and self._cancelled():
            self.was_cancelled = control.should_training_stop = control.should_save = True
        elif time.monotonic() >= self._next_save:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """After a checkpoint is written."""
        self.checkpoints.mark_complete(state.global_step)
        self._next_save = time.monotonic() + self._pause

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Raise Diverged once the loss is no number."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise Diverged(f"the loss at step {state.global_step}")


def _arguments(
    model: Model, options: TrainingOptions, checkpoints: Checkpoints, *, measure_first: bool
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(checkpoints.folder),
        num_train_epochs=options.epochs,
        max_steps=-1 if options.steps is None else options.steps,
        learning_rate=options.learning_rate,
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulation,
        max_grad_norm=options.clip,
        bf16=options.bf16,
        seed=options.seed,
        use_cpu=model.device.type == "cpu",
        eval_on_start=measure_first,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the watcher says when
        save_total_limit=2,  # the one before stays until the next is complete
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several would share the network in threads
    return arguments
