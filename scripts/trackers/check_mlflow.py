"""Compares what an MLflow server has of a run with the run's metrics. Usage: RUN URL"""
import json
import re
import sys

from mlflow.tracking import MlflowClient

run_dir, url = sys.argv[1:]
client = MlflowClient(url)
experiment = client.get_experiment_by_name("rec-r1")
runs = client.search_runs([experiment.experiment_id])
assert len(runs) == 1, f"{len(runs)} runs: a resumed run should go on in its own"
run = runs[0]
assert run.info.status == "FINISHED", run.info.status
assert run.data.params["groupSize"] == "8", run.data.params
metrics = [json.loads(line) for line in open(f"{run_dir}/metrics.jsonl")]
for kind, prefix in (("step", "train"), ("evaluation", "valid")):
    rows = [row for row in metrics if row["kind"] == kind]
    for name in rows[0]["values"]:
        want = [(row["step"], row["values"][name]) for row in rows if row["values"].get(name) is not None]
        key = re.sub(r"[^\w\-. :/]", "_", f"{prefix}/{name}")
        got = sorted({(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)})
        assert [step for step, _ in got] == [step for step, _ in want], (key, got, want)
        for (_, a), (_, b) in zip(got, want):
            assert abs(a - b) <= 1e-9 * max(1, abs(b)), (key, a, b)
print(f"{len(run.data.params)} parameters and {len(run.data.metrics)} metrics agree")
