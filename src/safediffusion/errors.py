"""How a command ends early: wrong usage (exit code 2), a run that failed (1), SIGTERM (143)."""


class UserError(Exception):
    """Something the user can mend; the message says what, why and what to set."""


class Terminated(SystemExit):
    """SIGTERM came; what was done is kept."""


class RunError(Exception):
    """A run that started and could not go on; nothing half-written is left behind."""
