"""A hub of one's own that takes uploads: as much of the protocol as a new repository needs.

Out: a server on 127.0.0.1. It keeps what was committed, knows whether a repository is private, and
can refuse or break off. Files go by the hub's older protocol (LFS), not by its newer one (xet).
"""

import base64
import json
from dataclasses import dataclass, field

from tests.support.loopback_server import Handler, LoopbackServer

TOKEN = "hf_made_up"


@dataclass
class UploadHub(LoopbackServer):
    """repositories: id -> {file: content}. private: id -> whether. refuse: status of each write;
    break_off: no commit succeeds.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    refuse: int = 0
    break_off: bool = False
    cards: list[str] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)

    def handler(self):
        return _Handler


class _Handler(Handler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        repo_id = self.path.split("?")[0].removeprefix("/api/models/")
        if repo_id in self.hub.repositories:
            self._send(200, {"id": repo_id, "sha": "0" * 40, "siblings": []})
        else:
            self._send(404, {}, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self):
        body, parts = self._body(), self.path.split("?")[0].strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {})
        elif parts[-1] == "validate-yaml":
            self.hub.cards.append(json.loads(body)["content"])
            self._send(200, {"errors": [], "warnings": []})
        elif self.hub.refuse:
            self._send(self.hub.refuse, {})
        elif parts[-1] == "create":
            self._create(json.loads(body))
        elif "preupload" in parts:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._send(200, {"files": files})
        elif parts[-1] == "batch":
            found = [
                one | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._send(200, {"objects": found, "transfer": "basic"})
        elif "commit" in parts:
            self._commit("/".join(parts[2:4]), body)
        else:
            self._send(404, {})

    def do_PUT(self):
        self.hub.stored[self.path.rpartition("/")[2]] = self._body()
        self._send(200, {})

    def do_DELETE(self):
        asked = json.loads(self._body())
        del self.hub.repositories[f"{asked['organization']}/{asked['name']}"]
        self._send(200, {})

    def _create(self, asked: dict):
        repo_id = f"{asked['organization']}/{asked['name']}"
        self.hub.repositories[repo_id] = {}
        self.hub.private[repo_id] = asked.get("visibility") == "private"
        self._send(200, {"url": f"{self.hub.url}/{repo_id}", "name": repo_id})

    def _commit(self, repo_id: str, body: bytes):
        if self.hub.break_off:
            self._send(400, {"error": "broken off"})
            return
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                content = base64.b64decode(value["content"])
                self.hub.repositories[repo_id][value["path"]] = content
            elif entry["key"] == "lfsFile":
                self.hub.repositories[repo_id][value["path"]] = self.hub.stored[value["oid"]]
        url = f"{self.hub.url}/{repo_id}/commit/{'1' * 40}"
        self._send(200, {"commitUrl": url, "commitOid": "1" * 40, "success": True})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: dict, headers: dict | None = None):
        text = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
