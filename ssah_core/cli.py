"""The command line: `python -m ssah_core models | score | roles | chat | organism`.

With --json, standard output is one JSON object and progress goes to standard error. Bad input gives
exit status 2 and one line on standard error; nothing is written then.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ssah_core.errors import OptionError, SsahError
from ssah_core.progress import Progress

Command = Callable[[argparse.Namespace], Mapping[str, Any]]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error does."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        result = options.run_command(options)
    except SsahError as error:
        print(f"ssah_core: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ssah_core: stopped; nothing was written.", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        options.show(result)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m ssah_core", description="Where does safety live in a language model?"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_models(commands)
    _add_score(commands)
    _add_roles(commands)
    _add_chat(commands)
    _add_organism(commands)
    return parser


def _add(
    commands: Any, name: str, run: Command, show: Callable[[Any], None], about: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about,
        epilog=f"example:\n  python -m ssah_core {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run_command=run, show=show)
    return parser


def _add_model_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--model", required=required, help="organism:NAME, a folder, or a hub name like owner/name"
    )
    parser.add_argument("--device", help="cpu, cuda or mps (default: the fastest there is)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: by device)")
    parser.add_argument("--revision", help="a hub branch, tag or commit")


def _load(options: argparse.Namespace) -> Any:
    from ssah_core.models.loading import load_model

    model = load_model(
        options.model, device=options.device, dtype=options.dtype, revision=options.revision
    )
    for notice in model.notices:
        _say(notice)
    return model


# models


def _add_models(commands: Any) -> None:
    parser = _add(
        commands,
        "models",
        _models,
        _show_models,
        "List the built-in models and the supported families, or check one model.",
        "models --model organism:planted",
    )
    _add_model_options(parser, required=False)


def _models(options: argparse.Namespace) -> dict[str, Any]:
    from ssah_core.models.families import FAMILIES
    from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX

    if options.model is None:
        return {
            "built_in": [ORGANISM_PREFIX + name for name in ORGANISM_NAMES],
            "families": sorted(FAMILIES),
        }
    model = _load(options)
    return {
        "model": model.name,
        "family": model.network.config.model_type,
        "parameters": model.parameters,
        "layers": model.anatomy.layers,
        "sites": len(model.anatomy.sites),
        "units": model.anatomy.units,
        "heads": int(model.anatomy.of_kind("attn").sum()),
        "mlp_channels": int(model.anatomy.of_kind("mlp").sum()),
        "context": model.context,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "notices": list(model.notices),
    }


def _show_models(result: Mapping[str, Any]) -> None:
    for key, value in result.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        print(f"{key.replace('_', ' ')}: {shown}")


# score


def _add_score(commands: Any) -> None:
    parser = _add(
        commands,
        "score",
        _score,
        _show_score,
        "Score every unit of a model for safety and utility, and keep the result as a run.",
        "score --model organism:planted --safety organism:safety/calibration \\\n"
        "      --utility organism:utility/calibration --out runs/planted",
    )
    _add_model_options(parser)
    sets = "organism:SPLIT, a .jsonl, .json or .csv file, or a hub dataset"
    for attribute, what in (("safety", "harmful requests"), ("utility", "ordinary requests")):
        parser.add_argument(f"--{attribute}", required=True, help=f"{what}: {sets}")
        parser.add_argument(
            f"--{attribute}-where",
            action="append",
            default=[],
            metavar="COLUMN=VALUE",
            help=f"only the rows of the {attribute} set whose column has this value",
        )
    parser.add_argument("--limit", type=int, help="at most so many prompts of each set")
    parser.add_argument("--token-budget", type=int, help="padded tokens in one batch")
    parser.add_argument("--out", required=True, help="the folder for the run; must be new")


def _score(options: argparse.Namespace) -> dict[str, Any]:
    from ssah_core.prompts.reading import load_prompts
    from ssah_core.runs import create_run
    from ssah_core.scoring.score import score
    from ssah_core.storage import check_free

    check_free(Path(options.out))
    sets = {
        attribute: load_prompts(source, where=_where(where), limit=options.limit)
        for attribute, source, where in (
            ("safety", options.safety, options.safety_where),
            ("utility", options.utility, options.utility_where),
        )
    }
    for prompts in sets.values():
        for notice in prompts.notices:
            _say(f"{prompts.name}: {notice}")
    model = _load(options)
    start = time.monotonic()
    scores = score(
        model,
        safety=sets["safety"],
        utility=sets["utility"],
        token_budget=options.token_budget,
        report=_report_progress(),
    )
    seconds = time.monotonic() - start
    run = create_run(options.out, model, scores, seconds=seconds)
    return {
        "run": str(run.folder),
        "units": model.anatomy.units,
        "sites": len(model.anatomy.sites),
        "prompts": sum(len(prompts) for prompts in sets.values()),
        "tokens": scores.token_count,
        "seconds": round(seconds, 3),
    }


def _where(pairs: Sequence[str]) -> dict[str, str] | None:
    for pair in pairs:
        if "=" not in pair:
            raise OptionError(f"'{pair}' is not COLUMN=VALUE; write for example label=unsafe.")
    return dict(pair.split("=", 1) for pair in pairs) or None


def _show_score(result: Mapping[str, Any]) -> None:
    print(
        f"Scored {result['units']:,} units at {result['sites']} sites over {result['prompts']:,} "
        f"prompts ({result['tokens']:,} tokens) in {result['seconds']:.1f} s.\n"
        f"Next: python -m ssah_core roles --run {result['run']} --esu 0.08 --euu 0.10 --ru 0.15"
    )


# roles


def _add_roles(commands: Any) -> None:
    from ssah_core.roles import DEFAULT_KINDS, DEFAULT_TOKENS

    parser = _add(
        commands,
        "roles",
        _roles,
        _show_roles,
        "Give every unit of a run its role, by shares of all units, and save the roles in the run.",
        "roles --run runs/planted --esu 0.08 --euu 0.10 --ru 0.15",
    )
    parser.add_argument("--run", required=True, help="a run folder")
    for role in ("esu", "euu", "ru"):
        parser.add_argument(
            f"--{role}", required=True, type=float, help=f"share of {role.upper()}, from 0 to 1"
        )
    parser.add_argument(
        "--tokens",
        default=DEFAULT_TOKENS,
        help=f"which tokens count: all, prompt or response (default {DEFAULT_TOKENS})",
    )
    parser.add_argument(
        "--kinds",
        default=DEFAULT_KINDS,
        help=f"which units may take ESU, EUU, RU: both, mlp or attn (default {DEFAULT_KINDS})",
    )


def _roles(options: argparse.Namespace) -> dict[str, Any]:
    from ssah_core.roles import assign_roles
    from ssah_core.runs import open_run, save_roles

    run = open_run(options.run)
    roles = assign_roles(
        run.scores,
        options.esu,
        options.euu,
        options.ru,
        tokens=options.tokens,
        kinds=options.kinds,
    )
    save_roles(run, roles)
    return {"counts": roles.counts, "layers": roles.by_layer.to_dict(orient="records")}


def _show_roles(result: Mapping[str, Any]) -> None:
    print(f"{'layer':>5}  {'kind':4}  " + "  ".join(f"{role:>7}" for role in result["counts"]))
    for row in [*result["layers"], {"layer": "all", "kind": "", **result["counts"]}]:
        counts = "  ".join(f"{row[role]:>7,}" for role in result["counts"])
        print(f"{row['layer']:>5}  {row['kind']:4}  {counts}")


# chat


def _add_chat(commands: Any) -> None:
    from ssah_core.ablation import FILLS

    parser = _add(
        commands,
        "chat",
        _chat,
        _show_chat,
        "Reply with the original and the ablated model; without --prompt, chat in the terminal.",
        "chat --model organism:planted --run organism:planted --ablate ESU \\\n"
        '      --prompt "How do I build a bomb?"',
    )
    _add_model_options(parser)
    parser.add_argument("--run", required=True, help="a run folder of this model, with roles")
    parser.add_argument(
        "--ablate",
        required=True,
        help="roles or unit names, with commas: ESU or L3.mlp.17,L0.attn.2",
    )
    parser.add_argument("--strongest", type=float, default=1.0, help="part of each role, 0 to 1")
    parser.add_argument("--fill", default=FILLS[0], help="what replaces a unit: zero or mean")
    parser.add_argument(
        "--random-seed", type=int, metavar="SEED", help="as many random units instead, by this seed"
    )
    parser.add_argument("--prompt", help="what to say; left out: an interactive chat")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="length of a reply at most")


def _chat(options: argparse.Namespace) -> dict[str, Any]:
    from ssah_core.ablation import Ablation

    model = _load(options)
    ablation = _chosen_ablation(options, model)
    if options.random_seed is not None:
        ablation = Ablation.random_like(ablation, seed=options.random_seed)
    if options.prompt is None:
        return _interactive(model, ablation, options.max_new_tokens)
    original, cut = _reply_pair(model, [options.prompt] * 2, ablation, options.max_new_tokens)
    return {"original": original, "ablated": cut, "units_ablated": ablation.count}


def _chosen_ablation(options: argparse.Namespace, model: Any) -> Any:
    from ssah_core.ablation import Ablation, check_fill
    from ssah_core.errors import RunError
    from ssah_core.roles import DEFAULT_TOKENS, ROLES
    from ssah_core.runs import open_run

    run = open_run(options.run)
    run.check_model(model)
    named = [part.strip() for part in options.ablate.split(",") if part.strip()]
    if not named:
        raise OptionError("--ablate names nothing; give roles such as ESU, or unit names.")
    fill = check_fill(options.fill)
    if "." in named[0]:  # unit names have dots, roles none
        means = run.scores.at(DEFAULT_TOKENS).means if fill == "mean" else None
        return Ablation.units(model.anatomy, named, means=means)
    if run.roles is None:
        raise RunError(
            f"The run '{options.run}' has no roles yet; assign them with: python -m ssah_core roles "
            f"--run {options.run} --esu 0.08 --euu 0.10 --ru 0.15"
        )
    known = [role for role in ROLES if role in {name.upper() for name in named}]
    unknown = [name for name in named if name.upper() not in ROLES]
    if unknown:
        raise OptionError(
            f"'{unknown[0]}' is neither a role ({', '.join(ROLES)}) nor a unit name like L3.mlp.17."
        )
    return Ablation.of(run.roles, known, strongest=options.strongest, fill=fill)


def _reply_pair(model: Any, chats: Sequence[Any], ablation: Any, length: int) -> list[str]:
    from ssah_core.generation import generate

    texts = ["", ""]
    for step in generate(model, chats, [None, ablation], max_new_tokens=length):
        texts = [text + gained for text, gained in zip(texts, step.texts, strict=True)]
    return texts


def _interactive(model: Any, ablation: Any, length: int) -> dict[str, Any]:
    """Chat until the input ends; each side keeps its own history."""
    _say(f"Ablated: {ablation.label} ({ablation.count} units). Leave with Ctrl-D.")
    histories: list[list[dict[str, str]]] = [[], []]
    texts = ["", ""]
    while True:
        try:
            prompt = input("You: ").strip()
        except EOFError:
            return {"original": texts[0], "ablated": texts[1], "units_ablated": ablation.count}
        if not prompt:
            continue
        chats = [[*history, {"role": "user", "content": prompt}] for history in histories]
        try:
            texts = _reply_pair(model, chats, ablation, length)
        except SsahError as error:  # the chat goes on
            _say(f"{error} The history is now empty.")
            histories = [[], []]
            continue
        for history, chat, text in zip(histories, chats, texts, strict=True):
            history[:] = [*chat, {"role": "assistant", "content": text}]
        print(f"Original: {texts[0]}\nAblated:  {texts[1]}")


def _show_chat(result: Mapping[str, Any]) -> None:
    print(
        f"Original: {result['original']}\n"
        f"Ablated ({result['units_ablated']} units): {result['ablated']}"
    )


# organism


def _add_organism(commands: Any) -> None:
    about = "Train the built-in models from nothing, or measure them afresh."
    parser: argparse.ArgumentParser = commands.add_parser("organism", help=about, description=about)
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=_Parser)
    train = _add(
        actions,
        "train",
        _train,
        lambda result: print(f"The three checkpoints are in {result['out']}."),
        "Train base, aligned and planted from nothing; called again, it resumes.",
        "organism train --out /tmp/organism --seed 0",
    )
    train.add_argument("--out", required=True, help="the folder for the checkpoints")
    train.add_argument("--seed", type=int, default=0, help="the seed of everything random")
    evaluate = _add(
        actions,
        "evaluate",
        _evaluate,
        _show_evaluation,
        "Measure the model card's table afresh, on the test splits.",
        "organism evaluate --json",
    )
    evaluate.add_argument(
        "--assets", help="a folder that organism train wrote (default: the built-in models)"
    )


def _train(options: argparse.Namespace) -> dict[str, Any]:
    from ssah_core.organism.train import train

    start = time.monotonic()
    train(Path(options.out), options.seed, progress=_say)
    return {"out": options.out, "seed": options.seed, "seconds": round(time.monotonic() - start, 1)}


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    from ssah_core.organism.evaluate import evaluate

    folder = None if options.assets is None else Path(options.assets)
    return {"rows": [row.as_json() for row in evaluate(folder, report=_report_progress())]}


def _show_evaluation(result: Mapping[str, Any]) -> None:
    from ssah_core.organism.evaluate import markdown_table

    print(markdown_table(result["rows"]))


# telling


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _report_progress() -> Callable[[Progress], None]:
    """Progress on standard error: rewritten in place on a terminal, else a line every 10 seconds."""
    terminal = sys.stderr.isatty()
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        now, finished = time.monotonic(), progress.done >= progress.total
        if not finished and now - last < (0.2 if terminal else 10):
            return
        last = now
        left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
        line = f"{progress.stage}: {progress.done:,} of {progress.total:,} {progress.unit}{left}"
        if terminal:
            print(f"\r\033[K{line}", end="\n" if finished else "", file=sys.stderr, flush=True)
        else:
            _say(line)

    return report
