"""A process that listens, and what it costs."""

import pathlib
import re
import socket
import subprocess
import time


class Server:
    """One process, and those it starts. Its standard output is the access log."""

    def __init__(self, command, home, cleanup, core=None, port=None):
        """With `port` it is ready when it listens there; else when it says `listen http(s)://ADDRESS`."""
        self.output, self.errors = home / "stdout", home / "stderr"
        pinned = ["taskset", "-c", core, *command] if core else command
        # Appending, so that what was counted can be cut off while the process writes on.
        with open(self.output, "ab") as out, open(self.errors, "wb") as err:
            self.process = subprocess.Popen(
                pinned, cwd=home, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        cleanup.callback(self.stop)
        self.name = pathlib.Path(command[0]).name
        self.address = self._wait_until_listening(port)

    def _wait_until_listening(self, port):
        for _ in range(1200):
            if port and _accepts(port):
                return f"127.0.0.1:{port}"
            told = self.errors.read_text()
            if found := re.search(r"^listen +https?://(\S+)$", told, re.MULTILINE):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"{self.name} does not listen:\n{self.errors.read_text()}")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def pids(self):
        """The process and its children: nginx works in those."""
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [str(pid), *children]

    def cpu_seconds(self):
        """User and kernel time of all its threads."""
        nanoseconds = 0
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                nanoseconds += int(task.read_text().split()[0])
        return nanoseconds / 1e9

    def resident_kib(self):
        """What it holds in memory now."""
        kib = 0
        for pid in self.pids():
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            kib += int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1])
        return kib


def free_port():
    """One that nobody listens on, for servers that cannot tell which they were given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
