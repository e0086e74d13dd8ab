"""Writes trec-eval.json: judgments, a run with ties, and what trec_eval makes of them.

    pip install pytrec-eval-terrier && python trec-eval.py

The exponential measures are trec_eval's on gains of 2^gain - 1, which is how they are defined.
"""

import importlib.metadata
import json
import pathlib
import random

import pytrec_eval

CUTS = "1,5,10,50,100"
MEASURES = {f"{name}.{CUTS}" for name in ("ndcg_cut", "recall", "P", "map_cut")} | {
    "ndcg",
    "map",
    "recip_rank",
    "success.1,5,10",
}
rng = random.Random(20)
# Ids whose order differs by bytes and by letters, so that ties show which one counts.
ids = [f"{prefix}{n}" for prefix in ("d", "D", "é", "_", "d-") for n in range(24)]

qrels, run = {}, {}
for q in range(14):
    judged = rng.sample(ids, rng.choice([1, 3, 12, 40]))
    qrels[f"q{q}"] = {doc: rng.choice([0, 0, 1, 1, 2, 3]) for doc in judged}
    found = rng.sample(ids, rng.choice([1, 9, 60, 110]))
    # Few different scores, and some that are only different beyond 32 bits.
    run[f"q{q}"] = {doc: rng.choice([rng.randint(0, 4) / 2, 1 + rng.randint(0, 3) * 1e-9]) for doc in found}
qrels["nothing relevant"] = {ids[0]: 0}
run["nothing relevant"] = {ids[0]: 1.0, ids[1]: 1.0}
qrels["nothing found"] = {ids[0]: 1}
run["not judged"] = {ids[0]: 1.0}

per_query = pytrec_eval.RelevanceEvaluator(qrels, MEASURES).evaluate(run)
exponential = {q: {doc: 2**gain - 1 for doc, gain in docs.items()} for q, docs in qrels.items()}
for q, values in pytrec_eval.RelevanceEvaluator(exponential, {"ndcg", f"ndcg_cut.{CUTS}"}).evaluate(run).items():
    per_query[q] |= {name.replace("ndcg", "ndcg_exp"): value for name, value in values.items()}

pathlib.Path(__file__).with_suffix(".json").write_text(
    json.dumps(
        {
            "source": f"pytrec-eval-terrier {importlib.metadata.version('pytrec-eval-terrier')}",
            "qrels": qrels,
            "run": run,
            "perQuery": per_query,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    + "\n"
)
