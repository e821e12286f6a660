"""Models by the name that a user gives: a run, a pipeline, a hub id or world, each with a suffix."""
