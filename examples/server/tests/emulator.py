"""Google's emulator of Bigtable with a table, and servers' way to it, which a test can make slow."""

import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
from serving import PROGRAM

TOOL = pathlib.Path(PROGRAM).parent / "tests/bigtable/bigtable_emulator"
TABLE = {"project": "shop", "instance": "shop"}  # that TOOL makes


def find_emulator() -> str:
    """The program. Skips the test where there is none."""
    found = subprocess.run([TOOL], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no cbtemulator; Google's Cloud SDK has it, or STAMP_CBTEMULATOR names one")
    return found.stdout


class Emulator:
    """`within` is a command that starts it elsewhere, at `host`."""

    def __init__(self, host: str = "127.0.0.1", within: tuple[str, ...] = ()) -> None:
        self.command = [*within, find_emulator()]
        self.host, self.port = host, 0
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.begin()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def begin(self) -> None:
        """With an empty table."""
        self.process = subprocess.Popen(
            [*self.command, "-host", self.host, "-port", str(self.port)], stdout=subprocess.DEVNULL
        )
        subprocess.run([TOOL, self.address], check=True)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Proxy:
    """Passes bytes on to a port of this machine, each piece `delay` seconds late."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.to = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:  # it has ended
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                time.sleep(self.delay)
                sink.sendall(piece)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def end(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
