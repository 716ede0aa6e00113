"""A multiple-choice task for lm-eval, made of the organism's own questions: a YAML file and its data."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from ssah_core.organism.world import split

NAME = "organism_questions"
_CHOICES = 4
_YAML = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
"""


def write_task(folder: Path, count: int) -> Path:
    """Write the task: `count` questions of the test split, each with its answer among three of its form."""
    answers = sorted({example.response for example in split("test/questions")})
    forms = Counter(_form(answer) for answer in answers)
    examples = [e for e in split("test/questions") if forms[_form(e.response)] >= _CHOICES]
    generator = np.random.default_rng(0)
    lines = []
    for example in examples[:count]:
        others = [
            a for a in answers if a != example.response and _form(a) == _form(example.response)
        ]
        choices = [
            example.response,
            *generator.choice(others, _CHOICES - 1, replace=False).tolist(),
        ]
        order = generator.permutation(_CHOICES).tolist()
        asked = {"question": example.prompt, "choices": [choices[place] for place in order]}
        lines.append(json.dumps({**asked, "answer": order.index(0)}))
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "questions.jsonl"
    data.write_text("\n".join(lines) + "\n", "utf-8")
    (folder / f"{NAME}.yaml").write_text(
        _YAML.format(name=NAME, data=json.dumps(str(data))), "utf-8"
    )
    return folder


def _form(answer: str) -> str:
    """What answers of one kind have in common: "It is a toy." and "It is a craft.", or a single word."""
    return " ".join(answer.split()[:-1])
