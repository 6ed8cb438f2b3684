"""A server on a socket that answers everything with an empty 200."""

from http.server import BaseHTTPRequestHandler


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...
