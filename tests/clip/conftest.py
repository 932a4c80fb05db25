"""A stand-in for the Hugging Face hub."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from tests.samples import prefixed, tiny_clip


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Return the address of a stand-in for the hub with one repository, and the requests that it was sent."""
    file = tmp_path_factory.mktemp("hub") / "w.pt"
    torch.save({"state_dict": prefixed(tiny_clip(vocab_size=49408).state_dict())}, file)
    content, seen = file.read_bytes(), []

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            seen.append(f"{self.command} {self.path}")
            if not self.path.startswith("/hammh0a/DiffCLIP_ViTB16_CC12M/resolve/main/checkpoint_best.pt"):
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
