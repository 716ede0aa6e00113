"""Scores against METHOD's Eq. 1 written out, however prompts are batched."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prompts_to_score import SAFETY, TOKENS, UTILITY, assert_same_moments
from tiny_models import CONFIGS, fresh_model, tiny_model
from torch import nn

from ssah_core import PromptSet, score
from ssah_core.models.families import column_norms_squared
from ssah_core.models.loading import Model
from ssah_core.prompts.batching import group_by_length, pad_batch
from ssah_core.prompts.rendering import Rendered, render_example
from ssah_core.scoring.score import collect_moments


def keep(seen: dict[int, torch.Tensor], place: int, module: nn.Module, inputs: tuple) -> None:
    seen[place] = inputs[0].clone()


def activations(model: Model, prompts: PromptSet) -> dict[str, list[np.ndarray]]:
    """For each choice of tokens, by site: float64 [tokens, channels], one example at a time."""
    found = {name: [[] for _ in model.anatomy.sites] for name in TOKENS}
    for prompt in prompts.prompts:
        example = render_example(model, prompt.text, prompt.response)
        border, seen, handles = len(example.prompt), {}, []
        for place, site in enumerate(model.anatomy.sites):
            handles.append(
                model.network.get_submodule(site.module).register_forward_pre_hook(
                    partial(keep, seen, place)
                )
            )
        with torch.inference_mode():
            model.network(input_ids=torch.tensor([[*example.prompt, *example.response]]))
        for handle in handles:
            handle.remove()
        for place, x in seen.items():
            x = x.reshape(len(example), -1).double().numpy()
            found["all"][place].append(x)
            found["prompt"][place].append(x[:border])
            found["response"][place].append(x[border:])
    return {name: [np.concatenate(x) for x in sites] for name, sites in found.items()}


def weight_out_in(projection: nn.Module) -> np.ndarray:
    """B as [outputs, inputs]: GPT-2's Conv1D keeps it the other way round."""
    weight = projection.weight.detach().double().numpy()
    return weight if isinstance(projection, nn.Linear) else weight.T


def importance_by_the_letter(model: Model, by_site: list[np.ndarray]) -> list[float]:
    """I_j = 1/(N-1) sum_n (x_nj - mean_j)^2 * ||B[:, j]||_2^2; a head's is its channels' mean."""
    units = []
    for site, x in zip(model.anatomy.sites, by_site, strict=True):
        matrix = weight_out_in(model.network.get_submodule(site.module))
        n = len(x)
        per_channel = []
        for j in range(site.channels):
            mean = sum(x[:, j]) / n
            variance = sum((value - mean) ** 2 for value in x[:, j]) / (n - 1)
            per_channel.append(variance * sum(b * b for b in matrix[:, j]))
        for unit in range(site.units):
            own = per_channel[unit * site.width : (unit + 1) * site.width]
            units.append(sum(own) / len(own))
    return units


def z_by_the_letter(model: Model, importance: list[float]) -> list[float]:
    z = []
    for site in model.anatomy.sites:
        part = importance[site.slice]
        mean = sum(part) / len(part)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in part) / len(part))
        z += [(value - mean) / deviation for value in part]
    return z


