"""Evaluation of a model: tasks, detectors, measures, and the runner that calls them."""
