"""Settings of all tiers: shapes are checked at run time, and drawn examples are the same every time."""

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Before anything of ours is imported.
install_import_hook("ssah_core", "typechecking.check")

# What fails in these shows its values, as what fails in a test does.
pytest.register_assert_rewrite("prompts_to_score", "saved_models")
torch.set_num_threads(1)  # the models are tiny: threads would only wait for each other
settings.register_profile(
    "everywhere",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("everywhere")
