"""Zero-shot tasks under an ablation, by EleutherAI's lm-eval (the paper's Table 1 has six of them).

lm-eval asks and counts; here the network that it asks is under an ablation, and every forward is one of
the taps' own. A task from a folder may bring Python of its own, which lm-eval runs: name only folders that
you trust. Needs the package `lm-eval`.
"""

from __future__ import annotations

import copy
import difflib
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_core.ablation import Ablation, ablated
from ssah_core.errors import AblationError, Cancelled, OptionError, PromptError
from ssah_core.evaluation.metrics import Measured, wilson
from ssah_core.models.hub import cache_alone_if_unreachable
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Meter, Report


@dataclass(frozen=True)
class TaskResult:
    """How often a model is right in a task, by one of the task's own measures, and under an ablation.

    `measure` is lm-eval's name, such as acc or acc_norm; `ablated` is None where nothing was ablated.
    """

    task: str
    measure: str
    original: Measured
    ablated: Measured | None

    def as_json(self) -> dict[str, object]:
        """The result as the command line prints it."""
        return {
            "task": self.task,
            "measure": self.measure,
            "original": self.original.as_json(),
            "ablated": None if self.ablated is None else self.ablated.as_json(),
        }


def zero_shot(
    model: Model,
    tasks: Sequence[str],
    ablation: Ablation | None = None,
    *,
    task_folder: str | Path | None = None,
    limit: int | None = None,
    chat: bool = False,
    batch_size: int = 8,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[TaskResult]:
    """Do lm-eval's tasks (or those that YAML files in `task_folder` define), original and ablated.

    `limit` takes the first so many questions of a task; `chat` asks them in the model's chat format.
    Intervals are Wilson's over the questions. Only measures that are right or wrong on each question
    count. Raises OptionError (lm-eval missing, no such task, an option), PromptError where lm-eval cannot
    do a task, AblationError where the ablation did not act, and Cancelled.
    """
    check_lm_eval()
    if not tasks or (limit is not None and limit < 1) or batch_size < 1:
        raise OptionError("Give at least one task, and a limit and a batch size of at least 1.")
    manager = _manager(tasks, task_folder)
    cuts = [None] if ablation is None else [None, ablation]
    meter = Meter("doing tasks", len(tasks) * len(cuts), "tasks", report, cancelled)
    asked = _asked_model(model, batch_size, meter)
    options = {"task_manager": manager, "limit": limit, "apply_chat_template": chat}
    found: list[TaskResult] = []
    with cache_alone_if_unreachable():
        for task in tasks:
            sides = []
            for cut in cuts:
                with ablated(model, cut):
                    sides.append(_done(task, asked, options))
                meter.advance(1)
            other = sides[1] if len(sides) > 1 else {}
            found += [TaskResult(*key, right, other.get(key)) for key, right in sides[0].items()]
    return found


def check_lm_eval() -> None:
    """Raise OptionError where the package lm-eval is missing."""
    if importlib.util.find_spec("lm_eval") is None:
        raise OptionError(
            "Zero-shot tasks need the package lm-eval; install it with: pip install lm-eval"
        )


def _manager(tasks: Sequence[str], folder: str | Path | None) -> Any:
    """What knows these tasks. Reading lm-eval's own, some 14,000, takes long: only where one is needed."""
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if folder is not None:
        if not Path(folder).is_dir():
            raise OptionError(f"There is no folder '{folder}' with tasks; give one that exists.")
        own = TaskManager(include_path=folder, include_defaults=False)
        if set(tasks) <= set(own.all_tasks):
            return own
    manager = TaskManager(include_path=folder)
    for task in tasks:
        _check_known(task, manager.all_tasks)
    return manager


def _check_known(task: str, known: Sequence[str]) -> None:
    if task not in known:
        near = difflib.get_close_matches(task, known, n=3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise OptionError(
            f"lm-eval knows no task '{task}'{hint}; see: lm-eval ls tasks, or give --task-folder."
        )


def _asked_model(model: Model, batch_size: int, meter: Meter) -> Any:
    """The model as lm-eval asks it; every forward first looks whether the work should stop."""
    from lm_eval.models.huggingface import HFLM

    class Asked(HFLM):
        def _model_call(self, *given: Any, **options: Any) -> Any:
            meter.check()
            return super()._model_call(*given, **options)

        def _loglikelihood_tokens(self, requests: Any, **options: Any) -> Any:
            return super()._loglikelihood_tokens(requests, **{**options, "disable_tqdm": True})

    with model.tokenizer_lock:
        tokenizer = copy.deepcopy(model.tokenizer)  # lm-eval sets its padding
    return Asked(pretrained=model.network, tokenizer=tokenizer, batch_size=batch_size)


def _done(task: str, asked: Any, options: Mapping[str, Any]) -> dict[tuple[str, str], Measured]:
    """One task done once: by subtask and measure, how often the answer is right."""
    from lm_eval import simple_evaluate

    try:
        found = simple_evaluate(asked, tasks=[task], bootstrap_iters=0, **options)
    except (Cancelled, AblationError):
        raise
    except ConnectionError as error:
        raise PromptError(
            f"The data of the task '{task}' are on the hub, which cannot be reached, and not in its cache; "
            "check the connection, or give --task-folder with a task whose data are files."
        ) from error
    except Exception as error:  # tasks are anyone's files, and their data comes from anywhere
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PromptError(
            f"lm-eval cannot do the task '{task}' ({reason}); check its files, and that its data can be "
            "reached."
        ) from error
    assert found is not None
    measured = {
        (name, measure): wilson([bool(value) for value in values])
        for name, samples in found["samples"].items()
        for measure, values in _by_measure(samples).items()
        if set(values) <= {0, 1}
    }
    if not measured:
        raise OptionError(
            f"The task '{task}' has no measure that is right or wrong on each question; choose another."
        )
    return measured


def _by_measure(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The questions' figures by measure; where answers are filtered in several ways, by filter too."""
    filters = list(dict.fromkeys(sample["filter"] for sample in samples))
    found: dict[str, list[float]] = {}
    for sample in samples:
        for measure in sample["metrics"]:
            value = sample[measure]
            if isinstance(value, bool | int | float):
                name = measure if len(filters) == 1 else f"{measure}, {sample['filter']}"
                found.setdefault(name, []).append(float(value))
    return found
