"""`chat`: the original and the ablated model, or two models, reply side by side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ssah_core.ablation import FILLS, Ablation, check_fill, compile_rows
from ssah_core.commands.common import (
    add_command,
    add_model_options,
    load,
    say,
)
from ssah_core.errors import OptionError, PromptError, RunError, SsahError
from ssah_core.generation import generate
from ssah_core.models.loading import Model, load_model
from ssah_core.prompts.rendering import Chat
from ssah_core.roles import assign_roles, check_role
from ssah_core.runs import open_run


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "chat",
        _chat,
        _show_chat,
        "Reply with the original and the ablated model, or with two models; without --prompt, chat in "
        "the terminal.",
        "chat --model organism:planted --run organism:planted --ablate ESU \\\n"
        '      --prompt "How do I build a bomb?"',
    )
    add_model_options(parser)
    parser.add_argument(
        "--beside",
        metavar="MODEL",
        help="another model, which replies in place of the ablated one; units of --ablate are then off "
        "in it, if any",
    )
    parser.add_argument("--run", help="a run folder of this model, with roles")
    parser.add_argument(
        "--ablate", help="roles and unit names, with commas: ESU or L3.mlp.17,L0.attn.2"
    )
    parser.add_argument("--strongest", type=float, default=1.0, help="part of each role, 0 to 1")
    parser.add_argument(
        "--layers", help="only units of these layers, such as 10-14 or 3,5 (roles only)"
    )
    parser.add_argument(
        "--spare", default="", metavar="UNITS", help="unit names to leave on whatever their role"
    )
    parser.add_argument(
        "--strength",
        type=float,
        default=0.0,
        help="what is left of a unit's signal: 0 none, 1 all, up to 2",
    )
    parser.add_argument("--fill", default=FILLS[0], help="what replaces a unit: zero or mean")
    parser.add_argument(
        "--random-seed", type=int, metavar="SEED", help="as many random units instead, by this seed"
    )
    parser.add_argument(
        "--match", default="size", help="random units are drawn from all (size) or by layer (layer)"
    )
    parser.add_argument("--system", help="a system prompt, read before the conversation")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the draws above 0")
    parser.add_argument("--prompt", help="what to say; left out: an interactive chat")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="length of a reply at most")


def _chat(options: argparse.Namespace) -> dict[str, Any]:
    if options.prompt is not None and not options.prompt.strip():
        raise PromptError("The prompt is empty; say something, or leave --prompt out to chat.")
    _check_sides(options)
    model = load(options)
    ablation = _chosen_ablation(options, model)
    pair = model, model
    if options.beside is not None:
        pair = model, load_model(options.beside, device=options.device, dtype=options.dtype)
        compile_rows(pair[1], [ablation])  # a model of other units is refused before anybody waits
    if options.prompt is None:
        return _interactive(pair, ablation, options)
    for notice in _notices(pair):
        say(notice)
    chat = [*_system(options), {"role": "user", "content": options.prompt}]
    return _result(_reply_pair(pair, [chat] * 2, ablation, options), ablation, options)


def _check_sides(options: argparse.Namespace) -> None:
    """Raise OptionError where the two sides would be the same, or an ablation is only half there."""
    if options.beside is None and not (options.run and options.ablate is not None):
        raise OptionError(
            "Both sides would be the same; give --run and --ablate, or --beside with another model."
        )
    if (options.run is None) != (options.ablate is None):
        raise OptionError("Units are switched off by a run; give --run and --ablate together.")


def _result(
    texts: Sequence[str], ablation: Ablation | None, options: argparse.Namespace
) -> dict[str, Any]:
    count = 0 if ablation is None else ablation.count
    if options.beside is None:
        return {"original": texts[0], "ablated": texts[1], "units_ablated": count}
    models = [options.model, options.beside]
    return {"original": texts[0], "beside": texts[1], "models": models, "units_ablated": count}


def _notices(pair: tuple[Model, Model]) -> list[str]:
    return list(dict.fromkeys(notice for model in pair for notice in model.notices))


def _chosen_ablation(options: argparse.Namespace, model: Model) -> Ablation | None:
    """What the options switch off, or as many random units; None where they name nothing."""
    if options.ablate is None:
        return None
    ablation = _named_ablation(options, model)
    if ablation.count == 0:
        raise OptionError(f"There is no unit to ablate in {ablation.label}; choose a larger part.")
    if options.random_seed is None:
        return ablation
    return Ablation.random_like(ablation, seed=options.random_seed, match=options.match)


def _named_ablation(options: argparse.Namespace, model: Model) -> Ablation:
    run = open_run(options.run)
    run.check_model(model)
    named = _names(options.ablate)
    if not named:
        raise OptionError("--ablate names nothing; give roles such as ESU, or unit names.")
    units = [name for name in named if "." in name]  # unit names have dots, roles none
    roles = [check_role(name) for name in named if "." not in name]
    if run.roles is None and roles:
        raise RunError(
            f"The run '{options.run}' has no roles, or none that can be read; assign them with: "
            f"python -m ssah_core roles --run {options.run} --esu 0.08 --euu 0.10 --ru 0.15"
        )
    if not roles and (options.strongest != 1 or options.layers is not None):
        raise OptionError("--strongest and --layers choose among roles; leave them out with units.")
    return Ablation.of(
        run.roles or assign_roles(run.scores, 0, 0, 0),
        roles,
        strongest=options.strongest,
        factor=options.strength,
        fill=check_fill(options.fill),
        layers=_layers(options.layers),
        also=units,
        spare=_names(options.spare),
    )


def _names(listed: str) -> list[str]:
    return [part.strip() for part in listed.split(",") if part.strip()]


def _layers(listed: str | None) -> list[int] | None:
    """Layers as people write them: "10-14" or "3,5"."""
    if listed is None:
        return None
    layers: list[int] = []
    for part in _names(listed):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise OptionError(f"'{part}' is not a layer; write --layers 10-14 or --layers 3,5.")
        layers += range(int(first), int(last or first) + 1)
    if not layers:
        raise OptionError("--layers names no layer; write --layers 10-14 or --layers 3,5.")
    return layers


def _system(options: argparse.Namespace) -> list[dict[str, str]]:
    return [{"role": "system", "content": options.system}] if options.system else []


def _reply_pair(
    pair: tuple[Model, Model],
    chats: Sequence[Chat],
    ablation: Ablation | None,
    options: argparse.Namespace,
) -> list[str]:
    if pair[0] is pair[1]:
        return _replies(pair[0], chats, [None, ablation], options)
    left = _replies(pair[0], chats[:1], [None], options)
    return [*left, *_replies(pair[1], chats[1:], [ablation], options)]


def _replies(
    model: Model,
    chats: Sequence[Chat],
    ablations: Sequence[Ablation | None],
    options: argparse.Namespace,
) -> list[str]:
    texts = [""] * len(chats)
    for step in generate(
        model,
        chats,
        ablations,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        seeds=options.seed,
    ):
        texts = [text + gained for text, gained in zip(texts, step.texts, strict=True)]
    return texts


def _interactive(
    pair: tuple[Model, Model], ablation: Ablation | None, options: argparse.Namespace
) -> dict[str, Any]:
    """Chat until the input ends; each side keeps its own history.

    With --json the talk goes to standard error, and the result is the last pair.
    """
    talk = sys.stderr if options.json else sys.stdout
    options.show = lambda _: print()  # all has been shown
    for notice in _notices(pair):
        say(notice)
    if options.beside is not None:
        say(f"Original: {options.model}. Beside: {options.beside}.")
    if ablation is not None:
        say(f"Ablated: {ablation.label} ({ablation.count} units).")
    say("Leave with Ctrl-D.")
    histories: list[list[dict[str, str]]] = [[], []]
    texts = ["", ""]
    while True:
        print("You: ", end="", file=talk, flush=True)
        try:
            prompt = input().strip()
        except EOFError:
            return _result(texts, ablation, options)
        if not prompt:
            continue
        asked = {"role": "user", "content": prompt}
        chats = [[*_system(options), *history, asked] for history in histories]
        try:
            texts = _reply_pair(pair, chats, ablation, options)
        except SsahError as error:  # the chat goes on
            say(f"{error} The history is now empty.")
            histories = [[], []]
            continue
        for history, chat, text in zip(histories, chats, texts, strict=True):
            history[:] = [*history, chat[-1], {"role": "assistant", "content": text}]
        right = "Ablated: " if options.beside is None else "Beside:  "
        print(f"Original: {texts[0]}\n{right} {texts[1]}", file=talk, flush=True)


def _show_chat(result: Mapping[str, Any]) -> None:
    count = result["units_ablated"]
    if "ablated" in result:
        print(f"Original: {result['original']}\nAblated ({count} units): {result['ablated']}")
        return
    left, right = result["models"]
    off = f" ({count} units off)" if count else ""
    print(f"{left}: {result['original']}\n{right}{off}: {result['beside']}")
