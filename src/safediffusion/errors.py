"""The two ways a command can fail: wrong usage (exit code 2) and a run that failed (exit code 1)."""


class UserError(Exception):
    """Something the user can mend; the message says what, why and what to set."""


class Terminated(SystemExit):
    """SIGTERM came; the exit code is 143, as after any SIGTERM."""


class RunError(Exception):
    """A run that started and could not go on; nothing half-written is left behind."""
