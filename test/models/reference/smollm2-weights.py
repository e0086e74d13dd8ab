"""Writes smollm2-weights.json: SHA-256 of some weights of SmolLM2-135M-Instruct, Q4_1, as float32 in Hugging Face's order.

    pip install gguf && python smollm2-weights.py SmolLM2-135M-Instruct.Q4_1.gguf
"""

import hashlib
import importlib.metadata
import json
import pathlib
import sys

import gguf
import numpy as np

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
HEADS = {"attn_q": 9, "attn_k": 3}

hashes = {}
for tensor in gguf.GGUFReader(sys.argv[1]).tensors:
    parts = tensor.name.removesuffix(".weight").split(".")
    if parts[0] == "blk" and parts[1] not in ("0", "29"):
        continue
    weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    if heads := HEADS.get(parts[-1]):
        rows, columns = weights.shape
        weights = weights.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    name = NAMES[parts[-1]] if len(parts) == 1 else f"model.layers.{parts[1]}.{NAMES[parts[-1]]}"
    hashes[f"{name}.weight"] = hashlib.sha256(np.ascontiguousarray(weights, dtype="<f4").tobytes()).hexdigest()
pathlib.Path(__file__).with_suffix(".json").write_text(
    json.dumps({"computedWith": f"gguf {importlib.metadata.version('gguf')}", "sha256": hashes}, indent=1) + "\n"
)
