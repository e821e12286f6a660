"""Which prompts there are, which are skipped, and in which order a run draws them."""
