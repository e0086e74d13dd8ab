"""Reads a run's event files with TensorBoard and compares them with the run's metrics. Usage: RUN"""
import glob
import json
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

run = sys.argv[1]
metrics = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
for path in glob.glob(f"{run}/tensorboard/*"):
    # The loader stops at a wrong checksum, so the records must use up the file.
    records = list(RawEventFileLoader(path).Load())
    with open(path, "rb") as file:
        data = file.read()
    at = count = 0
    while at < len(data):
        at += 16 + struct.unpack("<Q", data[at : at + 8])[0]
        count += 1
    assert len(records) == count > 1, (path, len(records), count)

accumulator = EventAccumulator(f"{run}/tensorboard", size_guidance={"scalars": 0, "tensors": 0})
accumulator.Reload()
for kind, prefix in (("step", "train"), ("evaluation", "valid")):
    rows = [row for row in metrics if row["kind"] == kind]
    for name in rows[0]["values"]:
        want = [(row["step"], row["values"][name]) for row in rows if row["values"].get(name) is not None]
        got = [(event.step, event.value) for event in accumulator.Scalars(f"{prefix}/{name}")]
        assert [step for step, _ in got] == [row["step"] for row in rows], (name, got)
        values = dict(got)
        for step, value in want:
            assert abs(values[step] - value) <= 1e-6 * max(1, abs(value)), (name, step, value, values[step])
config = accumulator.Tensors("config")[-1].tensor_proto.string_val[0].decode()
assert "| groupSize | 8 |" in config, config
print(f"{len(accumulator.Tags()['scalars'])} scalars, {len(metrics)} records agree")
