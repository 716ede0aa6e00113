"""The lines of the table, one function each."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from benchmarks.estimates import estimate_lines
from benchmarks.measure import Line, median_ratio, seconds
from benchmarks.memory import memory
from benchmarks.probing import probing
from benchmarks.subjects import (
    SMOKE,
    Size,
    edited_weights,
    large_scores,
    long_prompts,
    random_llama,
)
from benchmarks.training import training_lines
from ssah_core import (
    Ablation,
    Model,
    assign_roles,
    generate,
    load_model,
    load_prompts,
    open_run,
)
from ssah_core.figures import Limits, layer_heatmap, score_plane
from ssah_core.generation import reply_each
from ssah_core.models.taps import Taps
from ssah_core.prompts.batching import Batch, group_by_length, pad_batch
from ssah_core.prompts.rendering import render_prompt
from ssah_core.scoring.score import collect_moments, render_all
from ssah_core.stability import bootstrap, measure_blocks

_TOKEN_BUDGET = 4096


def scoring(model: Model, size: Size) -> Line:
    """One scoring pass against the bare body over the very same batches."""
    prompts = long_prompts(size.prompts)
    examples = render_all(model, prompts)
    groups = group_by_length([len(example) for example in examples], _TOKEN_BUDGET)
    batches = [pad_batch(examples, rows, model.device) for rows in groups]
    ratio, detail = median_ratio(
        lambda: collect_moments(model, prompts, stage="bench", token_budget=_TOKEN_BUDGET),
        lambda: _bare_forwards(model, batches),
        size.rounds,
    )
    limit = 1.10 if model.device.type == "cpu" else 1.05
    return Line(f"scoring / bare body forward, {_size(model)}", ratio, "x", limit, detail)


def idle_taps(model: Model, size: Size) -> Line:
    """A forward with taps that do nothing against one without taps."""
    token_ids = torch.randint(5, 1000, (4, 128), device=model.device)
    times: dict[str, list[float]] = {"idle": [], "none": []}
    rounds = 3 * size.rounds

    def forward() -> None:
        with torch.inference_mode():
            model.network(input_ids=token_ids, use_cache=False)
        _synchronise(model)

    seconds(forward)
    model.taps.remove()
    try:
        for number in range(2 * rounds):
            if number % 2:
                taps = Taps(model.network, model.anatomy)
                times["idle"].append(seconds(forward))
                taps.remove()
            else:
                times["none"].append(seconds(forward))
    finally:
        restored = Taps(model.network, model.anatomy)
        object.__setattr__(model, "taps", restored)
    ratio = statistics.median(
        idle / none for idle, none in zip(times["idle"], times["none"], strict=True)
    )
    detail = " / ".join(f"{statistics.median(t) * 1000:.1f} ms" for t in times.values())
    return Line(
        f"idle taps / no taps, {_size(model)}", ratio, "x", 1.02, f"{detail}, {rounds} rounds"
    )


def reply_pair(model: Model, prompt: str, cut: Ablation, size: Size, limit: float) -> Line:
    """Original and ablated side by side against one plain transformers reply of the same length."""
    pair = [prompt, prompt]
    length = len(list(generate(model, pair, [None, cut], max_new_tokens=size.reply_tokens)))
    token_ids = torch.tensor([render_prompt(model, prompt).prompt], device=model.device)

    def plain() -> None:
        with torch.inference_mode():
            model.network.generate(
                input_ids=token_ids,
                attention_mask=torch.ones_like(token_ids),
                max_new_tokens=length,
                min_new_tokens=length,
                do_sample=False,
                pad_token_id=model.tokenizer.pad_token_id,
            )

    ratio, detail = median_ratio(
        lambda: list(generate(model, pair, [None, cut], max_new_tokens=length)), plain, size.rounds
    )
    name = f"pair of replies / one plain reply, {_size(model)}"
    return Line(name, ratio, "x", limit, f"{detail}, {length} tokens")


def many_ablations(model: Model, size: Size) -> Line:
    """16 ablations as rows of shared batches against one after the other with the weights edited.

    Both write the same replies under each ablation: ours in the batches that a study makes, the reference
    16 prompts at a time, like lengths together.
    """
    split = load_prompts("organism:test/harmless", limit=16 if size is SMOKE else 64)
    prompts = sorted((prompt.text for prompt in split.prompts), key=len)
    like = organism_cut()
    cuts = [Ablation.random_like(like, seed=seed) for seed in range(16)]
    length = 12 if size is SMOKE else 24

    def batched() -> None:
        chats = [prompt for _ in cuts for prompt in prompts]
        reply_each(model, chats, [cut for cut in cuts for _ in prompts], max_new_tokens=length)

    def edited() -> None:
        for cut in cuts:
            with edited_weights(model, cut):
                for first in range(0, len(prompts), 16):
                    _plain_replies(model, prompts[first : first + 16], length)

    ratio, detail = median_ratio(batched, edited, size.rounds)
    return Line(
        f"16 ablations in shared batches / one by one, {_size(model)}", ratio, "x", 0.4, detail
    )


def _plain_replies(model: Model, prompts: list[str], length: int) -> None:
    """transformers' own batched greedy replies."""
    rendered = [render_prompt(model, prompt).prompt for prompt in prompts]
    longest = max(map(len, rendered))
    token_ids = torch.zeros((len(rendered), longest), dtype=torch.long, device=model.device)
    mask = torch.zeros_like(token_ids)
    for row, prompt in enumerate(rendered):
        token_ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    with torch.inference_mode():
        model.network.generate(
            input_ids=token_ids,
            attention_mask=mask,
            max_new_tokens=length,
            do_sample=False,
            pad_token_id=model.tokenizer.pad_token_id,
        )


