/** The commands that there are. Each module defines its own options; it is loaded when its command is asked for. */
import type { Command } from "commander";

export interface CommandEntry {
  name: string;
  description: string;
  load: () => Promise<{ define: (command: Command) => void }>;
}

export const commands: readonly CommandEntry[] = [
  {
    name: "demo",
    description: "icon search, end to end: train, compare, report",
    load: () => import("./demo/demo-command.ts"),
  },
  {
    name: "init",
    description: "start a project from a catalogue and queries or clicks",
    load: () => import("./init-command.ts"),
  },
  {
    name: "doctor",
    description: "look for what breaks a baseline quietly, before training",
    load: () => import("./doctor-command.ts"),
  },
  {
    name: "train",
    description: "train a policy on a task file",
    load: () => import("./train-command.ts"),
  },
  {
    name: "runs",
    description: "list the runs of a folder",
    load: () => import("./runs-command.ts"),
  },
  {
    name: "show",
    description: "one run on the terminal: options, curves, best, rollouts",
    load: () => import("./show-command.ts"),
  },
  {
    name: "eval",
    description: "compare a run with the raw words and the untrained policy",
    load: () => import("./eval-command.ts"),
  },
  {
    name: "dashboard",
    description: "runs in a browser: curves as they train, rollouts, before and after, try it",
    load: () => import("./dashboard-command.ts"),
  },
  {
    name: "report",
    description: "a run as one HTML file and as Markdown: curves, comparison, examples, cost",
    load: () => import("./report-command.ts"),
  },
  {
    name: "compare",
    description: "compare policies with every baseline: tests, slices, lengths, costs",
    load: () => import("./compare-command.ts"),
  },
  {
    name: "forget",
    description: "general ability of a model before and after training",
    load: () => import("./forget-command.ts"),
  },
  {
    name: "gate",
    description: "for CI: is a run worse than a reference? exit code 1 if so",
    load: () => import("./gate-command.ts"),
  },
  {
    name: "index",
    description: "build the search index of a catalogue, and try it",
    load: () => import("./index-command.ts"),
  },
  {
    name: "search",
    description: "ask a recommender a few queries",
    load: () => import("./search-command.ts"),
  },
  {
    name: "recipes",
    description: "print the named sets of options, with their sources",
    load: () => import("./recipes-command.ts"),
  },
  {
    name: "data",
    description: "check data files",
    load: () => import("./data-command.ts"),
  },
  {
    name: "serve",
    description: "a run's policy in front of its recommender, over HTTP",
    load: () => import("./serve-command.ts"),
  },
  {
    name: "export",
    description: "write a run's policy for other programs: PEFT, safetensors, GGUF",
    load: () => import("./export-command.ts"),
  },
  {
    name: "distill",
    description: "turn a run's policy into synonym and rewrite rules",
    load: () => import("./distill-command.ts"),
  },
  {
    name: "convert",
    description: "judgments, click logs and runs from other programs' formats and into them",
    load: () => import("./convert-command.ts"),
  },
  {
    name: "engine",
    description: "serve this machine's engine to others, over the Tinker API",
    load: () => import("./engine-command.ts"),
  },
  {
    name: "sequential",
    description: "train a next-item model on histories, and evaluate it",
    load: () => import("./sequential-command.ts"),
  },
  {
    name: "model",
    description: "fetch and list models",
    load: () => import("./model-command.ts"),
  },
  {
    name: "verify",
    description: "compare our numbers with other programs' reference values",
    load: () => import("./verify-command.ts"),
  },
];
