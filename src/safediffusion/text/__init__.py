"""Text from outside and for people: escaping, checked words, strict YAML, the terminal."""
