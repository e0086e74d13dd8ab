/** Learning-rate schedules, as pure functions of the step. */

export interface Schedule {
  /** Peak learning rate. */
  learningRate: number;
  schedule: "constant" | "linear" | "cosine";
  /** Steps in which the rate rises linearly to its peak. */
  rampSteps: number;
  /** Steps in all; linear and cosine reach 0 one step after the last. */
  steps: number;
}

/** Learning rate of `step` (1 is the first): ramp up, then the schedule over what remains. */
export function learningRateAt(step: number, { learningRate, schedule, rampSteps, steps }: Schedule): number {
  if (step <= rampSteps) return (learningRate * step) / rampSteps;
  if (schedule === "constant") return learningRate;
  const progress = Math.min(1, (step - rampSteps - 1) / Math.max(1, steps - rampSteps));
  return learningRate * (schedule === "linear" ? 1 - progress : (1 + Math.cos(Math.PI * progress)) / 2);
}
