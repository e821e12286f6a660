"""The files of a run: atomic writes, checked reads, the run folder and the cleanup after killed processes."""
