"""Who may use the page: what stands between a request and gradio.

- Only requests to the address that was bound pass, so that a foreign page whose name is made to point here
  (DNS rebinding) reads nothing; and only those of our own page, not of another one in the same browser.
- With a token only who has it passes: it comes once in the address and stays as a cookie.
- The browser is told to load nothing from elsewhere, whatever a page of gradio names.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import URL
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",  # the token stands in the first address
    "x-content-type-options": "nosniff",
}
ASK = """<!doctype html><html lang="en"><title>Token</title>
<meta name="viewport" content="width=device-width">
<body style="font-family: sans-serif; max-width: 30em; margin: 3em auto; padding: 0 1em"><form>
<p>This page needs the token that <code>safediffusion ui</code> printed when it was started.</p>
<label>Token <input name="token" type="password" autofocus required></label> <button>Open</button>
</form></body></html>"""

Scope = dict[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


@dataclass(frozen=True)
class Guard:
    """An ASGI application around another one.

    Attributes:
        app: the inner one.
        token: that a browser has to know; None lets everyone in who reaches the address.
        hosts: names that the address may have; none accepts any, which is right only with a token.
    """

    app: App
    token: str | None = None
    hosts: tuple[str, ...] = ()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self.refusal(HTTPConnection(scope))

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        await (refusal or self.app)(scope, receive, send_with_headers)

    def refusal(self, request: HTTPConnection) -> Response | None:
        """What answers a request that does not pass; None where it does."""
        host = request.url.hostname
        if self.hosts and host not in self.hosts:
            return Response("this page is served at another address", 403)
        origin = request.headers.get("origin")
        if origin and URL(origin).netloc != request.headers.get("host"):
            return Response("this request comes from another page", 403)
        if self.token is None or self.knows(request.cookies.get(self.cookie)):
            return None
        if self.knows(request.query_params.get("token")):
            answer = RedirectResponse(request.url.path, 303)
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return answer
        return HTMLResponse(ASK, 401)

    @property
    def cookie(self) -> str:
        """Its name; cookies know no port, and pages on several ports have tokens of their own."""
        return f"safediffusion-{hashlib.sha256(str(self.token).encode()).hexdigest()[:8]}"

    def knows(self, word: str | None) -> bool:
        """Whether a word is the token; the time that this takes says nothing about it."""
        return bool(word and self.token) and hmac.compare_digest(str(word).encode(), str(self.token).encode())
