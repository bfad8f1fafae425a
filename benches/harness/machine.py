"""Debian's tools, Cargo's binaries, and how busy the two cores are."""

import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROXY_CORE, LOAD_CORE = "0", "1"

# A sample is taken again when somebody else used more than this share of the two cores.
FOREIGN_MAX = 0.05

# Where Debian has what is called by these names.
PACKAGES = {
    "haproxy": "haproxy",
    "nginx": "nginx",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "strace": "strace",
    "openssl": "openssl",
    "valgrind": "valgrind",
}


def require_tools(*tools):
    """Installs what is missing."""
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("it takes two cores, one for the proxy and one for the load")
    # Debian keeps servers where only root looks for them.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [PACKAGES[tool] for tool in tools if shutil.which(tool) is None]
    if missing:
        sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
        quietly = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        subprocess.run([*quietly, "update"], check=True)
        install = ["install", "-y", "--no-install-recommends", *missing]
        subprocess.run([*quietly, *install], check=True)


def build(profile, examples):
    """The gateway and these examples, by name."""
    targets = [f"--example={example}" for example in examples]
    command = ["cargo", "build", "--locked", "--profile", profile, "--bin=portcullis", *targets]
    print("$", *command, flush=True)
    told = subprocess.run(
        [*command, "--message-format=json-render-diagnostics"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout
    messages = [json.loads(line) for line in told.splitlines()]
    return {
        message["target"]["name"]: message["executable"]
        for message in messages if message.get("executable")
    }


def busy_seconds():
    """What both cores have worked, for whomever."""
    ticks = 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        if line.startswith((f"cpu{PROXY_CORE} ", f"cpu{LOAD_CORE} ")):
            user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, line.split()[1:])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_for_calm():
    """Until the cores have been idle for a second, but not for ever."""
    for _ in range(60):
        before = busy_seconds()
        time.sleep(1)
        if (busy_seconds() - before) / 2 < FOREIGN_MAX:
            return


def describe():
    """The machine and the versions, in one line."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    kernel = re.match(r"[\d.]*\d", platform.release())
    return ", ".join([
        f"{os.cpu_count()} cores ({model[1].strip() if model else platform.machine()})",
        f"Linux {kernel[0]}",
        _version(["rustc", "--version"], r"rustc [\d.]+"),
    ])


def versions():
    """Those of the programs we are compared with and by."""
    return ", ".join([
        _version(["haproxy", "-v"], r"(HAProxy) version ([\d.]+)"),
        _version(["nginx", "-v"], r"(nginx)/([\d.]+)"),
        _version(["wrk", "-v"], r"(wrk) (?:debian/)?([\d.]+)"),
        _version(["h2load", "--version"], r"(h2load) nghttp2/([\d.]+)"),
    ])


def _version(command, pattern):
    told = subprocess.run(command, capture_output=True, text=True)
    found = re.search(pattern, told.stdout + told.stderr)
    return " ".join(found.groups() or [found[0]]) if found else command[0]