# What a score is


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "phi3"])
def test_scores_are_those_of_equation_1(family):
    model = tiny_model(family)
    scores = score(model, safety=SAFETY, utility=UTILITY)
    safety, utility = activations(model, SAFETY), activations(model, UTILITY)
    for tokens in TOKENS:
        view = scores.at(tokens)
        raw_safety = importance_by_the_letter(model, safety[tokens])
        raw_utility = importance_by_the_letter(model, utility[tokens])
        np.testing.assert_allclose(view.raw_safety, raw_safety, rtol=1e-4)
        np.testing.assert_allclose(view.raw_utility, raw_utility, rtol=1e-4)
        np.testing.assert_allclose(view.safety, z_by_the_letter(model, raw_safety), atol=1e-4)
        np.testing.assert_allclose(view.utility, z_by_the_letter(model, raw_utility), atol=1e-4)
        means = np.concatenate([x.mean(0) for x in utility[tokens]])
        np.testing.assert_allclose(view.means, means, rtol=1e-4, atol=1e-5)
    counted = sum(len(x[0]) for x in (safety["all"], utility["all"]))
    assert scores.token_count == counted


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_padding_never_counts(family):
    model = tiny_model(family)
    found = collect_moments(model, SAFETY, stage="test", token_budget=100_000)  # one batch
    for tokens, sites in activations(model, SAFETY).items():
        x = np.concatenate(sites, axis=1)
        assert found.at(tokens).count == len(x)
        np.testing.assert_allclose(found.at(tokens).variance(), x.var(0, ddof=1), rtol=1e-3)
        np.testing.assert_allclose(found.at(tokens).mean, x.mean(0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_column_norms_are_those_of_the_weights_that_read_the_channel(family):
    model = tiny_model(family)
    for site in model.anatomy.sites:
        projection = model.network.get_submodule(site.module)
        expected = (weight_out_in(projection) ** 2).sum(0)
        found = column_norms_squared(projection)
        assert found.shape == (site.channels,)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@settings(max_examples=6)
@given(budget=st.integers(1, 400))
def test_scores_do_not_depend_on_how_prompts_are_batched(budget):
    model = tiny_model()
    whole = collect_moments(model, SAFETY, stage="test", token_budget=100_000)
    parts = collect_moments(model, SAFETY, stage="test", token_budget=budget)
    for tokens in TOKENS:
        assert_same_moments(parts.at(tokens), whole.at(tokens), rtol=1e-4)


def test_two_halves_scored_apart_merge_into_the_whole():
    model = tiny_model()
    halves = [PromptSet("half", SAFETY.prompts[:2]), PromptSet("half", SAFETY.prompts[2:])]
    one, other = (collect_moments(model, half, stage="test") for half in halves)
    whole = collect_moments(model, SAFETY, stage="test")
    for tokens in TOKENS:
        assert_same_moments(one.at(tokens).merged(other.at(tokens)), whole.at(tokens), rtol=1e-4)


def test_a_huge_first_token_does_not_blur_the_responses():
    # Real models have channels whose first token is thousands of times as large as all others.
    model = fresh_model()

    def enlarge(module, inputs):
        x = inputs[0].clone()
        x[:, 0] += 1e4
        return (x,)

    site = model.anatomy.sites[1]
    projection = model.network.get_submodule(site.module)
    projection.register_forward_pre_hook(enlarge, prepend=True)
    found = collect_moments(model, SAFETY, stage="test").response.variance()
    exact = activations(model, SAFETY)["response"][1].var(0, ddof=1)
    np.testing.assert_allclose(found[model.anatomy.channel_slices[1]], exact, rtol=1e-4)


def test_activations_far_from_zero_keep_their_digits():
    model = fresh_model()
    site = model.anatomy.sites[1]
    spread = float(activations(model, SAFETY)["all"][1].std())

    def shift(module, inputs):
        return (inputs[0] + 1000 * spread,)

    model.network.get_submodule(site.module).register_forward_pre_hook(shift, prepend=True)
    found = collect_moments(model, SAFETY, stage="test", token_budget=64).at("all").variance()
    exact = activations(model, SAFETY)["all"][1].var(0, ddof=1)
    np.testing.assert_allclose(found[model.anatomy.channel_slices[1]], exact, rtol=1e-4)


# Batches


@settings(max_examples=60)
@given(lengths=st.lists(st.integers(1, 300), max_size=30), budget=st.integers(1, 1000))
def test_groups_hold_every_example_once_and_fit_the_budget(lengths, budget):
    groups = group_by_length(lengths, budget)
    assert sorted(n for group in groups for n in group) == list(range(len(lengths)))
    for group in groups:
        padded = len(group) * max(lengths[n] for n in group)
        assert padded <= budget or len(group) == 1
    longest = [lengths[group[0]] for group in groups]
    assert longest == sorted(longest, reverse=True)


def test_a_batch_says_where_its_tokens_are():
    examples = [Rendered((5, 6), (7,)), Rendered((8,), (9, 10, 11)), Rendered((12,), ())]
    batch = pad_batch(examples, [2, 0, 1], torch.device("cpu"))
    assert batch.token_ids.tolist() == [[12, 0, 0, 0], [5, 6, 7, 0], [8, 9, 10, 11]]
    assert batch.attention_mask.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    flat = batch.token_ids.flatten()
    assert flat[batch.prompt_positions].tolist() == [12, 5, 6, 8]
    assert flat[batch.response_positions].tolist() == [7, 9, 10, 11]
    assert batch.tokens == 8
