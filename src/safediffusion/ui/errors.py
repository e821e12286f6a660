"""What the page shows of errors, and of text from outside."""

from __future__ import annotations

import functools
import html
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from safediffusion.text.escaping import plain
from safediffusion.ui.loaded import warm
from safediffusion.unexpected import tell

log = logging.getLogger(__name__)


def html_text(text: object) -> str:
    """Text from outside (a prompt, the name of a run, a message) that the page shows as it is, on one line.

    Besides HTML's own characters those are escaped that start an expression in gradio's templates.
    """
    escaped = html.escape(plain(text))
    return escaped.translate({ord(c): f"&#{ord(c)};" for c in "${}`\\"})


def as_sentence(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Make an event's handler show its errors as a sentence on the page; what the page shows else, stays.

    Args:
        handler: a function or a generator.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any) -> Iterator[Any]:
            with sentences():
                yield from handler(*args)

        return stream

    @functools.wraps(handler)
    def call(*args: Any) -> Any:
        with sentences():
            return handler(*args)

    return call


@contextmanager
def sentences() -> Iterator[None]:
    """Any error in here is one that gradio shows, without a traceback, until the reader closes it."""
    warm()
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        log.debug("an event of the page failed", exc_info=True)
        told = tell(error, verbose=True)  # the page has no -v to advise
        raise gr.Error(html_text(told.text), duration=None, print_exception=False) from error
