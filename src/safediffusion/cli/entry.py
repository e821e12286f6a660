"""The entry point of the command line: runs a command, and shows errors as one line and an exit code.

Exit codes: 0 done, 1 the run failed, 2 wrong usage, 3 a broken limit, 130 Ctrl-C, 143 SIGTERM.
-v adds the traceback.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from typing import NoReturn

from safediffusion.cli.commands import app
from safediffusion.system.launched import launched_count, launched_rank
from safediffusion.text.terminal import PlainFormatter, complain
from safediffusion.unexpected import tell


def quiet() -> None:
    """Silence the libraries, before they are imported: warnings, logs, progress bars."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # hides the bars of libraries; our own line is shown anyway
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")


def main() -> None:
    """Entry point of the command line, for one process."""
    try:
        run()
    except SystemExit as end:
        if launched_count() > 1 and isinstance(end.code, int):
            # a thread of gloo that outlives the interpreter would abort the process
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code)
        raise


def run() -> NoReturn:
    """Run a command and turn its errors into one line and an exit code."""
    arguments = sys.argv[1:]
    verbose = [word for word in arguments if word in ("-v", "--verbose")]  # accepted anywhere on the line
    if not verbose:
        quiet()
    # all processes meet the same warnings, so only the main one prints them
    handler = logging.StreamHandler() if launched_rank() == 0 else logging.NullHandler()
    handler.setFormatter(PlainFormatter())
    logging.getLogger("safediffusion").handlers = [handler]
    try:
        code = app(args=[word for word in arguments if word not in verbose], standalone_mode=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if verbose:
            complain(*traceback.format_exc().rstrip().split("\n"))
        sys.exit(explain(error, bool(verbose)))
    sys.exit(code if isinstance(code, int) else 0)


def explain(error: Exception, verbose: bool) -> int:
    """Print an error in one line; returns the exit code."""
    usage = getattr(error, "format_message", None)  # of the parser of the command line
    if usage:
        if text := usage().strip():  # empty where help was printed instead
            where = getattr(getattr(error, "ctx", None), "command_path", "safediffusion")
            complain(f"Error: {text} See: {where} --help")
        return 2
    told = tell(error, verbose)
    complain(f"Error: {told.text}")
    return told.code
