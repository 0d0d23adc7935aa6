"""One process of a training that was launched: `python -m pipeline.cluster.member STEP --run RUN`.

Its place comes from the environment. Exit status 0: done; 75: interrupted, the same command goes on; 1: an error, which
stands on the standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import traceback

from pipeline.cluster.crew import Crew, follow
from pipeline.cluster.place import end_now, find_place
from pipeline.cluster.relay import LineDisplay, LineProgress, tell_failure
from pipeline.config import Settings
from pipeline.errors import Interrupted, TradewindError
from pipeline.flow import Flow

INTERRUPTED = 75
ORPHAN_SECONDS = 120.0  # to save, once the launcher is gone


def main() -> None:
    """Take part in one step of a recorded run."""
    parser = argparse.ArgumentParser(prog="tradewind member")
    parser.add_argument("step")
    parser.add_argument("--run", required=True)
    parser.add_argument("--task")
    parser.add_argument("--trial", type=int)
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    end_after_launcher()
    try:
        _take_part(given.step, given.run, given.task, given.again, given.trial)
    except TradewindError as error:
        sys.stderr.write(f"{error}\n")
        tell_failure(error)
        end_now(INTERRUPTED if isinstance(error, Interrupted) else 1)
    except BaseException as error:
        traceback.print_exception(error)
        end_now(1)


def end_after_launcher(patience: float = ORPHAN_SECONDS) -> None:
    """End this process some time after the one that started it has gone, whatever it hangs in.

    SIGTERM has asked it to save by then. If it hung for ever, the next try would wait for ever for its lock.
    """
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        time.sleep(patience)
        end_now(INTERRUPTED)

    threading.Thread(target=watch, name="launcher", daemon=True).start()


def _take_part(step: str, run: str, task: str | None, again: bool, trial: int | None) -> None:
    flow, place = Flow.resume(run, Settings()), find_place(os.environ)
    flow.launched = True
    if place is None:  # the only one
        flow.step(step, task, LineDisplay(), again, trial=trial)
        return
    if place.process_id:
        follow(place, flow.recipe)
        return
    flow.crew = Crew(place, flow.recipe, LineProgress().say)
    try:
        flow.step(step, task, LineDisplay(), again, trial=trial)
    finally:
        flow.crew.close()


if __name__ == "__main__":
    main()
