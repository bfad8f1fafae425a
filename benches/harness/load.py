"""wrk, h2load and our own generator; every answer must be a 200, or the run fails."""

import contextlib
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import time

from . import machine

SCRIPTS = pathlib.Path(__file__).with_name("lua")

# What a client may offer: so do all contenders agree on the same.
OPENSSL = """\
openssl_conf = bench
[bench]
ssl_conf = clients
[clients]
system_default = one_way
[one_way]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""
AGREED = "TLSv1_3 TLS13_AES_128_GCM_SHA256 X25519 Full"


def wrk(contender, seconds, connections=64, path="/", pinned=True, script=None, arguments=()):
    """HTTP/1.1 with nothing but waiting between answer and request: answers, and answers per second."""
    command = [
        "wrk", f"--threads={1 if pinned else 2}", f"--connections={connections}",
        f"--duration={seconds}s", "--timeout=10s", *_headers(contender),
    ]
    if script:
        command.append(f"--script={SCRIPTS / script}")
    command += [f"https://{contender.server.address}{path}", "--", *map(str, arguments)]
    told = _run(command, pinned, contender)
    if "Non-2xx" in told or "Socket errors" in told:
        _refuse(contender, told)
    requests = int(re.search(r"(\d+) requests in", told)[1])
    contender.requests += requests
    contender.unanswered += connections
    return requests, float(re.search(r"Requests/sec: +([\d.]+)", told)[1])


def h2load(contender, seconds=None, requests=None, connections=16, streams=32, http1=False):
    """HTTP/2, or so many requests of HTTP/1.1: answers, and answers per second."""
    command = [
        "h2load", "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519",
        f"--clients={connections}", *_headers(contender),
        *(["--h1"] if http1 else [f"--max-concurrent-streams={streams}"]),
        f"--duration={seconds}" if seconds else f"--requests={requests}",
        f"https://{contender.server.address}/",
    ]
    told = _run(command, pinned=True, contender=contender)
    done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", told)
    answers, *bad = (int(done[1]), int(done[1]) - int(done[2]), *map(int, done.groups()[2:]))
    agreed = re.search(r"^TLS Protocol: (.*)\nCipher: (.*)\nServer Temp Key: (\S+)", told, re.MULTILINE)
    wanted = ("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519")
    if any(bad) or not answers or agreed.groups() != wanted:
        _refuse(contender, told)
    contender.requests += answers
    contender.unanswered += connections * streams if seconds else 0
    return answers, float(re.search(r"([\d.]+) req/s", told)[1])


def own(contender, mode, seconds, connections, pinned=True):
    """Handshakes, or requests at a fixed rate: what `bench_load` saw."""
    process = _own(contender, mode, seconds, connections, pinned, _headers(contender))
    told = json.loads(_finish(process, contender))
    if list(told["statuses"]) != ["200"] or list(told["agreed"]) != [AGREED]:
        _refuse(contender, told)
    contender.requests += told["requests"]
    return told


@contextlib.contextmanager
def login_flood(contender, rate, seconds):
    """Logins with a wrong password, at a rate that no answer can slow down, while the block runs."""
    body = json.dumps({"username": "alice", "password": "not the horse's battery"})
    arguments = ["--path=/auth/login", f"--body={body}"]
    # More connections than may wait for a hash: with fewer the flood would wait instead.
    process = _own(contender, ["rate", str(rate)], seconds + 2, rate, False, arguments)
    try:
        process.stderr.readline()
        time.sleep(1)
        seen = {}
        yield seen
    finally:
        seen.update(json.loads(_finish(process, contender)))
        contender.requests += seen["requests"]


@contextlib.contextmanager
def idle_connections(contender, count):
    """Connections over TLS that stay, each after one answered request."""
    host, port = contender.server.address.split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in contender.headers().items())
    request = f"GET / HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode()
    context = ssl.create_default_context(cafile=contender.ground.certs / "ca.pem")
    with contextlib.ExitStack() as opened:
        for _ in range(count):
            plain = socket.create_connection((host, int(port)))
            stream = opened.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            stream.sendall(request)
            answer = b""
            while not answer.endswith(b"." * 100):
                answer += stream.recv(4096)
            if not answer.startswith(b"HTTP/1.1 200"):
                _refuse(contender, answer)
            contender.requests += 1
        yield


def _own(contender, mode, seconds, connections, pinned, arguments):
    command = [
        contender.ground.binaries["bench_load"], f"--ca={contender.ground.certs / 'ca.pem'}",
        f"--connections={connections}", f"--seconds={seconds}", *arguments,
        contender.server.address, *mode,
    ]
    return subprocess.Popen(
        _pin(command, pinned), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _finish(process, contender):
    told, errors = process.communicate()
    if process.returncode:
        _refuse(contender, errors)
    return told


def _headers(contender):
    return [f"--header={name}: {value}" for name, value in contender.headers().items()]


def _pin(command, pinned):
    return ["taskset", "-c", machine.LOAD_CORE, *command] if pinned else command


def _run(command, pinned, contender):
    file = contender.ground.folder / "openssl.cnf"
    file.write_text(OPENSSL)
    done = subprocess.run(
        _pin(command, pinned), capture_output=True, text=True,
        env=os.environ | {"OPENSSL_CONF": str(file)},
    )
    if done.returncode:
        _refuse(contender, done.stdout + done.stderr)
    return done.stdout


def _refuse(contender, told):
    raise SystemExit(f"{contender.name}: not every request succeeded as it should:\n{told}")
