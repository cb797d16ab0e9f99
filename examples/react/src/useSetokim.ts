import { useEffect, useState } from "react";
import { type LoadProgress, Setokim, type SetokimError } from "setokim";

export type Loading =
  | { state: "loading"; progress: LoadProgress | undefined }
  | { state: "ready"; setokim: Setokim }
  | { state: "failed"; error: SetokimError };

/** A model for as long as the component lives: loaded once, given back at its end. */
export function useSetokim(url: string): Loading {
  const [loading, setLoading] = useState<Loading>({ state: "loading", progress: undefined });
  useEffect(() => {
    const abort = new AbortController();
    setLoading({ state: "loading", progress: undefined });
    const loaded = Setokim.load(url, {
      signal: abort.signal,
      onProgress: (progress) => setLoading({ state: "loading", progress }),
    });
    loaded.then(
      (setokim) => (abort.signal.aborted ? setokim.dispose() : setLoading({ state: "ready", setokim })),
      (error: SetokimError) => abort.signal.aborted || setLoading({ state: "failed", error }),
    );
    return () => {
      abort.abort();
      loaded.then(
        (setokim) => setokim.dispose(),
        () => undefined,
      );
    };
  }, [url]);
  return loading;
}
