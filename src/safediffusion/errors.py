"""How a command ends early: wrong usage (exit code 2), a run that failed (1), SIGTERM (143)."""

from pathlib import Path

AGAIN = "run the command that wrote it again, which makes it again"


class UserError(Exception):
    """Something the user can mend; the message says what, why and what to set."""


class Terminated(SystemExit):
    """SIGTERM came; what was done is kept."""


class RunError(Exception):
    """A run that started and could not go on; nothing half-written is left behind."""


class Damaged(RunError):
    """A file of ours that cannot be read, or that does not hold what was written.

    Args:
        path: the file.
        why: what is wrong with it.
        advice: what to do.
    """

    def __init__(self, path: Path | str, why: str, advice: str = AGAIN) -> None:
        self.path, self.why = path, why
        super().__init__(f"{path} is damaged: {why}; {advice}")
