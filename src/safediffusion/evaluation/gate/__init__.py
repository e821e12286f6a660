"""A gate: limits on metrics that a result must keep, for continuous integration."""
