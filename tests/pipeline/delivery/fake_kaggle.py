"""Of Kaggle's API, what an upload of a model uses: models, blobs, variations and their versions."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass
class FakeKaggle:
    """What Kaggle holds: versions of a variation, each file name -> content."""

    token: str
    models: dict[str, dict] = field(default_factory=dict)
    blobs: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    versions: list[dict[str, bytes]] = field(default_factory=list)
    bodies: list[dict] = field(default_factory=list)
    failing: int = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/v1/{service}/{call}", self.call, methods=["POST"]),
                Route("/blobs/{token}", self.put, methods=["PUT"]),
            ]
        )

    async def put(self, request: Request) -> Response:
        token = request.path_params["token"]
        self.blobs[token] = (self.blobs[token][0], await request.body())
        return Response()

    async def call(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({"code": 401, "message": "Unauthenticated"}, 401)
        asked, call = await request.json(), request.path_params["call"]
        return getattr(self, call)(asked, str(request.base_url))

    def GetModel(self, asked: dict, base: str) -> Response:  # noqa: N802 - Kaggle's name
        known = asked["modelSlug"] in self.models
        return JSONResponse(
            {"slug": asked["modelSlug"]} if known else {"code": 404, "message": "none"}, 200 if known else 404
        )

    def CreateModel(self, asked: dict, base: str) -> Response:  # noqa: N802
        self.models[asked["slug"]] = asked
        return JSONResponse({"id": 1, "url": "u"})

    def StartBlobUpload(self, asked: dict, base: str) -> Response:  # noqa: N802
        token = f"token-{len(self.blobs)}"
        self.blobs[token] = (asked["name"], b"")
        return JSONResponse({"token": token, "createUrl": f"{base}blobs/{token}"})

    def CreateModelInstance(self, asked: dict, base: str) -> Response:  # noqa: N802
        if self.failing:
            self.failing -= 1
            return JSONResponse({"error": "no room", "errorCode": 507})
        if self.versions:
            return JSONResponse({"error": "it exists", "errorCode": 409})
        return self.keep(asked["body"])

    def CreateModelInstanceVersion(self, asked: dict, base: str) -> Response:  # noqa: N802
        return self.keep(asked["body"])

    def keep(self, body: dict) -> Response:
        self.bodies.append(body)
        self.versions.append(self.named(body))
        return JSONResponse({"id": 1, "url": "u", "ref": "r"})

    def named(self, folder: dict, prefix: str = "") -> dict[str, bytes]:
        found = {}
        for file in folder.get("files", []):
            name, content = self.blobs[file["token"]]
            found[prefix + name] = content
        for inner in folder.get("directories", []):
            found |= self.named(inner, f"{prefix}{inner['name']}/")
        return found
