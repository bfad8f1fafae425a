"""The proxies, their configuration, and the proof that each does its job before it is timed."""

import base64
import contextlib
import dataclasses
import http.client
import json
import ssl

from .servers import Server

GATEWAY = """\
[gateway]
public_url = "https://localhost"
threads = {threads}
[[listeners]]
address = "127.0.0.1:0"
[[certificates]]
cert = "{certs}/localhost.pem"
key = "{certs}/localhost.key"
[store]
url = "sqlite:portcullis.db"
[tokens]
access_ttl = "1h"
[accounts]
registration = "open"
[limits]                                     # counted, and never reached
per_address = "60000000 per minute"
per_user = "60000000 per minute"
[identity]
assertion = "{assertion}"
[log]
format = "json"
[upstreams.bench]
targets = ["http://{upstream}"]
connections = 1024
[routes.bench]
path = "/"
upstream = "bench"
auth = "{auth}"
"""

ACCOUNT = json.dumps({"username": "alice", "password": "correct horse battery staple"})
FORGED = {"X-Auth-User": "mallory"}


@dataclasses.dataclass
class Ground:
    """What all contenders of one run stand on."""

    binaries: dict
    folder: object
    cleanup: contextlib.ExitStack
    upstream: Server
    # The first gateway makes the certificate that all of them show.
    certs: object


class Contender:
    """A proxy: how it is started, what it has to prove, and how it is called."""

    token = None

    def __init__(self, name, ground, server):
        self.name, self.server, self.ground = name, server, ground
        self.tls = ssl.create_default_context(cafile=ground.certs / "ca.pem")
        self.requests = 0

    def call(self, method, path, headers=None, body=None):
        address = self.server.address
        connection = http.client.HTTPSConnection(address, context=self.tls, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            self.requests += 1
            return response.status, response.read().decode()

    def expect(self, wanted, got, what):
        if wanted != got:
            raise SystemExit(f"{self.name}: {what}: {got!r} instead of {wanted!r}")

    def headers(self):
        """What a request has to carry."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def seen_by_the_app(self, name, headers):
        """The values of a header as the upstream received them."""
        status, told = self.call("GET", "/headers", headers)
        self.expect(200, status, "status of /headers")
        lines = [line.partition(": ") for line in told.splitlines()]
        return [value for got, _, value in lines if got == name]

    def prove(self):
        self.expect((200, "." * 100), self.call("GET", "/", self.headers()), "an answer")

    def prove_guard(self, who):
        """One true header whatever was forged, and no way in with anything else than a good token."""
        good = self.headers()
        told = self.seen_by_the_app("x-auth-user", good | FORGED)
        self.expect([who], told, "a good token and a forged header")
        self.expect([], self.seen_by_the_app("authorization", good), "the token itself")
        bad = {
            "no token": {},
            "a bad signature": {"Authorization": f"Bearer {with_bad_signature(self.token)}"},
            "an unsigned token": {"Authorization": f"Bearer {unsigned(self.token)}"},
            "garbage": {"Authorization": "Bearer garbage"},
        }
        for what, headers in bad.items():
            self.expect(401, self.call("GET", "/headers", headers | FORGED)[0], what)


class Bare(Contender):
    """TLS and proxying, and nothing else."""

    @classmethod
    def start(cls, ground, core=None, threads=1, wrapper=()):
        files = [str(ground.certs / name) for name in ("localhost.pem", "localhost.key")]
        binary = ground.binaries["bare_proxy"]
        command = [*wrapper, binary, ground.upstream.address, *files, str(threads)]
        home = ground.folder / f"bare-{threads}"
        return cls("bare hyper proxy", ground, Server(command, home, ground.cleanup, core))


class Gateway(Contender):
    """The gateway, with or without a guard."""

    @classmethod
    def start(cls, ground, core=None, assertion="session", auth="required", threads=1, wrapper=()):
        home = ground.folder / f"gateway-{auth}-{assertion}-{threads}"
        home.mkdir()
        file = home / "gateway.toml"
        file.write_text(GATEWAY.format(
            upstream=ground.upstream.address, certs=ground.certs,
            auth=auth, assertion=assertion, threads=threads,
        ))
        command = [*wrapper, ground.binaries["portcullis"], "serve", "--config", str(file)]
        name = f'Portcullis, assertion "{assertion}"' if auth == "required" else "Portcullis, no auth"
        gateway = cls(name, ground, Server(command, home, ground.cleanup, core))
        gateway.guarded = auth == "required"
        return gateway

    def sign_in(self):
        as_json = {"Content-Type": "application/json"}
        status, _ = self.call("POST", "/auth/register", as_json, ACCOUNT)
        self.expect(201, status, "register")
        status, granted = self.call("POST", "/auth/login", as_json, ACCOUNT)
        self.expect(200, status, "login")
        self.token = json.loads(granted)["access_token"]

    def prove(self):
        if self.guarded:
            self.sign_in()
            self.prove_guard("alice")
        else:
            self.expect([], self.seen_by_the_app("x-auth-user", FORGED), "a forged header")
        super().prove()


def with_bad_signature(token):
    """Changes a character in the middle of the signature: at the end, some bits mean nothing."""
    middle = (token.rindex(".") + len(token)) // 2
    return token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1:]


def unsigned(token):
    """The same claims under `alg: none`."""
    _, claims, _ = token.split(".")
    return f"{base64url(json.dumps({'alg': 'none', 'typ': 'at+jwt'}).encode())}.{claims}."


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
