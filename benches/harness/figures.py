"""What is measured: for each figure its contenders, its load, and the interleaved rounds.

Every figure starts its contenders afresh, so that none is measured with what another load has left it,
and while one is measured the others do nothing.
"""

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import time

from . import contenders
from . import load
from . import machine

ATTEMPTS = 4
IDLE_CONNECTIONS = 2000
# Well below what the slowest contender can do on one core.
FIXED_RATE = 4000
# Under the flood both cores have more to do than they can, and most of it is not proxying.
FLOODED_RATE = 2000
LOGINS = 400
TRACED_REQUESTS = 20_000
ROUTES = 10_000
SOURCES, FEW_SOURCES = 1_000_000, 1000
TOKENS = 100_000


@dataclasses.dataclass
class Figure:
    """One table of results: samples by contender, then by round, each a dict of what was measured."""

    key: str
    title: str
    # What the columns are called, with the digits shown of each.
    columns: dict
    samples: dict = dataclasses.field(default_factory=dict)
    foreign: float = 0.0

    def values(self, name, column):
        return [sample[column] for sample in self.samples[name]]

    def ratios(self, name, against, column):
        """Round by round: what slows the machine down for a while slows both."""
        pairs = zip(self.values(name, column), self.values(against, column))
        return [one / other for one, other in pairs]


class Run:
    """One run of the harness: the machine's part, the options, and the figures so far."""

    def __init__(self, binaries, folder, upstream, options):
        self.binaries, self.folder, self.upstream, self.options = binaries, folder, upstream, options

    @contextlib.contextmanager
    def ground(self, key, pinned=True):
        """A place for the contenders of one figure."""
        folder = self.folder / key
        folder.mkdir()
        core = machine.PROXY_CORE if pinned else None
        with contextlib.ExitStack() as cleanup:
            certs = folder / "certs"
            yield contenders.Ground(self.binaries, folder, cleanup, self.upstream, certs, core)

    def rounds(self, figure, proxies, measure, rounds=None):
        """A B C, then C B A: what drifts drifts for all."""
        print(f"\n{figure.title}", flush=True)
        for proxy in proxies:
            proxy.prove()
        for proxy in proxies:
            measure(proxy)
            proxy.drain_log()
            figure.samples[proxy.name] = []
        for index in range(rounds or self.options.rounds):
            for proxy in proxies if index % 2 == 0 else reversed(proxies):
                sample, foreign = self.calm(proxy, measure)
                figure.samples[proxy.name].append(sample)
                figure.foreign = max(figure.foreign, foreign)
        for proxy in proxies:
            proxy.prove_logged()
        return figure

    def calm(self, proxy, measure):
        """The calmest of a few attempts; one is enough on a machine that does nothing else."""
        attempts = []
        while not attempts or (
            attempts[-1][1] > machine.FOREIGN_MAX and len(attempts) < ATTEMPTS and not self.options.quick
        ):
            if not self.options.quick:
                machine.wait_for_calm()
            attempts.append(self.observe(proxy, measure))
            sample, foreign = attempts[-1]
            told = ", ".join(f"{column} {value:.2f}" for column, value in sample.items())
            print(f"  {proxy.name:32} {told}; others {foreign:.0%}", flush=True)
            proxy.drain_log()
        return min(attempts, key=lambda attempt: attempt[1])

    def observe(self, proxy, measure):
        """A sample, and the share of both cores that neither it nor its load has used."""
        def clock():
            times = os.times()
            ours = times.user + times.system + times.children_user + times.children_system
            ours += proxy.server.cpu_seconds() + self.upstream.cpu_seconds()
            return machine.busy_seconds() - ours, time.monotonic()
        before = clock()
        sample = measure(proxy)
        foreign, elapsed = (now - then for now, then in zip(clock(), before))
        return sample, max(0.0, foreign / (2 * elapsed))


def of_cpu(proxy, work):
    """CPU microseconds of the proxy for each answer, and answers per second."""
    before = proxy.server.cpu_seconds()
    answers, rate = work()
    return {"µs": (proxy.server.cpu_seconds() - before) / answers * 1e6, "per s": rate}


CPU = {"µs": 1, "per s": 0}


def yardsticks(ground, assertions=("session",), hs256=False, threads=1):
    """The gateway, and everybody else."""
    gateways = [
        contenders.Gateway.start(ground, f'Portcullis, assertion "{mode}"', assertion=mode, threads=threads)
        for mode in assertions
    ]
    token = gateways[0].token
    others = [contenders.HaProxy.start(ground, gateways[0], threads=threads)]
    if hs256:
        others.append(contenders.HaProxy.start(ground, gateways[0], "HS256", threads=threads))
    others.append(contenders.Nginx.start(ground, token, threads=threads))
    return [contenders.Bare.start(ground, token, threads=threads), *gateways, *others]


