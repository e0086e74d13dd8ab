// Floating-point operations that a GRPO step needs: matrix products alone, nothing recomputed, a prompt once a group.

/** @returns operations of sampling and of the training pass */
export function neededFlops(config, { prompts, promptTokens, groupSize, completionTokens }) {
  const { layers, hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = config;
  const linear =
    layers *
    (2 * hiddenSize * heads * headDim + 2 * hiddenSize * kvHeads * headDim + 3 * hiddenSize * intermediateSize);
  const head = hiddenSize * vocabSize;
  const scored = prompts * groupSize * completionTokens;
  const rows = prompts * promptTokens + scored - prompts * groupSize;
  // Causal attention: scores and mix, half of the square among own tokens, the whole prompt for completions.
  const perPair = 4 * heads * headDim * layers;
  const pairs =
    prompts * (promptTokens ** 2 / 2) +
    prompts * groupSize * (completionTokens * promptTokens + completionTokens ** 2 / 2);
  const forward = 2 * linear * rows + perPair * pairs;
  const scoring = 2 * head * scored;
  // Backward through frozen weights costs one more pass, through attention two; the adapter's share is left out.
  const backward = 2 * linear * rows + 2 * perPair * pairs + scoring;
  return { sampling: forward + scoring, training: forward + scoring + backward };
}
