import os
import subprocess
import sys

import pytest

from pipeline.cli.memory import HUGE_PAGES, TUNABLES, with_huge_pages


def test_what_the_user_says_of_large_pages_stands() -> None:
    assert with_huge_pages({TUNABLES: "glibc.malloc.hugetlb=0"}) is None
    assert with_huge_pages({TUNABLES: "glibc.malloc.perturb=7", "A": "b"}) == {
        TUNABLES: f"glibc.malloc.perturb=7:{HUGE_PAGES}",
        "A": "b",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
@pytest.mark.parametrize(("command", "expected"), [("run", HUGE_PAGES), ("step", HUGE_PAGES), ("show", "none")])
def test_a_command_that_trains_restarts_itself_once_with_its_arguments(command, expected, tmp_path) -> None:
    program = tmp_path / "tradewind"
    program.write_text(
        "import os, sys\n"
        "from pipeline.cli.memory import restart_with_huge_pages\n"
        "restart_with_huge_pages()\n"
        f"print(os.environ.get('{TUNABLES}', 'none'), sys.argv[1:], os.getpid())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != TUNABLES}
    process = subprocess.Popen(
        [sys.executable, str(program), command, "a b", "--set", "x=1"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert output.strip() == f"{expected} {[command, 'a b', '--set', 'x=1']} {process.pid}"
