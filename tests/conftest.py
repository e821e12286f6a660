"""Tiny but genuine diffusers pipelines, built in memory; no test reaches for the network."""

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported

from tests.pipelines import tiny_pipeline


@pytest.fixture(scope="session")
def make_pipeline():
    """Builds a StableDiffusionPipeline of a few thousand weights: (prediction, seed, alpha_to_one)."""
    return tiny_pipeline
