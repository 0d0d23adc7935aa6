"""What parsing the DAG folder costs: processor time with 50 recipes. `python benchmarks/parse_dags.py [RECIPES]`.

Airflow's DAG processor has imported Airflow itself before it forks a process that parses; so that is not counted, and
everything that this project imports is. Each parse is in a fresh process; the median of seven is shown.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "icd10.yaml"
REPEATS = 7
# What a recipe of a team that uses everything has.
MORE = """
airflow: {schedule: "@daily", after: [tradewind://backbones/base], deadline_minutes: 600, notify: {to: [alerts]}}
monitor: {retrain: true}
"""
PARSE = """
import sys, time
import airflow.sdk, airflow.models, airflow.dag_processing.processor
from airflow.dag_processing.dagbag import DagBag
sys.path.insert(0, sys.argv[1])
started = time.process_time()
bag = DagBag(sys.argv[1])
spent = time.process_time() - started
assert not bag.import_errors, bag.import_errors
assert not any(dag.task_ids == ["explain"] for dag in bag.dags.values()), "broken recipes"
print(len(bag.dags), spent)
"""


def main(recipes: int) -> None:
    """Parse the folder again and again, and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        text = RECIPE.read_text()
        for number in range(recipes):
            named = text.replace("name: icd10\n", f"name: icd10-{number}\n")
            (Path(folder) / f"{number}.yaml").write_text(named + MORE)
        environment = os.environ | {"TRADEWIND_RECIPES": folder, "AIRFLOW_HOME": folder, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PARSE, str(ROOT / "dags")]
        seconds = []
        for _ in range(REPEATS):
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            dags, spent = ended.stdout.splitlines()[-1].split()
            seconds.append(float(spent))
    print(f"{recipes} recipes, {dags} DAGs: {statistics.median(seconds):.2f} s of processor time, median of {REPEATS}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
