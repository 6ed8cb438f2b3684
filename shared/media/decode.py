"""The child process that decodes files: untrusted bytes in on one socket, what is in them out.

Run as `python -m shared.media.decode MODULE LIMIT_S MEMORY_MB` with a socket as standard input, by
`decoder_process`. The module decodes one kind of file, and imports all that it needs before memory is
limited. The process holds no secrets, may be killed at any moment, and ends when its parent's end of the
socket closes.
"""

import sys
from importlib import import_module

from shared.media.decoder_protocol import serve

if __name__ == "__main__":
    module, limit_s, memory_mb = sys.argv[1:]
    serve(import_module(module).answer, float(limit_s), int(memory_mb))
