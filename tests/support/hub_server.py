"""A hub of one's own: as much of the Hugging Face hub's protocol as downloads need.

In: models and data sets as folders. Out: a server on 127.0.0.1 (HF_ENDPOINT) that can drop
connections, be slow, and refuse; it remembers what it was asked.
"""

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.support.loopback_server import Handler, LoopbackServer

CHUNK = 64 * 1024


@dataclass
class Hub(LoopbackServer):
    """models: id -> folder, of data sets as well.

    drop: name of a file -> bytes after which its next download breaks off. pause: seconds between
    chunks. gated, private: ids. asked: (method, file, first byte).
    """

    models: dict[str, Path] = field(default_factory=dict)
    drop: dict[str, int] = field(default_factory=dict)
    pause: float = 0.0
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def handler(self):
        return _Handler

    def downloads(self) -> set[str]:
        """Names of files that were asked for."""
        return {name for method, name, _ in self.asked if method == "GET" and name}


class _Handler(Handler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer()

    def do_HEAD(self):
        self._answer()

    def _answer(self):
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        parts = parts[1:] if parts[0] == "datasets" else parts
        is_api = parts[:2] in (["api", "models"], ["api", "datasets"])
        repo_id = "/".join(parts[2:4] if is_api else parts[:2])
        if repo_id in self.hub.private:
            self._refuse(401, "RepoNotFound")
        elif repo_id not in self.hub.models:
            self._refuse(404, "RepoNotFound")
        elif is_api and parts[4:5] == ["tree"]:
            self._send(json.dumps(self._tree(repo_id)).encode())
        elif is_api:
            self._send(
                json.dumps({"id": repo_id, "sha": _commit(repo_id), "siblings": []}).encode()
            )
        elif repo_id in self.hub.gated:
            self._refuse(403, "GatedRepo")
        else:
            self._file(repo_id, "/".join(parts[4:]))

    def _refuse(self, status: int, code: str):
        self._send(b"{}", status, {"X-Error-Code": code, "X-Error-Message": code})

    def _tree(self, repo_id: str) -> list[dict]:
        folder = self.hub.models[repo_id]
        found = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            entry = {
                "type": "file",
                "path": str(path.relative_to(folder)),
                "size": len(content),
                "oid": hashlib.sha1(content).hexdigest(),
            }
            if path.suffix != ".json":
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
            found.append(entry)
        return found

    def _file(self, repo_id: str, name: str):
        content = (self.hub.models[repo_id] / name).read_bytes()
        asked = self.headers.get("Range", "")
        begin = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        self.hub.asked.append((self.command, name, begin))
        algorithm = hashlib.sha1 if name.endswith(".json") else hashlib.sha256
        headers = {
            "ETag": f'"{algorithm(content).hexdigest()}"',
            "X-Repo-Commit": _commit(repo_id),
            "Accept-Ranges": "bytes",
        }
        if asked:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._send(content[begin:], 206 if asked else 200, headers, name)

    def _send(self, content: bytes, status=200, headers=None, name=""):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        stop = self.hub.drop.pop(name, None)
        for begin in range(0, len(content), CHUNK):
            if stop is not None and begin >= stop:
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(content[begin : begin + CHUNK])
            if name and self.hub.pause:
                time.sleep(self.hub.pause)


def _commit(repo_id: str) -> str:
    return hashlib.sha1(repo_id.encode()).hexdigest()
