"""Writes quantized-blocks.json: random blocks of every GGUF type, and what the Python package `gguf` makes of them.

    pip install gguf && python quantized-blocks.py
"""

import base64
import json
import pathlib

import gguf
import numpy as np

NAMES = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K".split()
# Where the half-precision scales of a block lie: random bytes there could be infinite.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}

random = np.random.default_rng(20250324)
cases = []
for name in NAMES:
    kind = gguf.GGMLQuantizationType[name]
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    if name in SCALES:
        count = 3
        blocks = random.integers(0, 256, (count, block_bytes), dtype=np.uint8)
        for at in SCALES[name]:
            # One ordinary, one negative and one subnormal scale.
            scales = np.array([random.uniform(1e-3, 1e-1), -random.uniform(1e-3, 1e-1), 3e-7], dtype=np.float16)
            blocks[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
    else:
        values = np.concatenate([random.normal(size=30), [0.0, -0.0, 6e-8, 65504, -65504, 1e-5, 1 / 3, -2.5]])
        if name == "F16":
            blocks = values.astype(np.float16).view(np.uint8)
        else:
            blocks = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    out = gguf.quants.dequantize(blocks.reshape(1, -1), kind).astype("<f4").reshape(-1)
    assert np.isfinite(out).all() and out.size * block_bytes == blocks.size * block_size
    cases.append({
        "type": name,
        "ggmlType": int(kind),
        "blocks": base64.b64encode(blocks.tobytes()).decode(),
        "float32": base64.b64encode(out.tobytes()).decode(),
    })
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps({"computedWith": f"gguf {__import__('importlib.metadata').metadata.version('gguf')}", "cases": cases}, indent=1) + "\n")
