"""The files of a run: atomic writes, checked reads, the run folder and what a killed process leaves in it."""
