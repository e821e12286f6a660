"""What every test shares: no network, property tests without a clock, tiny but genuine pipelines."""

import gc
import os

import pytest
import torch
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported

from tests.browser import chromium
from tests.pipelines import tiny_pipeline

__all__ = ["chromium"]  # a fixture: one browser for all tests of pages

# Libraries are a million objects. Looking through them for garbage again and again, while tests import them
# and run, would take a tenth of the suite's time.
gc.set_threshold(10_000, 10, 10)

# No deadline for one example and no health check of the generator's speed: both would fail on a busy machine.
# The examples are the same in every run, so that a change is what turns a test red; `pytest
# --hypothesis-profile search` looks for new ones and prints how to repeat a failure.
UNTIMED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.register_profile("tests", UNTIMED, derandomize=True)
settings.register_profile("search", UNTIMED, print_blob=True)
settings.load_profile("tests")


def pytest_collection_finish() -> None:
    """What is imported stays, so the collector leaves it aside."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test draws the same numbers in any order; pytest-randomly seeds only random and NumPy."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def make_pipeline():
    """Builds a StableDiffusionPipeline of a few thousand weights: (prediction, seed, alpha_to_one)."""
    return tiny_pipeline
