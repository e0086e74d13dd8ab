"""The official Tinker client against `rec-r1 engine serve`: trains, samples, saves and loads. Prints one JSON object."""

import json
import sys

import tinker
from tinker import types


def ready(client):
    """The client itself: newer versions (0.38) give a future of it."""
    return client.result() if hasattr(client, "result") else client


url, model = sys.argv[1], sys.argv[2]
service = tinker.ServiceClient(base_url=url, api_key="tml-any")
assert model in [m.model_name for m in service.get_server_capabilities().supported_models]
training = ready(service.create_lora_training_client(base_model=model, rank=4, seed=1))

prompt = [5, 7, 9, 11]
answer = [3, 8, 2, 6, 4]
tokens = prompt + answer
weights = [0.0] * (len(prompt) - 1) + [1.0] * len(answer)


def datum(**inputs):
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={"target_tokens": tokens[1:], **inputs},
    )


def values(output, name):
    return list(output.loss_fn_outputs[0][name].data)


losses = []
for _ in range(8):
    result = training.forward_backward([datum(weights=weights)], "cross_entropy").result()
    losses.append(sum(values(result, "elementwise_loss")))
    training.optim_step(types.AdamParams(learning_rate=0.05)).result()
assert losses[-1] < losses[0] - 1, losses

old = values(training.forward([datum(weights=weights)], "cross_entropy").result(), "logprobs")
advantages = [0.0] * (len(prompt) - 1) + [0.5] * len(answer)
rewarded = {"logprobs": old, "advantages": advantages}
for name in ["importance_sampling", "ppo", "cispo"]:
    result = training.forward_backward([datum(**rewarded)], name).result()
    assert max(abs(a - b) for a, b in zip(values(result, "logprobs"), old)) < 1e-3, name
training.optim_step(types.AdamParams(learning_rate=0.01, grad_clip_norm=1.0)).result()

sampler = ready(training.save_weights_and_get_sampling_client())
params = types.SamplingParams(max_tokens=5, temperature=0.0)
response = sampler.sample(types.ModelInput.from_ints(prompt), num_samples=2, sampling_params=params).result()
sampled = [list(sequence.tokens) for sequence in response.sequences]
assert len(sampled) == 2 and sampled[0] == sampled[1], sampled
prompt_logprobs = sampler.compute_logprobs(types.ModelInput.from_ints(tokens)).result()
assert len(prompt_logprobs) == len(tokens) and prompt_logprobs[0] is None, prompt_logprobs

path = training.save_state("state").result().path
resumed = ready(service.create_training_client_from_state_with_optimizer(path))
again = values(resumed.forward([datum(weights=weights)], "cross_entropy").result(), "logprobs")
now = values(training.forward([datum(weights=weights)], "cross_entropy").result(), "logprobs")
assert max(abs(a - b) for a, b in zip(again, now)) < 1e-5

try:
    training.forward_backward([datum(**rewarded)], "dro").result()
    raise SystemExit("an unknown loss was taken")
except tinker.APIStatusError as error:
    assert "loss_fn" in str(error), error

print(json.dumps({"client": tinker.__version__, "losses": losses, "learnt": sampled[0] == answer}))
