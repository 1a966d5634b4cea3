"""Find out whose request it is before anything of it is read or done."""

from functools import partial

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from turnstream.errors import ApiError, StoreUnavailableError
from turnstream.keys import Caller
from turnstream_gateway.failures import unavailable
from turnstream_gateway.keyring import Keyring

OPEN_PATHS = {"/v1/health", "/v1/version"}  # for probes, which have no key


class Authentication:
    """ASGI middleware that puts into a request's state who it comes from, and how to hear of its key's end."""

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401, or with 503 while the keys cannot be read."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                state, bearer = scope.setdefault("state", {}), _bearer(scope)
                state["caller"] = await self._caller(bearer)
                state["key_in_use"] = partial(self._keyring.in_use, bearer)
            except ApiError as error:
                await JSONResponse(error.body(), error.status, error.headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _caller(self, bearer: bytes | None) -> Caller:
        try:
            return await self._keyring.caller(bearer)
        except StoreUnavailableError as error:
            raise unavailable(error) from error


def _bearer(scope: Scope) -> bytes | None:
    scheme, _, bearer = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
    return bearer.strip() if scheme.lower() == b"bearer" else None
