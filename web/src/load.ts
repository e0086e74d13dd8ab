/** Loading what a view needs, again when what it depends on changes. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Loaded<T> {
  /** What was loaded last: while the next is on its way, too, and where the same thing couldn't be loaded again. */
  data: T | undefined;
  error: Error | undefined;
  isLoading: boolean;
}

/**
 * @param key loads again when it changes; null: nothing to load
 * @param version loads the same thing again when it changes
 */
export function useLoaded<T>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<T>,
  version?: unknown,
): Loaded<T> & { reload: () => void } {
  /** With the key of what was asked and answered last. */
  const [state, setState] = useState<Loaded<T> & { key: string | null }>({
    key: null,
    data: undefined,
    error: undefined,
    isLoading: key !== null,
  });
  const [count, setCount] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    if (key === null) return setState({ key, data: undefined, error: undefined, isLoading: false });
    const controller = new AbortController();
    // What went wrong with what is still shown stays until it is known whether it does so again.
    setState((before) => ({
      ...before,
      error: before.key === key && before.data !== undefined ? before.error : undefined,
      isLoading: true,
    }));
    latest.current(controller.signal).then(
      (data) => setState({ key, data, error: undefined, isLoading: false }),
      (error: Error) => {
        if (controller.signal.aborted) return;
        setState((before) => ({
          key,
          data: before.key === key ? before.data : undefined,
          error,
          isLoading: false,
        }));
      },
    );
    return () => controller.abort();
  }, [key, version, count]);
  const isLoading = key !== null && (state.isLoading || state.key !== key);
  return { data: state.data, error: state.error, isLoading, reload: () => setCount((n) => n + 1) };
}

/**
 * Texts of fields that follow `values`, as the address has them, and what is typed into them. What is typed goes to
 * `onTyped` when it hasn't changed for a moment, and gives way when `values` change otherwise.
 * @returns the texts, and what changes some of them
 */
export function useTyped<T extends Record<string, string>>(
  values: T,
  onTyped: (typed: T) => void,
  delayMs = 250,
): [T, (changes: Partial<T>) => void] {
  const [typed, setTyped] = useState<T | undefined>(undefined);
  const key = JSON.stringify(values);
  const latest = useRef({ key, onTyped });
  latest.current = { key, onTyped };
  /** What was told last: when it comes back as `values`, typing may have gone on. */
  const told = useRef(key);
  // At once, and not after the next frame: what is typed from then on must not be lost.
  useLayoutEffect(() => {
    if (key !== told.current) setTyped(undefined);
    told.current = key;
  }, [key]);
  useEffect(() => {
    if (typed === undefined) return;
    const timer = setTimeout(() => {
      const next = JSON.stringify(typed);
      if (next === latest.current.key) return;
      told.current = next;
      latest.current.onTyped(typed);
    }, delayMs);
    return () => clearTimeout(timer);
  }, [typed, delayMs]);
  return [typed ?? values, (changes) => setTyped((before) => ({ ...(before ?? values), ...changes }))];
}

/** A choice that is kept in this browser. */
export function useKept<T extends string>(name: string, fallback: T): [T, (value: T) => void] {
  const key = `rec-r1-${name}`;
  const [value, setValue] = useState<T>(() => (localStorage.getItem(key) as T | null) ?? fallback);
  return [
    value,
    (next) => {
      localStorage.setItem(key, next);
      setValue(next);
    },
  ];
}
