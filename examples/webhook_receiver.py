"""Take the end of a job as a signed call instead of asking for it; the call may come twice.

pip install httpx standardwebhooks
python examples/webhook_receiver.py http://127.0.0.1:8000

A service that is to call this machine's loopback needs SIGHTLINE_FETCH__ALLOW=127.0.0.1.
"""

import base64
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from standardwebhooks.webhooks import Webhook

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
handled: set[str] = set()
done = threading.Event()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        # Raises where the signature or its time is wrong: the connection breaks, and the call comes again.
        event = Webhook(SECRET).verify(body, dict(self.headers))
        self.send_response(204)
        self.end_headers()
        if self.headers["webhook-id"] not in handled:
            handled.add(self.headers["webhook-id"])
            print(event["type"], event["data"]["result"]["text"], flush=True)
            done.set()

    def log_message(self, *_: object) -> None:
        """The answers are what is to be read."""


with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook = {"url": f"http://127.0.0.1:{server.server_port}/", "secret": SECRET, "events": ["job.succeeded"]}
    body = {"model": "sightline/tiny", "input": {"prompt": "What is a webhook?"}, "webhook": hook}
    httpx.post(f"{sys.argv[1]}/v1/jobs", json=body, timeout=60).raise_for_status()
    done.wait(120)
    server.shutdown()
