"""The HTTP interface of a server: routes, authorisation and error responses."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dramaeval.serving import bodies, responses
from dramaeval.serving.batching import BatchScorer, QueueFullError, StoppingError
from dramaeval.serving.body_limit import BodyLimit
from dramaeval.serving.clips import RequestError
from dramaeval.serving.intake import Intake, Item
from dramaeval.serving.metrics import MeasuredRequests, ServerMetrics
from dramaeval.serving.schemas import Body, CompareBody, RewardBody, ScoreBody


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The settings of the HTTP interface.

    Attributes:
        title: the title of the web page.
        max_mb: the largest size of a request, in MB of 10⁶ bytes.
        timeout_s: seconds in which the body of a request has to arrive, and in which it then has to be answered.
        token: the token that clients have to send; None for a server without authorisation.
    """

    title: str = "dramaeval"
    max_mb: float = 32
    timeout_s: float = 60
    token: str | None = None


class Server:
    """The routes of one judge.

    Args:
        scorer: scores the jobs; the application starts and stops it.
        intake: reads the items of requests.
        settings: the settings of the interface.
        metrics: counts the requests.
    """

    def __init__(
        self, scorer: BatchScorer, intake: Intake, settings: ServerSettings, metrics: ServerMetrics
    ) -> None:
        self.scorer, self.intake, self.settings, self.metrics = scorer, intake, settings, metrics
        self._open_requests = 0
        metrics.waiting.set_function(lambda: scorer.waiting_clips)

    async def results(self, items: Sequence[Item]) -> list[Any]:
        """Score items, and return the results of their jobs in order.

        Raises:
            RequestError: the items cannot be scored, or the time is over.
            QueueFullError, StoppingError: see `BatchScorer.submit`.
        """
        jobs = await run_in_threadpool(self.intake.jobs, items)
        self.scorer.submit(jobs)
        self.metrics.accepted.inc()
        futures = [asyncio.wrap_future(job.result) for job in jobs]
        try:
            return await asyncio.wait_for(asyncio.gather(*futures), self.settings.timeout_s)
        except TimeoutError:
            timeout = self.settings.timeout_s
            text = (
                f"No answer within {timeout:g} s (serve.timeout_s): the judge has too much to do."
            )
            raise RequestError([text], status=504) from None
        except ValueError as error:  # from `Judge.score`, such as markup of the model in a text
            raise RequestError([str(error)]) from None
        finally:
            for future in futures:
                future.cancel()

    async def score(self, request: Request) -> Any:
        """Score one clip or several on every dimension."""
        self.intake.require_single_clips()
        items, dimensions = await bodies.scored_items(request, self.intake.max_clips)
        keys = self.intake.chosen(dimensions)
        return responses.scores(self.intake, await self.results(items), keys)

    async def compare(self, request: Request) -> Any:
        """Compare the clips of one pair or several on every dimension."""
        items, dimensions = await bodies.compared_items(request, self.intake.max_clips)
        keys = self.intake.chosen(dimensions)
        return responses.comparisons(self.intake, await self.results(items), keys)

    async def reward(self, request: Request) -> Any:
        """Compute rewards from 0 to 1 for the training of another model, as `Judge.reward` does."""
        self.intake.require_single_clips()
        body, items = await bodies.rewarded_items(request, self.intake)
        responses.check_weights(self.intake, body)
        return responses.rewards_of(self.intake, body, await self.results(items))

    async def rubric(self) -> Any:
        """The dimensions, the texts that the judge needs, and the limits of this server."""
        return responses.rubric(self.intake, self.settings)

    async def health(self) -> Any:
        """Whether the server runs."""
        return {"status": "ok"}

    async def figures(self) -> Response:
        """Figures in the text format of Prometheus."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def page(self) -> HTMLResponse:
        """A web page that scores and compares clips."""
        needs_token = self.settings.token is not None
        html, policy = responses.page(self.settings.title, needs_token=needs_token)
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    async def admit(self) -> AsyncIterator[None]:
        """Admit a request to the routes that score, before its body is read, until it is answered.

        Open requests are limited too, since a clip is in the queue only after its body was read and decoded.

        Raises:
            QueueFullError: the queue is full, or as many requests are open as clips can wait and be scored together.
            StoppingError: see `BatchScorer.submit`.
        """
        self.scorer.require_room(1)
        most = self.scorer.queue_clips + self.scorer.batch_clips
        if self._open_requests >= most:
            raise QueueFullError(
                f"{most} requests are open, and no more may be (serve.queue_clips + batch.eval_clips)."
            )
        self._open_requests += 1
        try:
            yield
        finally:
            self._open_requests -= 1

    async def authorise(self, request: Request) -> None:
        """Raise RequestError if a request does not have the server's bearer token."""
        expected = self.settings.token
        if expected is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        # Starlette decodes headers as Latin-1, in which the last byte of a letter such as à is white space.
        same = hmac.compare_digest(token.strip(" ").encode("latin-1"), expected.encode())
        if scheme.lower() != "bearer" or not same:
            text = "This server needs the header Authorization: Bearer TOKEN."
            raise RequestError([text], status=401)


