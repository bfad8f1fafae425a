"""The proxies, and the proof that each does its job before it is timed."""

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import http.client
import json
import ssl

from . import settings
from .servers import Server
from .servers import free_port

ACCOUNT = json.dumps({"username": "alice", "password": "correct horse battery staple"})
FORGED = {"X-Auth-User": "mallory"}


@dataclasses.dataclass
class Ground:
    """What all contenders of one run stand on."""

    binaries: dict
    folder: object
    cleanup: contextlib.ExitStack
    upstream: Server
    # The first gateway that starts makes the certificate that all of them show.
    certs: object
    # None where nothing is timed.
    core: str | None = None

    def home(self, name):
        """A folder for one process."""
        home = self.folder / name
        home.mkdir()
        return home


class Contender:
    """A proxy: how it is called, and what it has to prove."""

    token = None
    # Who the app is told is calling; None where the proxy tells nothing.
    who = None

    def __init__(self, ground, server, log=None):
        self.ground, self.server, self.log = ground, server, log
        self.tls = ssl.create_default_context(cafile=ground.certs / "ca.pem")
        self.requests = self.logged = 0
        # Load that ends by the clock leaves some unanswered: served and logged, or not.
        self.unanswered = 0

    def headers(self):
        """What a request has to carry."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

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

    def seen_by_the_app(self, name, headers):
        """The values of a header as the upstream received them."""
        status, told = self.call("GET", "/headers", headers)
        self.expect(200, status, "status of /headers")
        lines = [line.partition(": ") for line in told.splitlines()]
        return [value for got, _, value in lines if got == name]

    def prove(self):
        """One true header whatever was forged, and no way in with anything else than a good token."""
        good = self.headers()
        self.expect((200, "." * 100), self.call("GET", "/", good), "an answer")
        status, told = self.call("GET", "/mebibyte", good)
        self.expect((200, 1 << 20), (status, len(told)), "a large answer")
        if not self.who:
            return
        told = self.seen_by_the_app("x-auth-user", good | FORGED)
        self.expect([self.who], told, "a good token and a forged header")
        self.expect([], self.seen_by_the_app("authorization", good), "the token itself")
        bad = {
            "no token": {},
            "a bad signature": {"Authorization": f"Bearer {with_bad_signature(self.token)}"},
            "an unsigned token": {"Authorization": f"Bearer {unsigned(self.token)}"},
            "garbage": {"Authorization": "Bearer garbage"},
        }
        for what, headers in bad.items():
            self.expect(401, self.call("GET", "/headers", headers | FORGED)[0], what)

    def drain_log(self):
        """Counts the lines and lets them go, so that no disk fills; for when nothing is asked."""
        if self.log:
            with open(self.log, "r+b") as log:
                self.logged += sum(chunk.count(b"\n") for chunk in iter(lambda: log.read(1 << 20), b""))
                log.truncate(0)

    def prove_logged(self):
        """Stops the proxy, so that its last line is written, and compares."""
        self.server.stop()
        self.drain_log()
        most = 1.01 * self.requests + self.unanswered
        if self.log and not 0.99 * self.requests < self.logged < most:
            raise SystemExit(f"{self.name}: {self.logged} log lines for {self.requests} requests")


class Bare(Contender):
    """TLS and proxying, and nothing else. Its callers send a token as everybody's do."""

    name = "bare hyper proxy"

    @classmethod
    def start(cls, ground, token, threads=1, wrapper=()):
        files = [str(ground.certs / name) for name in ("localhost.pem", "localhost.key")]
        binary = ground.binaries["bare_proxy"]
        command = [*wrapper, binary, ground.upstream.address, *files, str(threads)]
        home = ground.home("bare")
        proxy = cls(ground, Server(command, home, ground.cleanup, ground.core))
        proxy.token = token
        return proxy


class Gateway(Contender):
    """The gateway; `**changes` are those of `settings.gateway`."""

    who = "alice"

    @classmethod
    def start(cls, ground, name="Portcullis", wrapper=(), **changes):
        home = ground.home(name.replace(" ", "-").replace('"', ""))
        file = home / "gateway.toml"
        file.write_text(settings.gateway(ground, **changes))
        command = [*wrapper, ground.binaries["portcullis"], "serve", "--config", str(file)]
        server = Server(command, home, ground.cleanup, ground.core)
        gateway = cls(ground, server, server.output)
        gateway.name, gateway.config = name, file
        gateway.asserts = changes.get("assertion") != "off"
        gateway.sign_in()
        return gateway

    def sign_in(self):
        as_json = {"Content-Type": "application/json"}
        status, _ = self.call("POST", "/auth/register", as_json, ACCOUNT)
        self.expect(201, status, "register")
        status, granted = self.call("POST", "/auth/login", as_json, ACCOUNT)
        self.expect(200, status, "login")
        self.token = json.loads(granted)["access_token"]

    def prove(self):
        super().prove()
        told = self.seen_by_the_app("x-auth-assertion", self.headers() | {"X-Auth-Assertion": "forged"})
        self.expect(self.asserts, bool(told) and told[0].count(".") == 2, "a signed assertion")

    def public_key(self):
        """What verifies its tokens, as PEM."""
        (key,) = json.loads(self.call("GET", "/.well-known/jwks.json")[1])["keys"][:1]
        point = b"\x04" + from_base64url(key["x"]) + from_base64url(key["y"])
        body = base64.b64encode(P256_KEY + point).decode()
        return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


class HaProxy(Contender):
    """HAProxy, which checks the gateway's own token, or one with the same claims under HS256."""

    @classmethod
    def start(cls, ground, gateway, algorithm="ES256", threads=1):
        home = ground.home(f"haproxy-{algorithm}")
        (home / "tls.pem").write_text("".join(
            (ground.certs / name).read_text() for name in ("localhost.pem", "localhost.key")
        ))
        (home / "key.pem").write_text(gateway.public_key())
        port, file = free_port(), home / "haproxy.cfg"
        file.write_text(settings.haproxy(ground, home, port, algorithm, threads))
        command = ["haproxy", "-db", "-f", str(file)]
        server = Server(command, home, ground.cleanup, ground.core, port)
        proxy = cls(ground, server, server.output)
        proxy.name = "HAProxy" if algorithm == "ES256" else "HAProxy, token under HS256"
        proxy.token = gateway.token if algorithm == "ES256" else under_hs256(gateway.token)
        proxy.who = json.loads(from_base64url(gateway.token.split(".")[1]))["sub"]
        return proxy


class Nginx(Contender):
    """nginx, which terminates TLS, counts and proxies, and does not look at the token."""

    name = "nginx, no token check"

    @classmethod
    def start(cls, ground, token, threads=1):
        home = ground.home("nginx")
        port, file, log = free_port(), home / "nginx.conf", home / "access.log"
        file.write_text(settings.nginx(ground, home, port, threads))
        command = ["nginx", "-p", str(home), "-e", str(home / "error.log"), "-c", str(file)]
        proxy = cls(ground, Server(command, home, ground.cleanup, ground.core, port), log)
        proxy.token = token
        return proxy


def under_hs256(token):
    """The same claims with the signature that costs least to check."""
    _, claims, _ = token.split(".")
    header = base64url(json.dumps({"alg": "HS256", "typ": "at+jwt"}).encode())
    tag = hmac.digest(settings.HS256_SECRET.encode(), f"{header}.{claims}".encode(), hashlib.sha256)
    return f"{header}.{claims}.{base64url(tag)}"


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


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# What stands before the point of a P-256 key (RFC 5480 §2).
P256_KEY = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
