"""What safe means: anchor phrases, the direction they span, and the rewards built on it."""
