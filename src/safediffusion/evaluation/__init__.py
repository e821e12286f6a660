"""Judging a model: tasks, detectors, statistics, and the runner that ties them together."""
