"""The version of the package, read by the build and by everything that records what made it."""

__version__ = "0.1.0"
