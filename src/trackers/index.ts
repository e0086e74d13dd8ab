export { MlflowTracker } from "./mlflow/mlflow-tracker.ts";
export type { MlflowOptions } from "./mlflow/mlflow-tracker.ts";
export { TensorBoardTracker } from "./tensorboard/tensorboard-tracker.ts";
export type { TensorBoardOptions } from "./tensorboard/tensorboard-tracker.ts";
export { TrackerGroup } from "./tracker-group.ts";
export type { TrackerGroupOptions } from "./tracker-group.ts";
export type { TrackedEnd, TrackedRun, Tracker } from "./tracker.ts";
