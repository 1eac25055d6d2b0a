"""A fake daemon: it answers at a socket with what a test gives it."""

import json
import socket
import threading
from contextlib import contextmanager

GREETING = {
    "protocol": 1, "version": "0.1.0", "pid": 4710, "config": "/etc/mcrelay.yaml", "generation": 7,
    "methods": ["reload.mark", "reload.wait"],
}  # fmt: skip


def answer(request, methods):
    """Return the answer to one request: `methods` are results, errors, or functions of the parameters."""
    found = methods.get(request["method"], {"error": {"code": -32601, "message": "no such method"}})
    result = found(**request.get("params", {})) if callable(found) else found
    body = result if isinstance(result, dict) and "error" in result else {"result": result}
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], **body}) + "\n"


@contextmanager
def serve_answers(path, **methods):
    """Answer at `path` as long as the block lasts. A dot in a method's name is written `__`."""
    methods = {"hello": GREETING, **{name.replace("__", "."): result for name, result in methods.items()}}

    def serve(client):
        with client, client.makefile("rw") as lines:
            for line in lines:
                lines.write(answer(json.loads(line), methods))
                lines.flush()

    with serve_clients(path, serve):
        yield str(path)


@contextmanager
def serve_clients(path, serve):
    """Give each client that connects to `path` to `serve`, in a thread of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=_accept, args=(listener, serve), daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener, serve):
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the block is over
            return
        threading.Thread(target=_quietly, args=(serve, client), daemon=True).start()


def _quietly(serve, client):
    try:
        serve(client)
    except OSError:  # the client has gone
        pass
