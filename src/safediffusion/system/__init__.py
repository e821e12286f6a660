"""The machine: devices, processes, signals, progress, and code that is loaded by name."""
