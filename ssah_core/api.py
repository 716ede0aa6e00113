"""What `from ssah_core import *` gives."""

from ssah_core.ablation import Ablation, ablated
from ssah_core.errors import SsahError
from ssah_core.generation import Step, generate, reply_all
from ssah_core.models.anatomy import Anatomy, Site
from ssah_core.models.decoding import Stops
from ssah_core.models.loading import Model, load_model
from ssah_core.prompts.reading import Prompt, PromptSet, load_prompts
from ssah_core.roles import Roles, Thresholds, assign_roles, assign_roles_by_thresholds
from ssah_core.runs import Run, create_run, open_run, save_roles
from ssah_core.scoring.score import score
from ssah_core.scoring.scores import Scores

__all__ = [
    "Ablation",
    "Anatomy",
    "Model",
    "Prompt",
    "PromptSet",
    "Roles",
    "Run",
    "Scores",
    "Site",
    "SsahError",
    "Step",
    "Stops",
    "Thresholds",
    "ablated",
    "assign_roles",
    "assign_roles_by_thresholds",
    "create_run",
    "generate",
    "load_model",
    "load_prompts",
    "open_run",
    "reply_all",
    "save_roles",
    "score",
]
