"""How many examples property tests draw: on a GPU, whose time is short, few, and none is shrunk."""

import os
from typing import Any

from hypothesis import Phase, settings

MOST_ON_GPU = 25
_ON_GPU = bool(os.environ.get("NNX_REQUIRE_GPU"))

# Shrinking a failure repeats the test for minutes. The blob by which Hypothesis draws the failing
# example again lets it be shrunk elsewhere.
settings.register_profile(
    "gpu",
    max_examples=MOST_ON_GPU,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    deadline=None,
    print_blob=True,
)


def load_profile() -> None:
    """Load the profile "gpu" where a GPU is required; before any test is imported."""
    if _ON_GPU:
        settings.load_profile("gpu")


def drawn(count: int, **more: Any) -> settings:
    """Hypothesis' settings with so many examples, on a GPU no more than `MOST_ON_GPU`."""
    count = min(count, MOST_ON_GPU) if _ON_GPU else count
    return settings(max_examples=count, deadline=None, **more)