def changed_ablation(model: Model, prompt: str, size: Size) -> Line:
    """What a changed ablation adds to the time until the next token."""
    generator = np.random.default_rng(0)

    def first_token(ablate: bool) -> float:
        chosen = generator.random(model.anatomy.units) < 0.05
        start = time.perf_counter()
        factors = np.where(chosen, 0, 1).astype(np.float32)
        cut = Ablation(model.anatomy, factors, None, "new") if ablate else None
        steps = generate(model, [prompt] * 2, [None, cut], max_new_tokens=1)
        next(steps)
        taken = time.perf_counter() - start
        steps.close()
        return taken

    first_token(True), first_token(False)
    rounds = 5 * size.rounds
    differences = [1000 * (first_token(True) - first_token(False)) for _ in range(rounds)]
    return Line(
        f"a changed ablation before the next token, {_size(model)}",
        statistics.median(differences),
        "ms",
        5.0,
        f"median of {rounds} differences",
    )


def figures(size: Size) -> Line:
    """The largest figures of the Layers screen for a model of Llama-2-7B's size: roles, heatmap, plane."""
    scores = large_scores(size)

    def build() -> None:
        roles = assign_roles(scores, 0.013, 0.133, 0.148)
        limits = Limits.of(roles)
        for figure in (
            layer_heatmap(roles, "mlp", "role", limits),
            score_plane(roles, "mlp", limits),
        ):
            sent.append(len(figure.to_json()))

    sent: list[int] = []
    seconds(build)
    taken = statistics.median(seconds(build) for _ in range(size.rounds))
    name = f"roles, heatmap and plane of {scores.anatomy.units:,} units"
    detail = f"{max(sent) / 1e6:.2f} MB at most on the wire, {size.rounds} rounds"
    return Line(name, 1000 * taken, "ms", 500.0, detail)


def resamples(model: Model, size: Size) -> Line:
    """200 resamples of the roles against the scoring pass that the prompts were measured with."""
    run = open_run("organism:planted")
    assert run.roles is not None
    roles, scores = run.roles, run.scores
    blocks = measure_blocks(model, scores)

    def scored() -> None:
        for prompts in (scores.safety_prompts, scores.utility_prompts):
            collect_moments(model, prompts, stage="bench")

    ratio, detail = median_ratio(lambda: bootstrap(roles, blocks), scored, size.rounds)
    return Line("200 resamples of the roles / one scoring pass", ratio, "x", 0.2, detail)


def organism_cut() -> Ablation:
    """The shipped ESU ablation of the planted organism."""
    run = open_run("organism:planted")
    assert run.roles is not None
    return Ablation.of(run.roles, "ESU")


def all_lines(size: Size, device: str) -> list[Line]:
    """Measure everything but the app's start."""
    organism = load_model("organism:planted", device=device)
    large = random_llama(size, device)
    large_cut = Ablation.random_like(
        Ablation(large.anatomy, np.zeros(large.anatomy.units, np.float32), None, "all"), seed=0
    )
    large_cut.factors[: large.anatomy.units // 20] = 1
    question = "How do I make a kite?"
    lines = [scoring(large, size), idle_taps(large, size), idle_taps(organism, size)]
    lines.append(reply_pair(organism, question, organism_cut(), size, 1.35))
    lines.append(reply_pair(large, question, large_cut, size, 1.9))
    lines.append(many_ablations(organism, size))
    lines.append(resamples(organism, size))
    lines.append(probing(organism, size))
    lines += [changed_ablation(organism, question, size), changed_ablation(large, question, size)]
    lines += training_lines(large, size)
    lines += estimate_lines(large, size)
    if device == "cpu":
        lines += [figures(size), memory(size)]
    return lines


def _bare_forwards(model: Model, batches: list[Batch]) -> None:
    with torch.inference_mode():
        for batch in batches:
            model.network.base_model(
                input_ids=batch.token_ids, attention_mask=batch.attention_mask, use_cache=False
            )
    _synchronise(model)


def _synchronise(model: Model) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _size(model: Model) -> str:
    return f"{model.parameters / 1e6:.1f} M parameters"
