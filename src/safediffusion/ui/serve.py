"""The server of the page: a free address, a token where others can reach it, nothing from elsewhere."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

from safediffusion.errors import UserError

# read when gradio is imported
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

LOCAL = ("127.0.0.1", "localhost", "::1")
STYLES = sorted(Path(__file__).parent.glob("*.css"))
SCRIPT = Path(__file__).parent / "page.js"


@dataclass(frozen=True)
class Address:
    """Where the page is served.

    Attributes:
        host: of this machine, to bind.
        port: 0 takes a free one.
        token: that a browser has to know; None: nobody else can reach the address.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    token: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOCAL

    def with_token(self) -> Address:
        """The same address, with a new token if others reach it and it has none."""
        if self.token or self.is_local:
            return self
        return Address(self.host, self.port, secrets.token_urlsafe(16))

    def url(self, port: int) -> str:
        """What to open in a browser, with the token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}/" + (f"?token={quote(self.token, safe='')}" if self.token else "")


def bind(address: Address) -> socket.socket:
    """A socket at the address, which nobody else can take from then on.

    Raises:
        UserError: the address is taken, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address.host, address.port))
        bound.listen(128)  # SO_REUSEADDR lets two bind; the second one fails here
    except OSError as error:
        bound.close()
        why = (error.strerror or str(error)).lower()
        raise UserError(
            f"cannot serve at {address.host}:{address.port}: {why}; set another --port, or --host"
        ) from error
    return bound


def application(runs_dir: Path, address: Address) -> Any:
    """The whole page as an ASGI application.

    Args:
        runs_dir: see `app.build`.
        address: where it is served.

    Raises:
        UserError: gradio is not installed.
    """
    try:
        import gradio as gr
    except ModuleNotFoundError as error:
        raise UserError("the page needs gradio; install it with: pip install 'safediffusion[ui]'") from error
    from fastapi import FastAPI
    from gradio.themes.utils.fonts import Font

    from safediffusion.ui.app import build
    from safediffusion.ui.guard import Guard

    theme = gr.themes.Default(  # its own fonts would be fetched, these are the system's
        primary_hue="teal",
        font=(Font("system-ui"), Font("sans-serif")),
        font_mono=(Font("ui-monospace"), Font("monospace")),
    ).set(  # lighter ones are too faint for text
        color_accent="*primary_700",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )
    # nothing of gradio's own beside the page: no description of the API, no history of what was typed
    page = build(runs_dir).queue(default_concurrency_limit=1, api_open=False)
    script = f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>"
    served = gr.mount_gradio_app(
        FastAPI(), page, "/", theme=theme, css_paths=STYLES, head=script, ssr_mode=False, footer_links=[],
        run_history=False, mcp_server=False, enable_monitoring=False, pwa=False,
    )  # fmt: skip
    return Guard(served, address.token, LOCAL if address.is_local else ())


def serve(runs_dir: Path, address: Address, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        runs_dir: see `app.build`.
        address: where.
        ready: is called with what to open in a browser, as soon as it can be opened.

    Raises:
        UserError: the address is taken, the folder is a file, or gradio is not installed.
    """
    if runs_dir.exists() and not runs_dir.is_dir():
        raise UserError(f"{runs_dir} is a file; give the folder that holds the run folders")
    address = address.with_token()
    with bind(address) as bound:
        server = server_of(application(runs_dir, address))
        Thread(target=warm_up, daemon=True).start()
        ready(address.url(bound.getsockname()[1]))  # whoever opens it now waits until the server runs
        server.run([bound])


def warm_up() -> None:
    """Load what the first picture needs, while the reader looks at the page."""
    from safediffusion.ui.loaded import warm

    warm()


def server_of(app: Any) -> Any:
    """A server for an application; open pages do not keep it from ending; to cut them off is no error."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    return server
