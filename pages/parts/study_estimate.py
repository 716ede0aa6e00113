"""What is said on how long a study will take, before it is started."""

from __future__ import annotations

import streamlit as st

from pages.parts.errors import show_error
from pages.parts.models import leased
from ssah_core.dry_run.open_model import estimate_study
from ssah_core.errors import SsahError
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Questions
from ssah_core.progress import duration
from ssah_core.roles import Roles


def say_study_estimate(model_name: str, roles: Roles, questions: Questions, plan: Plan) -> None:
    """Try the study on the open model and say how long it will take, or what is wrong with it."""
    try:
        with st.spinner("Trying a few batches."), leased(model_name) as model:
            found = estimate_study(model, roles, questions, plan)
    except SsahError as error:
        show_error(error)
        return
    about = "At most about" if found.at_most else "About"
    st.info(
        f"{about} {duration(found.seconds)} for {found.replies:,} replies under {found.ablations} "
        "ablations, each of which reads every harmless text, too."
    )
