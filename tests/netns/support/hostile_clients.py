"""Hostile clients: `python hostile_clients.py NAME SOCKET` attacks until it is killed.

Each prints a line once the attack is at its full extent, and goes on.
"""

import itertools
import json
import os
import random
import socket
import sys
import time


def request(method, **params):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"


HELLO = request("hello", protocol=1)


def connected(path, *, greets=True):
    """Return a connection; with a greeting, its answer has been received."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)  # it waits while too many do
    client.settimeout(10)
    if greets:
        client.sendall(HELLO)
        client.recv(4096)
    return client


def thousand_connections(path):
    """A thousand connections at once, again and again."""
    for _ in rounds():
        crowd = [connected(path, greets=False) for _ in range(1000)]
        yield
        for client in crowd:
            client.close()


def thousand_greeted_connections(path):
    """A thousand connections that stay open as long as the server lets them."""
    crowd = []
    for number in rounds():
        crowd.append(connected(path))
        if number >= 1000:
            yield
            crowd.pop(0).close()


def octet_a_second(path):
    """Five hundred clients that send an octet a second."""
    crowd = [connected(path, greets=False) for _ in range(500)]
    for second in rounds():
        for place, client in enumerate(crowd):
            try:
                client.send(HELLO[second % 20 : second % 20 + 1])
            except OSError:
                crowd[place] = connected(path, greets=False)
        yield
        time.sleep(1)


def no_end_of_line(path):
    """100 MB without a newline, over one connection after the other as each is closed."""
    piece, sent = b"x" * (1 << 20), 0
    for number in rounds():
        client = connected(path, greets=number % 2 == 0)
        try:
            while True:
                sent += client.send(piece)
        except OSError:
            client.close()
        if sent >= 100_000_000:
            yield


def deep_nesting(path):
    """Lines of brackets as deep as a line is long, and of 10,000."""
    lines = [b"[" * 10_000, b'{"a":' * 3000, HELLO[:-2] + b', "x": ' + b"[" * 10_000]
    for number in rounds():
        client = connected(path)
        for _ in range(100):
            client.sendall(lines[number % len(lines)] + b"\n")
            assert b"error" in client.recv(4096)
        client.close()
        yield


def pipelined(path):
    """10,000 requests before the first answer is read."""
    requests = b"".join(request(method) for method in ("status", "list", "stats", "nothing") * 2500)
    for _ in rounds():
        client = connected(path)
        client.setblocking(False)
        answers, left = 0, memoryview(requests)
        while answers < 10_000:
            try:
                left = left[client.send(left) :] if left else left
            except BlockingIOError:
                pass
            try:
                answers += client.recv(1 << 20).count(b"\n")
            except BlockingIOError:
                time.sleep(0.001)
        client.close()
        yield


def never_reads(path):
    """Two hundred clients that request every document and read no answer."""
    requests = request("status") * 100 + request("reload.mark") * 100
    crowd = []
    for _ in rounds():
        client = connected(path)
        client.setblocking(False)
        try:
            client.send(requests)
        except BlockingIOError:
            pass
        crowd.append(client)
        if len(crowd) == 200:
            yield
            crowd.pop(0).close()


def trace_that_is_never_read(path):
    """Traces of the rule with all packets, started and never read."""
    crowd = []
    for _ in rounds():
        client = connected(path)
        client.sendall(request("trace.start", rule="feed"))
        assert b'"trace"' in client.recv(4096)
        client.sendall(request("trace.read", trace=1, packets=True) * 100)
        crowd.append(client)
        if len(crowd) == 20:
            yield
            crowd.pop(0).close()
            time.sleep(0.1)


def dies_in_the_middle(path):
    """Clients that disconnect within a request, an answer, and a trace."""
    beginnings = [
        HELLO[:20],
        HELLO,
        HELLO + request("status") * 50,
        HELLO + request("trace.start", rule="feed"),
    ]
    for number in rounds():
        client = connected(path, greets=False)
        client.sendall(beginnings[number % len(beginnings)])
        client.close()
        if number % 100 == 99:
            yield


def random_octets(path):
    """Random octets with a newline now and then, before and after a greeting."""
    noise = random.Random(7)
    for number in rounds():
        client = connected(path, greets=number % 2 == 0)
        client.settimeout(0.2)  # it is answered as long as it reads, and this one does not
        try:
            for _ in range(20):
                client.sendall(noise.randbytes(noise.randrange(1, 20_000)).replace(b"\0", b"\n"))
        except OSError:
            pass
        client.close()
        if number % 20 == 19:
            yield


def flood_of_marks(path):
    """Clients that request marks, which need the supervisor, as often as they can."""
    crowd = [connected(path) for _ in range(50)]
    for _ in rounds():
        for client in crowd:
            client.sendall(request("reload.mark"))
        for client in crowd:
            client.recv(4096)
        yield


def rounds():
    return itertools.count()


ATTACKS = {
    attack.__name__: attack
    for attack in (
        thousand_connections,
        thousand_greeted_connections,
        octet_a_second,
        no_end_of_line,
        deep_nesting,
        pipelined,
        never_reads,
        trace_that_is_never_read,
        dies_in_the_middle,
        random_octets,
        flood_of_marks,
    )
}

if __name__ == "__main__":
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    for _ in ATTACKS[sys.argv[1]](sys.argv[2]):
        os.write(1, b"done\n")
