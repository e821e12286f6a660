"""The errors that end a command early: wrong usage (exit code 2), a failed run (1), SIGTERM (143)."""

from pathlib import Path

AGAIN = "run the command that wrote it once more, which writes it anew"


class UserError(Exception):
    """A mistake that the user can correct; the message says what is wrong, why, and what to set."""


class Terminated(SystemExit):
    """SIGTERM ended the command; finished work is kept."""


class RunError(Exception):
    """A run that started and cannot continue; it leaves no half-written file."""


class Damaged(RunError):
    """A file of this package that cannot be read, or whose content is not what was written.

    Args:
        path: the file.
        why: what is wrong with it.
        advice: what to do.
    """

    def __init__(self, path: Path | str, why: str, advice: str = AGAIN) -> None:
        self.path, self.why = path, why
        super().__init__(f"{path} is damaged: {why}; {advice}")
