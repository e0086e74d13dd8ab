"""Loads exported weights in Transformers and PEFT and compares greedy tokens and log-probs with reference values.

    python check.py REFERENCE.json BASE_FOLDER ADAPTER_FOLDER MERGED_FOLDER
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

reference_path, base_folder, adapter_folder, merged_folder = sys.argv[1:]
with open(reference_path, encoding="utf-8") as file:
    reference = json.load(file)
torch.set_num_threads(reference["threads"])


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def compare(name, model):
    """Largest difference of the log-probs, and how many greedy completions are not the same tokens."""
    largest, different = 0.0, 0
    for entry in reference["entries"]:
        prompt = torch.tensor([entry["prompt"]])
        with torch.no_grad():
            made = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=reference["maxTokens"],
                do_sample=False,
                eos_token_id=reference["endIds"],
                pad_token_id=reference["endIds"][0],
            )[0, prompt.shape[1] :].tolist()
            row = torch.tensor([entry["prompt"] + entry["completion"]])
            logprobs = torch.log_softmax(model(row).logits[0].float(), dim=-1)
        different += made != entry["completion"]
        start = len(entry["prompt"]) - 1
        for i, (token, expected) in enumerate(zip(entry["completion"], entry["logprobs"])):
            largest = max(largest, abs(logprobs[start + i, token].item() - expected))
    return {"name": name, "largestDifference": largest, "different": different}


tokenizer = AutoTokenizer.from_pretrained(merged_folder)
tokenized = sum(
    list(tokenizer.apply_chat_template(entry["messages"], add_generation_prompt=True, return_dict=False)) != entry["prompt"]
    for entry in reference["entries"]
)
results = [
    compare("Transformers + PEFT", PeftModel.from_pretrained(load(base_folder), adapter_folder).eval()),
    compare("Transformers, merged", load(merged_folder)),
]
print(json.dumps({"results": results, "promptsTokenizedOtherwise": tokenized}))
