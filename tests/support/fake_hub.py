"""The part of the Hugging Face hub's HTTP API that creating, uploading and downloading a repository uses."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "x" * 30


class Hub(ThreadingHTTPServer):
    """The server; ``repositories`` maps a name to ``{"private": bool, "files": {path: content}}``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict] = {}
        self.messages: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._json(200, {"errors": [], "warnings": []})
        elif path.startswith("/api/models/") and "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in files
            ]
            self._json(200, {"files": modes})
        elif path.startswith("/api/models/") and "/commit/" in path:
            self._commit("/".join(path.split("/")[3:5]), body)
        else:
            self._json(404, {"error": f"no route {path}"})

    def _create(self, wanted: dict) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.server.repositories:
            self._json(409, {"error": "You already created this model repo", "url": self._of(name)})
            return
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.server.repositories[name] = {"private": bool(private), "files": {}}
        self._json(200, {"url": self._of(name), "name": name})

    def _of(self, name: str) -> str:
        return f"{self.server.url}/{name}"

    def _commit(self, name: str, body: bytes) -> None:
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "header":
                self.server.messages.append(entry["value"]["summary"])
            elif entry["key"] == "file":
                data = base64.b64decode(entry["value"]["content"])
                self.server.repositories[name]["files"][entry["value"]["path"]] = data
        sha = self._sha(name)
        self._json(
            200,
            {"success": True, "commitOid": sha, "commitUrl": f"{self._of(name)}/commit/{sha}"},
        )

    def _sha(self, name: str) -> str:
        files = self.server.repositories[name]["files"]
        return hashlib.sha1(b"".join(files[key] for key in sorted(files))).hexdigest()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if api else parts[:2])
        repository = self.server.repositories.get(name)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository["private"] and not allowed):
            self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif api and parts[4:5] == ["tree"]:
            files = repository["files"].items()
            self._json(
                200,
                [{"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
                 for path, data in files],
            )  # fmt: skip
        elif api:
            siblings = [{"rfilename": path} for path in repository["files"]]
            self._json(
                200,
                {"id": name, "private": repository["private"], "sha": self._sha(name),
                 "siblings": siblings, "tags": [], "downloads": 0, "likes": 0},
            )  # fmt: skip
        else:
            data = repository["files"]["/".join(parts[4:])]
            headers = {"X-Repo-Commit": self._sha(name), "ETag": f'"{_oid(data)}"'}
            self._send(200, data, headers)

    def _json(self, status: int, value: dict, headers: dict | None = None) -> None:
        self._send(status, json.dumps(value).encode(), headers or {})

    def _send(self, status: int, data: bytes, headers: dict) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_) -> None:
        pass


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def fake_hub() -> Iterator[Hub]:
    """Run a hub within the ``with`` block."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
