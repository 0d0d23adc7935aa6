"""Two hosts with addresses of their own, as network namespaces: one dies, or the link between them is cut."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from notes_recipe import command, environment, prepared, weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
]


class Hosts:
    """Two network namespaces with one link."""

    def __init__(self) -> None:
        self.names = [f"tradewind{os.getpid()}{end}" for end in "ab"]
        self.addresses = ["10.77.0.1", "10.77.0.2"]

    def __enter__(self) -> "Hosts":
        for name, address in zip(self.names, self.addresses, strict=True):
            ip("netns", "add", name)
            hosts = Path("/etc/netns") / name / "hosts"  # seen as /etc/hosts by what runs there
            hosts.parent.mkdir(parents=True)
            hosts.write_text(f"127.0.0.1 localhost\n{address} {os.uname().nodename}\n")
        ip("link", "add", "tw0", "netns", self.names[0], "type", "veth", "peer", "tw0", "netns", self.names[1])
        for name, address in zip(self.names, self.addresses, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "tw0")
            ip("-n", name, "link", "set", "tw0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            for pid in ip("netns", "pids", name).split():
                os.kill(int(pid), signal.SIGKILL)
            ip("netns", "delete", name)
            shutil.rmtree(Path("/etc/netns") / name)

    def start(self, recipe: Path, workspace: Path) -> list[subprocess.Popen]:
        """Start a process of one training on each host."""
        shared = {"TRADEWIND_NUM_PROCESSES": "2", "TRADEWIND_COORDINATOR": f"{self.addresses[0]}:29400"}
        return [
            subprocess.Popen(
                ["ip", "netns", "exec", name, *command("step", "pretrain", str(recipe))],
                env=environment(workspace, TRADEWIND_PROCESS_ID=str(number), **shared),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number, name in enumerate(self.names)
        ]

    def kill(self, number: int) -> None:
        for pid in ip("netns", "pids", self.names[number]).split():
            os.kill(int(pid), signal.SIGKILL)

    def cut(self, seconds: float) -> None:
        ip("-n", self.names[1], "link", "set", "tw0", "down")
        time.sleep(seconds)
        ip("-n", self.names[1], "link", "set", "tw0", "up")


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts() as made:
        yield made


class Trained:
    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.folder = folder
        self.recipe, self.tokens = prepared(folder, "jax", steps=150)
        self.hosts = hosts
        self.workspace = self.new("undisturbed")
        assert end(hosts.start(self.recipe, self.workspace)) == [0, 0]

    def new(self, name: str) -> Path:
        return Path(shutil.copytree(self.tokens, self.folder / name))

    def start(self, name: str) -> tuple[Path, list[subprocess.Popen]]:
        """Return a workspace and the processes once they have saved a checkpoint."""
        workspace = self.new(name)
        processes = self.hosts.start(self.recipe, workspace)
        limit = time.monotonic() + 200
        while not list(workspace.glob("partial/pretrain/*/checkpoints/step-*")):
            assert [process.poll() for process in processes] == [None, None], [p.communicate() for p in processes]
            assert time.monotonic() < limit
            time.sleep(0.05)
        return workspace, processes

    def check(self, workspace: Path) -> None:
        expected, found = weights(self.workspace), weights(workspace)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def trained(hosts, tmp_path_factory) -> Trained:
    return Trained(hosts, tmp_path_factory.mktemp("hosts"))


def end(processes: list[subprocess.Popen], timeout: float = 300) -> list[int]:
    for process in processes:
        out, _ = process.communicate(timeout=timeout)
        sys.stdout.write(out)  # shown when the test fails
    return [process.returncode for process in processes]


def test_a_host_dies_and_the_job_ends_with_the_weights_of_an_undisturbed_one(trained) -> None:
    workspace, processes = trained.start("killed")
    trained.hosts.kill(1)
    assert end(processes, timeout=100)[0] == 75
    assert end(trained.hosts.start(trained.recipe, workspace)) == [0, 0]
    trained.check(workspace)


def test_a_link_that_is_cut_for_20_seconds_costs_20_seconds(trained) -> None:
    workspace, processes = trained.start("cut")
    trained.hosts.cut(20)
    assert end(processes) == [0, 0]
    trained.check(workspace)
