"""Writes byte-level-tokenizers.json: one small BPE vocabulary, and what Hugging Face's Rust library makes of texts with
the pre-tokenizers that GGUF files name.

    pip install tokenizers && python byte-level-tokenizers.py
"""

import importlib.metadata
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

CORPUS = [
    "the quick brown fox jumps over the lazy dog, and the dog didn't like it at all",
    "DON'T you think that they're we've I'll she'd it's 12345 items cost 3.14 each, 2024 and 1999",
    "printer paper for the office: A4, 500 sheets (80 g/m2)\n\n\tink cartridges\r\n  black ",
    "café naïve über straße 日本語 русский текст",
] * 4
TEXTS = [
    "the dog didn't like 12345 items",
    "WE'VE paid 3.14 for x86_64\n\n\tthe end  ",
    "don't DON'T they'RE I'll",
    "  two spaces,\r\n\r\n new lines\n   and 7 8 99 100 1000000 ",
    "café cafe\u0301 日本語 русский ² ½ Ⅷ ٣٤",
    "<|start|>user\nhello <|end|> <tool> there<|end|>",
    "unreachable words",
    "",
    " ",
    "emoji 😀👍🏽!?… (a)[b]{c}",
]
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(digits):
    pattern = Regex(WORDS.replace("DIGITS", digits))
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(pattern, behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
KINDS = {
    "gpt-2": (gpt2, None, False),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]), None, False),
    "llama-bpe": (split(r"\p{N}{1,3}"), None, True),
    "qwen2": (split(r"\p{N}"), normalizers.NFC(), False),
}

trainer_tokenizer = Tokenizer(models.BPE())
trainer_tokenizer.pre_tokenizer = gpt2
trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
trainer_tokenizer.train_from_iterator(CORPUS, trainer)
trained = json.loads(trainer_tokenizer.to_str())["model"]
vocab = dict(trained["vocab"])
# No merge leads to this one: only tokenizers that look words up first find it.
vocab["Ġwords"] = len(vocab)
special = {"<|start|>": len(vocab), "<|end|>": len(vocab) + 1}
user_defined = {"<tool>": len(vocab) + 2}
merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in trained["merges"]]

cases = {}
for name, (pre_tokenizer, normalizer, ignore_merges) in KINDS.items():
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in user_defined])
    assert all(tokenizer.token_to_id(token) == id for token, id in {**special, **user_defined}.items())
    cases[name] = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in TEXTS]

tokens = sorted([*vocab.items(), *special.items(), *user_defined.items()], key=lambda item: item[1])
pathlib.Path(__file__).with_suffix(".json").write_text(
    json.dumps(
        {
            "computedWith": f"tokenizers {importlib.metadata.version('tokenizers')}",
            "tokens": [token for token, _ in tokens],
            "special": list(special.values()),
            "userDefined": list(user_defined.values()),
            "merges": [" ".join(merge) for merge in merges],
            "cases": cases,
        },
        ensure_ascii=False,
        indent=1,
    )
    + "\n"
)
