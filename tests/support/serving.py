"""An HTTP server on this machine, in the place of those who publish files."""

import threading
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Gives the files of a folder; `asked` is what it was asked for.

    With `cut` half of each file comes; with `stall` the other half, `halfway` set, when it is told to `go_on`.
    """

    def __init__(self, folder):
        self.folder = folder
        self.asked = []
        self.cut = False
        self.stall = False
        self.halfway = threading.Event()
        self.go_on = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, self, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))  # how often it looks for its end
        self.thread.start()

    def stop(self):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Handler(SimpleHTTPRequestHandler):
    """Gives files, or the first half of them."""

    def __init__(self, owner, *args, **options):
        self.owner = owner
        super().__init__(*args, **options)

    def copyfile(self, source, target):
        content = source.read()
        half = len(content) // 2
        target.write(content[:half])
        if self.owner.stall:
            target.flush()
            self.owner.halfway.set()
            self.owner.go_on.wait(60)
        if not self.owner.cut:
            with suppress(ConnectionError):  # who asked may be gone
                target.write(content[half:])

    def do_GET(self):
        self.owner.asked.append(self.path.strip("/"))
        super().do_GET()

    def log_message(self, *args):
        pass
