"""An HTTP server on 127.0.0.1 that runs beside a test, for as long as a `with` block."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Handler(BaseHTTPRequestHandler):
    """Answers one client of `hub`, the LoopbackServer that it belongs to."""

    hub: Any

    def log_message(self, *_: Any) -> None:
        pass


class LoopbackServer:
    """url: where it serves."""

    url: str = ""

    def handler(self) -> type[Handler]:
        """The class that answers."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        bound = type("Bound", (self.handler(),), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
