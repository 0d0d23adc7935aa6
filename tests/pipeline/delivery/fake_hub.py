"""Of the Hugging Face Hub's API, what an upload uses: repositories, LFS objects, commits, tags."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass
class FakeHub:
    """What the hub holds. `failing`: how many of the next commits it refuses."""

    token: str
    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: list[dict] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    failing: int = 0

    def app(self) -> Starlette:
        model = "/api/models/{owner}/{name}"
        routes = [
            ("POST", "/api/repos/create", self.create),
            ("POST", "/api/validate-yaml", self.validate),
            ("GET", model + "/tree/main", self.tree),
            ("POST", model + "/preupload/main", self.preupload),
            ("POST", "/{owner}/{name}.git/info/lfs/objects/batch", self.batch),
            ("PUT", "/objects/{oid}", self.put),
            ("POST", model + "/commit/main", self.commit),
            ("POST", model + "/tag/{revision}", self.tag),
            ("GET", model + "/revision/main", self.revision),
        ]
        return Starlette(routes=[Route(path, self.guarded(end), methods=[method]) for method, path, end in routes])

    def guarded(self, end):
        async def answer(request: Request) -> Response:
            known = request.headers.get("authorization") == f"Bearer {self.token}"
            if not known and request.method != "PUT":  # objects have addresses that are secret themselves
                return JSONResponse({"error": "Invalid username or password."}, 401)
            return await end(request)

        return answer

    async def create(self, request: Request) -> Response:
        asked = await request.json()
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.private:
            return JSONResponse(
                {"error": "You already created this model repo", "url": str(request.base_url) + name}, 409
            )
        self.private[name] = asked.get("private", asked.get("visibility") == "private")
        self.files[".gitattributes"] = b"*.keras filter=lfs"
        return JSONResponse({"url": str(request.base_url) + name})

    async def validate(self, request: Request) -> Response:
        content = (await request.json())["content"]
        sound = content.startswith("---\n") and "\n---\n" in content
        return JSONResponse({"errors": [] if sound else [{"message": "no header"}], "warnings": []})

    async def tree(self, request: Request) -> Response:
        return JSONResponse(
            [
                {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
                for path, data in self.files.items()
            ]
        )

    async def preupload(self, request: Request) -> Response:
        files = (await request.json())["files"]
        return JSONResponse(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".keras") else "regular",
                        "shouldIgnore": False,
                        "oid": oid_of(file["path"], self.files[file["path"]]) if file["path"] in self.files else None,
                    }
                    for file in files
                ]
            }
        )

    async def batch(self, request: Request) -> Response:
        asked = (await request.json())["objects"]
        return JSONResponse(
            {
                "transfer": "basic",
                "objects": [
                    each
                    | (
                        {}
                        if each["oid"] in self.objects
                        else {"actions": {"upload": {"href": f"{request.base_url}objects/{each['oid']}"}}}
                    )
                    for each in asked
                ],
            }
        )

    async def put(self, request: Request) -> Response:
        self.objects[request.path_params["oid"]] = await request.body()
        return Response()

    async def commit(self, request: Request) -> Response:
        if self.failing:
            self.failing -= 1
            return JSONResponse({"error": "the disk of the hub is full"}, 413)
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
        oid = hashlib.sha1(str(len(self.commits)).encode(), usedforsecurity=False).hexdigest()
        self.commits.append({"oid": oid, "summary": lines[0]["value"]["summary"]})
        name = "{owner}/{name}".format(**request.path_params)
        return JSONResponse({"commitUrl": f"{request.base_url}{name}/commit/{oid}", "commitOid": oid, "success": True})

    async def tag(self, request: Request) -> Response:
        self.tags[(await request.json())["tag"]] = request.path_params["revision"]
        return JSONResponse({})

    async def revision(self, request: Request) -> Response:
        name = "{owner}/{name}".format(**request.path_params)
        return JSONResponse({"id": name, "sha": self.commits[-1]["oid"], "siblings": [], "private": True, "tags": []})


def oid_of(path: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if path.endswith(".keras") else git_oid(data)


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
