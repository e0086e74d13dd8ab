import { ModelError } from "../core/errors.ts";

/** A file that ends early, or whose parts contradict each other, found at byte `position`. */
export function corruptFile(path: string, position: number, problem: string, cause?: unknown): ModelError {
  return new ModelError(
    "MODEL_FILE_CORRUPT",
    `${path}: ${problem} (at byte ${position}). The file is truncated or damaged; fetch it again.`,
    { cause, details: { path, position } },
  );
}

/** A file system call failed: missing file, no permission, or anything else. */
export function unreadableFile(path: string, cause: unknown): ModelError {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? "";
  const reason =
    code === "ENOENT"
      ? "there is no such file"
      : code === "EACCES" || code === "EPERM"
        ? "permission denied"
        : code === "EISDIR"
          ? "it is a folder"
          : String((cause as Error | undefined)?.message ?? cause);
  return new ModelError(
    code === "ENOENT" ? "MODEL_NOT_FOUND" : "MODEL_UNREADABLE",
    `Can't read ${path}: ${reason}. Give a Hugging Face folder, a .gguf file, or the name of a known model.`,
    { cause, details: { path } },
  );
}
