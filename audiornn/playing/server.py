"""The web server of `audiornn play`."""

import gc
import ipaddress
import os
import socket
import sys
import webbrowser
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import uvicorn
from pydantic import ConfigDict, Field
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from audiornn.common.errors import AudioRNNError
from audiornn.common.validation import Section, validate
from audiornn.generation.prompts import MAX_UPLOADED_SECONDS
from audiornn.naming import slug
from audiornn.playing.choices import Choices
from audiornn.playing.listener import Listener
from audiornn.playing.service import Service
from audiornn.playing.takes import AUDIO

PAGE = Path(__file__).parent / "page"
MAX_UPLOAD = 32 << 20  # bytes of a prompt
MAX_MESSAGE = 16 << 10  # bytes of a message over the socket
POLICY = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class SameOrigin:
    """Refuse requests that other web sites make through a visitor's browser.

    The Host must be an IP address or a known name, as a foreign name may be made to point here (DNS rebinding). The
    Origin, which browsers send with every WebSocket and every upload, must be the server itself.

    Parameters
    ----------
    app
        What is guarded.
    names
        Further names of this server, beside addresses and localhost.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str] = frozenset()) -> None:
        self._app, self._names = app, names | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        needed = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        own = origin == f"http://{host}" if origin or needed else True
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope.get("path") != "/"
        if self._knows(host) and own and not foreign:
            await self._app(scope, receive, _with_policy(send, host))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await JSONResponse({"error": "requests of other web sites are refused"}, 403)(scope, receive, send)

    def _knows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def _with_policy(send: Send, host: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(POLICY)
            # older browsers do not count the WebSocket of a page as its own
            headers["content-security-policy"] += f"; connect-src 'self' ws://{host}"
        await send(message)

    return sending


class PromptRequest(Section):
    """The passage of an uploaded file, as the text of a query."""

    model_config = ConfigDict(strict=False)

    offset: Annotated[float, Field(ge=0, le=MAX_UPLOADED_SECONDS)] = 0.0
    seconds: Annotated[float, Field(gt=0, le=4)] = 0.5


def application(service: Service, names: frozenset[str] = frozenset()) -> Starlette:
    """The ASGI application; `names` as for `SameOrigin`."""
    listeners: dict[str, Listener] = {}

    async def models(request: Request) -> Response:
        choices = await service.run(service.choices.refresh)
        standings = [asdict(choice.standing) if choice.standing else {} for choice in choices]
        named = [{"id": choice.id, "title": choice.title} for choice in choices]
        return JSONResponse([name | standing for name, standing in zip(named, standings, strict=True)])

    async def prompt(request: Request) -> Response:
        listener = listeners.get(request.path_params["token"])
        if listener is None:
            raise AudioRNNError("no such listener: load the page again")
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > MAX_UPLOAD:
                raise AudioRNNError(f"the file is too large: a prompt may have {MAX_UPLOAD >> 20} MB")
        p = validate(PromptRequest, dict(request.query_params), "prompt")
        await listener.continue_file(bytes(content), p.offset, p.seconds)
        return JSONResponse({})

    async def take(request: Request) -> Response:
        name, form = request.query_params.get("name", ""), request.url.path.rpartition(".")[2]
        content = await service.run(service.take(request.path_params["key"]).named(name).encoded, form)
        file = f'attachment; filename="{slug(name or "take")}.{form}"'
        return Response(content, media_type=AUDIO.get(form, "application/json"), headers={"content-disposition": file})

    async def log(request: Request) -> Response:
        name = request.query_params.get("name", "")
        return JSONResponse({"run": await service.run(service.log, request.path_params["key"], name)})

    async def listen(connection: WebSocket) -> None:
        await connection.accept()
        listener = Listener(service, connection)
        listeners[listener.token] = listener
        try:
            await listener.run()
        except AudioRNNError as error:
            await connection.send_json({"closed": str(error)})
            await connection.close(1013)
        finally:
            del listeners[listener.token]

    async def explain(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    return Starlette(
        routes=[
            Route("/models", models),
            Route("/prompt/{token}", prompt, methods=["POST"]),
            *(Route(f"/takes/{{key}}.{form}", take, name=form) for form in (*AUDIO, "json")),
            Route("/takes/{key}/log", log, methods=["POST"]),
            WebSocketRoute("/listen", listen),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        middleware=[Middleware(SameOrigin, names=names)],
        exception_handlers={AudioRNNError: explain},
    )


def serve(choices: Choices, host: str, port: int, open_browser: bool) -> None:
    """Serve the page until interrupted.

    Raises
    ------
    AudioRNNError
        If there is no model, the first one cannot be played, or the address cannot be used.
    """
    service = Service(choices)
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise AudioRNNError(f"{host}:{port}: cannot be listened on: {error.strerror}: another --port?") from None
    with listening, closing(service):
        first = choices.refresh()[0]
        print(f"Loading {first.title} ...", flush=True)
        choices.load(first.source)
        gc.collect()
        gc.freeze()  # full collections of what TensorFlow and MLflow hold would stop the audio for 0.3 s
        if not ipaddress.ip_address(listening.getsockname()[0]).is_loopback:
            print(f"warning: everyone who reaches {host} can listen, and use this machine's processor", file=sys.stderr)
        shown = f"http://{host}:{listening.getsockname()[1]}/"
        print(f"Play: {shown}\nStop it with Ctrl-C.", flush=True)
        if open_browser and (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()):
            webbrowser.open(shown)
        web_server(application(service, frozenset({host.lower(), socket.gethostname().lower()}))).run([listening])


def web_server(app: ASGIApp) -> uvicorn.Server:
    """A server for the application, with bounded messages."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            lifespan="off",
            ws="wsproto",
            ws_max_size=MAX_MESSAGE,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
    )
