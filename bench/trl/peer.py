"""TRL's GRPOTrainer on the work of bench/grpo-step, one step for each line "go" on standard input.

Reports each step as a line of JSON on standard output: seconds and the peak memory of this process so far. Between steps
it waits, so that the other side has the processor to itself.
"""

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

parser = argparse.ArgumentParser()
parser.add_argument("--gguf", required=True)
parser.add_argument("--dtype", choices=["float32", "bfloat16"], required=True)
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--prompts", type=int, required=True)
parser.add_argument("--prompt-tokens", type=int, required=True)
parser.add_argument("--group-size", type=int, required=True)
parser.add_argument("--completion-tokens", type=int, required=True)
parser.add_argument("--micro-batch", type=int, required=True)
parser.add_argument("--rank", type=int, required=True)
options = parser.parse_args()

torch.set_num_threads(options.threads)
reports = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what libraries print goes to standard error


def report(**values):
    reports.write(json.dumps(values) + "\n")


folder, name = os.path.split(options.gguf)
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
dtype = getattr(torch, options.dtype)
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=dtype, quantization_config=GgufConfig(dequantize=True)
)

# Words of one token each, so that every prompt has exactly as many tokens as asked for.
words = [text for text in (tokenizer.decode([i]) for i in range(1000, 9000)) if text.startswith(" ") and text[1:].isalpha()]
rng = random.Random(1)


def make_prompt():
    while True:
        text = "".join(rng.choices(words, k=options.prompt_tokens))
        if len(tokenizer(text)["input_ids"]) == options.prompt_tokens:
            return text


def reward(completions, completion_ids, **_):
    for ids in completion_ids:
        assert len(ids) == options.completion_tokens, len(ids)
    return [float(i % 2) for i in range(len(completions))]


class OneStepAtATime(TrainerCallback):
    def on_step_begin(self, args, state, control, **_):
        if sys.stdin.readline().strip() != "go":
            os._exit(0)
        self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        seconds = time.perf_counter() - self.start
        report(seconds=seconds, peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


completions = options.prompts * options.group_size
micro = min(options.micro_batch, completions)
trainer = GRPOTrainer(
    model=model,
    processing_class=tokenizer,
    reward_funcs=reward,
    train_dataset=Dataset.from_list([{"prompt": make_prompt()} for _ in range(64 * options.prompts)]),
    peft_config=LoraConfig(r=options.rank, lora_alpha=2 * options.rank, target_modules="all-linear", task_type="CAUSAL_LM"),
    callbacks=[OneStepAtATime()],
    args=GRPOConfig(
        output_dir=tempfile.mkdtemp(prefix="rec-r1-bench-trl-"),
        use_cpu=True,
        bf16=options.dtype == "bfloat16",
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=completions // micro,
        num_generations=options.group_size,
        max_completion_length=options.completion_tokens,
        generation_kwargs={"min_new_tokens": options.completion_tokens},
        gradient_checkpointing=False,
        beta=0.0,
        loss_type="grpo",
        learning_rate=1e-5,
        max_steps=1000,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    ),
)
report(ready=True)
trainer.train()