def http1(run):
    with run.ground("h1") as ground:
        proxies = yardsticks(ground, ("session", "off", "request"), hs256=True)
        return run.rounds(
            Figure("h1", "CPU per request, HTTP/1.1, 64 connections", CPU), proxies,
            lambda proxy: of_cpu(proxy, lambda: load.wrk(proxy, run.options.seconds)),
        )


def http2(run):
    with run.ground("h2") as ground:
        proxies = yardsticks(ground, ("session", "off", "request"), hs256=True)
        return run.rounds(
            Figure("h2", "CPU per request, HTTP/2, 16 connections of 32 streams", CPU), proxies,
            lambda proxy: of_cpu(proxy, lambda: load.h2load(proxy, run.options.seconds)),
        )


def handshake(run):
    def measure(proxy):
        def work():
            told = load.own(proxy, ["handshakes"], run.options.seconds, 16)
            return told["requests"], told["requests"] / run.options.seconds
        return of_cpu(proxy, work)
    with run.ground("handshake") as ground:
        figure = Figure("handshake", "CPU per full handshake and its first request", CPU)
        return run.rounds(figure, yardsticks(ground, hs256=True), measure)


def download(run):
    def measure(proxy):
        return of_cpu(proxy, lambda: load.wrk(proxy, run.options.seconds, 8, "/mebibyte"))
    with run.ground("download") as ground:
        figure = Figure("download", "CPU per MiB, downloads of 1 MiB, HTTP/1.1, 8 connections", CPU)
        return run.rounds(figure, yardsticks(ground), measure)


def shared(run):
    def measure(proxy):
        _, rate = load.wrk(proxy, run.options.seconds, pinned=False)
        return {"per s": rate}
    with run.ground("shared", pinned=False) as ground:
        title = "Requests per second, both cores shared with load and upstream, HTTP/1.1, 64 connections"
        return run.rounds(Figure("shared", title, {"per s": 0}), yardsticks(ground, threads=2), measure)


def idle(run):
    def measure(proxy):
        before = proxy.server.resident_kib()
        with load.idle_connections(proxy, IDLE_CONNECTIONS):
            return {"KiB": (proxy.server.resident_kib() - before) / IDLE_CONNECTIONS}
    figure = Figure("idle", f"Memory per idle TLS connection, of {IDLE_CONNECTIONS}", {"KiB": 1})
    print(f"\n{figure.title}", flush=True)
    # Each round with fresh processes: memory that was in use once would be used again.
    for index in range(1 if run.options.quick else 3):
        with run.ground(f"idle-{index}") as ground:
            for proxy in yardsticks(ground):
                proxy.prove()
                sample, _ = run.observe(proxy, measure)
                print(f"  {proxy.name:32} {sample['KiB']:.1f} KiB", flush=True)
                figure.samples.setdefault(proxy.name, []).append(sample)
    return figure


def system_calls(run):
    figure = Figure("calls", "System calls per request", {"h1": 2, "h2": 2})
    requests = TRACED_REQUESTS // (10 if run.options.quick else 1)
    print(f"\n{figure.title}", flush=True)
    with run.ground("calls") as ground:
        for proxy in yardsticks(ground):
            proxy.prove()
            load.h2load(proxy, requests=requests, connections=64, http1=True)
            sample = {
                "h1": traced(proxy, lambda: load.h2load(proxy, None, requests, 64, http1=True)),
                "h2": traced(proxy, lambda: load.h2load(proxy, None, requests)),
            }
            print(f"  {proxy.name:32} h1 {sample['h1']:.2f}, h2 {sample['h2']:.2f}", flush=True)
            figure.samples[proxy.name] = [sample]
    return figure


def traced(proxy, work):
    """System calls per answer while `work` asks."""
    told = proxy.ground.folder / "strace"
    pids = [f"--attach={pid}" for pid in proxy.server.pids()]
    command = ["strace", "--follow-forks", "--summary-only", f"--output={told}", *pids]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        # It says so for each process, and again with the threads it found there.
        for _ in pids:
            strace.stderr.readline()
        time.sleep(0.5)
        answers, _ = work()
        strace.send_signal(signal.SIGINT)
        strace.communicate()
    total = re.search(r"^100\.00 +\S+ +\S+ +(\d+) .*total$", told.read_text(), re.MULTILINE)
    return int(total[1]) / answers


def latency(run):
    def measure(proxy):
        told = load.own(proxy, ["rate", str(FIXED_RATE)], run.options.seconds, 64)
        return {"p50 µs": told["p50_us"], "p99 µs": told["p99_us"]}
    with run.ground("latency") as ground:
        title = f"Latency at {FIXED_RATE} requests per second, HTTP/1.1, 64 connections"
        figure = Figure("latency", title, {"p50 µs": 0, "p99 µs": 0})
        return run.rounds(figure, yardsticks(ground), measure)