def make_app(server: Server) -> FastAPI:
    """The ASGI application of a server; its lifespan starts and stops the scoring thread."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.scorer.start()
        yield
        await run_in_threadpool(server.scorer.stop)

    # FastAPI's own documentation pages load scripts from another server.
    app = FastAPI(title="dramaeval", lifespan=lifespan, docs_url=None, redoc_url=None)
    protected: dict[str, Any] = {"dependencies": [Depends(server.authorise)]}
    scoring: dict[str, Any] = {"dependencies": [Depends(server.authorise), Depends(server.admit)]}
    app.post("/v1/score", openapi_extra=_body(ScoreBody, ["file"]), **scoring)(server.score)
    app.post("/v1/compare", openapi_extra=_body(CompareBody, ["a", "b"]), **scoring)(server.compare)
    app.post("/v1/reward", openapi_extra=_body(RewardBody, []), **scoring)(server.reward)
    app.get("/v1/rubric", **protected)(server.rubric)
    app.get("/metrics", **protected)(server.figures)
    app.get("/healthz")(server.health)
    app.get("/", include_in_schema=False)(server.page)
    _add_error_responses(app)
    paths = frozenset(str(getattr(route, "path", "")) for route in app.routes)
    settings = server.settings
    app.add_middleware(
        BodyLimit, max_bytes=round(settings.max_mb * 1e6), timeout_s=settings.timeout_s
    )
    app.add_middleware(MeasuredRequests, metrics=server.metrics, paths=paths)
    return app


def _add_error_responses(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return _error(error.status, error.problems, headers)

    @app.exception_handler(QueueFullError)
    async def queue_full(request: Request, error: QueueFullError) -> JSONResponse:
        return _error(429, [f"{error} Try again later."], {"Retry-After": "1"})

    @app.exception_handler(StoppingError)
    async def stopping(request: Request, error: StoppingError) -> JSONResponse:
        return _error(503, [str(error)])

    @app.exception_handler(ClientDisconnect)
    async def disconnected(request: Request, error: ClientDisconnect) -> JSONResponse:
        return _error(499, ["The client ended the connection."])  # nginx's status, for the metrics

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return _error(500, ["The judge failed on this request; the server's log has the reason."])


def _error(status: int, problems: Sequence[str], headers: Any = None) -> JSONResponse:
    return JSONResponse({"detail": list(problems)}, status, headers=headers)


def _body(body: type[Body], files: Sequence[str]) -> dict[str, Any]:
    """OpenAPI's description of a request's body: JSON, and a form if the route accepts files."""
    content: dict[str, Any] = {"application/json": {"schema": _inlined(body)}}
    if files:
        binary = {"type": "string", "format": "binary"}
        many = files == ["file"]
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "required": list(files),
                "properties": {
                    name: {"type": "array", "items": binary} if many else binary for name in files
                },
                "additionalProperties": {
                    "type": "string",
                    "description": "a text of the task by its name, or dimensions, separated by commas",
                },
            }
        }
    return {"requestBody": {"required": True, "content": content}}


def _inlined(body: type[Body]) -> dict[str, Any]:
    """The JSON schema of a body, in which definitions replace references, since these do not work in OpenAPI's document."""
    schema = body.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(value) for value in node] if isinstance(node, list) else node

    return resolve(schema)
