"""A judge on loopback that misbehaves as the response in its prompt says."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JudgeServer(ThreadingHTTPServer):
    """asked: how often each prompt came. stalls: ends what waits when it is set.

    A response that holds "500" fails always, "flaky" fails at first, "stall" gets no answer,
    "drip" one byte at a time, "nonsense" no JSON, "empty" a completion without choices, "refuse" a
    refusal, "maybe" neither choice; else the reply is yes where the response holds "right".
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.stalls = threading.Event()
        self.lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        with self.server.lock:
            self.server.asked[prompt] += 1
            times = self.server.asked[prompt]
            self.server.bodies.append(body | {"key": self.headers.get("Authorization")})
        if "500" in prompt or ("flaky" in prompt and times == 1):
            self.send_error(500)
        elif "stall" in prompt:
            self.server.stalls.wait()
        elif "drip" in prompt:
            self._drip()
        elif "nonsense" in prompt:
            self._answer(b"<html>busy</html>")
        elif "empty" in prompt:
            self._answer(json.dumps({"choices": []}).encode())
        else:
            self._reply(prompt)

    def _reply(self, prompt: str) -> None:
        message: dict[str, Any] = {"content": "No, it is not. Yes." if "right" in prompt else "no"}
        if "refuse" in prompt:
            message = {"content": None, "refusal": "I would rather not."}
        elif "maybe" in prompt:
            message = {"content": "Who knows? <think>yes</think>"}
        self._answer(json.dumps({"choices": [{"message": message}]}).encode())

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server.stalls.is_set():
            try:
                self.wfile.write(b" ")
                self.wfile.flush()
            except OSError:
                return
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        """Nothing: tests count."""


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    """A server, ended afterwards."""
    server = JudgeServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.stalls.set()
        server.shutdown()
        server.server_close()
