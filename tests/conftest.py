"""Tiny but genuine diffusers pipelines, built in memory."""

import pytest

from tests.pipelines import tiny_pipeline


@pytest.fixture(scope="session")
def make_pipeline():
    """Builds a StableDiffusionPipeline of a few thousand weights: (prediction, seed, alpha_to_one)."""
    return tiny_pipeline