def flood(run):
    def at_rate(proxy):
        return load.own(proxy, ["rate", str(FLOODED_RATE)], run.options.seconds, 64, pinned=False)["p99_us"]
    def measure(proxy):
        calm = at_rate(proxy)
        with load.login_flood(proxy, LOGINS, run.options.seconds) as seen:
            flooded = at_rate(proxy)
        refused = seen["statuses"].get("503", 0) / seen["requests"]
        if refused < 0.5:
            raise SystemExit(f"this was no flood: {seen['statuses']}")
        return {"p99 µs idle": calm, "p99 µs flooded": flooded, "ratio": flooded / calm, "refused": refused}
    with run.ground("flood", pinned=False) as ground:
        title = f"Latency at {FLOODED_RATE} requests per second while {LOGINS} logins per second arrive, both cores"
        columns = {"p99 µs idle": 0, "p99 µs flooded": 0, "ratio": 2, "refused": 2}
        proxies = [contenders.Gateway.start(ground, threads=2)]
        return run.rounds(Figure("flood", title, columns), proxies, measure)


def routes(run):
    with run.ground("routes") as ground:
        many = ROUTES // (10 if run.options.quick else 1)
        proxies = [
            contenders.Gateway.start(ground, "1 route"),
            contenders.Gateway.start(ground, f"{many} routes", routes=many),
        ]
        def measure(proxy):
            arguments = dict(script="routes.lua", arguments=[many])
            return of_cpu(proxy, lambda: load.wrk(proxy, run.options.seconds, **arguments))
        title = f"CPU per request with {many} routes, each request to another"
        return run.rounds(Figure("routes", title, CPU), proxies, measure)


def limiter_keys(run):
    many = SOURCES // (10 if run.options.quick else 1)
    # What is spent comes back a day later: no key is forgotten while this runs. A century is the most
    # that a burst may take, which is 36500 for each key and more than it meets here.
    told = dict(trusted='["127.0.0.0/8"]', per_address="1 per 24h burst 36500")
    with run.ground("keys") as ground:
        few, full = proxies = [
            contenders.Gateway.start(ground, f"{FEW_SOURCES} keys", **told),
            contenders.Gateway.start(ground, f"{many} keys", **told),
        ]
        few.sources, full.sources = FEW_SOURCES, many
        fill(full, many, lambda first: load.wrk(full, 5, script="sources.lua", arguments=[many, first]))
        def measure(proxy):
            arguments = dict(script="sources.lua", arguments=[proxy.sources])
            return of_cpu(proxy, lambda: load.wrk(proxy, run.options.seconds, **arguments))
        title = f"CPU per request with {many} keys in a limiter, each request from another"
        return run.rounds(Figure("keys", title, CPU), proxies, measure)


def tokens(run):
    many = TOKENS // (10 if run.options.quick else 1)
    title = f"CPU per request with {many} tokens, of as many sessions, each request with another"
    figure = Figure("tokens", title, CPU)
    with run.ground("tokens") as ground:
        proxies = []
        for mode in ("off", "session"):
            for count in (1, many):
                name = f'{count} token{"s" if count > 1 else ""}, assertion "{mode}"'
                proxy = contenders.Gateway.start(ground, name, assertion=mode)
                proxy.file, proxy.tokens = forged(proxy, many), count
                proxies.append(proxy)
                ask = [proxy.file, count]
                if count > 1:
                    fill(proxy, count, lambda first: load.wrk(proxy, 5, script="tokens.lua", arguments=[*ask, first]))
        def measure(proxy):
            arguments = dict(script="tokens.lua", arguments=[proxy.file, proxy.tokens])
            return of_cpu(proxy, lambda: load.wrk(proxy, run.options.seconds, **arguments))
        return run.rounds(figure, proxies, measure)


def forged(proxy, count):
    """A file of tokens that this gateway takes for its own."""
    file = proxy.config.with_name("tokens")
    command = [proxy.ground.binaries["bench_tokens"], str(proxy.config), proxy.token, str(count)]
    with open(file, "wb") as output:
        subprocess.run(command, stdout=output, check=True)
    return file


def fill(proxy, many, ask):
    """Asks in turn until each of so many was there once."""
    done = 0
    while done < many:
        done += ask(done)[0]
        proxy.drain_log()


FIGURES = {
    "h1": http1,
    "h2": http2,
    "handshake": handshake,
    "download": download,
    "shared": shared,
    "idle": idle,
    "calls": system_calls,
    "latency": latency,
    "flood": flood,
    "routes": routes,
    "keys": limiter_keys,
    "tokens": tokens,
}
