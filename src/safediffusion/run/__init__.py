"""The life of one run: checks, plan, session, training, time kept."""
