/** DAPO's soft punishment of completions near the limit (Yu et al. 2025, arXiv 2503.14476, equation 13). */

/**
 * What is added to the reward: 0 up to `maxTokens` less the buffer, then falling linearly to -1 at `maxTokens`.
 * @param tokens length of the completion
 * @param bufferShare the buffer as a share of `maxTokens`, 0 to 1; 0: off
 */
export function overlongPenalty(tokens: number, maxTokens: number, bufferShare: number): number {
  const buffer = bufferShare * maxTokens;
  if (buffer <= 0) return 0;
  return 0 - Math.min(1, Math.max(0, (tokens - (maxTokens - buffer)) / buffer));
}
