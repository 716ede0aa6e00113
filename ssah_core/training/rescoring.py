"""Roles again and again while a model is trained: when, where they are kept, and how they are read.

    .NAME.partial/roles-N.safetensors   the role codes at step N, written before the checkpoint that counts it
    NAME/roles-by-step.parquet          unit, before, and one column of role codes a measured step
    NAME/manifest.json                  under "rescoring": cut lines, steps, the last transfer

Codes are places in `ROLES`. A training that goes on from a checkpoint forgets what was measured after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from ssah_core.errors import OptionError
from ssah_core.models.anatomy import Anatomy, Site
from ssah_core.models.loading import Model
from ssah_core.roles import Roles
from ssah_core.storage import sha256, write_file
from ssah_core.training.reading import read_table, reading
from ssah_core.training.transfer import Transfer, roles_again

TABLE = "roles-by-step.parquet"
_PREFIX, _SUFFIX = "roles-", ".safetensors"
Vectors = Mapping[int, UInt8[np.ndarray, " units"]]  # by step


@dataclass(frozen=True, eq=False)
class Rescoring:
    """When to score the model that is trained again: at the start, after every so many steps, at the end.

    `roles` are those of the model as it was, whose prompts and cut lines are used; `run` is the folder
    that they came from.
    """

    roles: Roles
    every: int
    run: str = ""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise OptionError(f"Rescoring every {self.every} steps cannot be; give at least 1.")

    def vector(self, model: Model) -> UInt8[np.ndarray, " units"]:
        """The role codes of the model as it is now; raises as `roles_again`."""
        return roles_again(self.roles, model).vector

    def changed(self, vector: UInt8[np.ndarray, " units"]) -> float:
        """The share of all units that have another role than before."""
        return float((vector != self.roles.vector).mean())

    @cached_property
    def about(self) -> dict[str, Any]:
        """What must be the same for a training to go on, as JSON."""
        scores = self.roles.scores
        return {
            "run": self.run,
            "every": self.every,
            **self.roles.about,
            "roles_sha256": sha256(self.roles.vector.tobytes()),
            "safety_set": scores.safety_prompts.hash,
            "utility_set": scores.utility_prompts.hash,
        }

    def described(self, vectors: Vectors) -> dict[str, Any]:
        """What a manifest says once all is measured."""
        anatomy = self.roles.scores.anatomy
        last = Transfer.of(anatomy, self.roles.vector, vectors[max(vectors)])
        return {
            **self.about,
            "steps": sorted(vectors),
            "transfer": last.as_json(),
            "anatomy": [asdict(site) for site in anatomy.sites],
        }

    def table(self, vectors: Vectors) -> pd.DataFrame:
        """The role codes before and at every step: unit, before, and a column a step, "0" the first."""
        columns = {"unit": self.roles.scores.anatomy.names(), "before": self.roles.vector}
        return pd.DataFrame({**columns, **{str(step): vectors[step] for step in sorted(vectors)}})


class RoleLog:
    """The role codes at every step measured so far, a file a step, in the folder of the partial work."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, step: int, vector: UInt8[np.ndarray, " units"]) -> None:
        """Keep the codes of one step; raises RunError where they cannot be written."""
        write_file(self._file(step), save_tensors({"roles": vector}))

    def forget_after(self, step: int) -> None:
        """Remove what was measured after a step: a training goes on from there."""
        for later in self._steps():
            if later > step:
                self._file(later).unlink()

    def read(self) -> dict[int, UInt8[np.ndarray, " units"]]:
        """The codes by step."""
        return {
            step: load_tensors(self._file(step).read_bytes())["roles"] for step in self._steps()
        }

    def _file(self, step: int) -> Path:
        return self._folder / f"{_PREFIX}{step}{_SUFFIX}"

    def _steps(self) -> list[int]:
        files = self._folder.glob(f"{_PREFIX}*{_SUFFIX}")
        return sorted(int(file.name[len(_PREFIX) : -len(_SUFFIX)]) for file in files)


def read_transfers(folder: str | Path) -> list[tuple[int, Transfer]]:
    """The transfers of a trained model's folder, step by step, the first at step 0.

    Empty where the model was not scored again while it was trained. Raises RunError where the folder is
    none of a fine-tuning, or is damaged.
    """
    folder = Path(folder)
    with reading(folder) as manifest:
        about = manifest.get("rescoring")
        if about is None:
            return []
        table = read_table(folder, manifest, TABLE)
        anatomy = Anatomy(tuple(Site(**site) for site in about["anatomy"]))
        before = table["before"].to_numpy(np.uint8)
        return [
            (step, Transfer.of(anatomy, before, table[str(step)].to_numpy(np.uint8)))
            for step in about["steps"]
        ]
