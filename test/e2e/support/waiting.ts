/** Waiting for what happens instead of for time to pass. */

/** The longest that anything awaited here may take, in milliseconds. */
export const PATIENCE_MS = 30_000;

/** Tells those who wait that something may have changed. */
export class Signal {
  readonly #listeners = new Set<() => void>();

  changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Resolves with the first value of `look` that is not undefined, now or after a change; rejects, saying what was awaited, after `patienceMs`. */
  until<T>(
    look: () => T | undefined,
    what: string,
    shown: () => string = () => '',
    patienceMs = PATIENCE_MS,
  ): Promise<T> {
    // The place of the call is what a failure should show, not that of the timer.
    const late = new Error(`waited ${patienceMs} ms in vain for ${what}`);
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        this.#listeners.delete(listener);
      };
      const timer = setTimeout(() => {
        end();
        late.message = `${late.message}\n${shown()}`;
        reject(late);
      }, patienceMs);
      const listener = () => {
        try {
          const found = look();
          if (found === undefined) return;
          end();
          resolve(found);
        } catch (error) {
          end();
          reject(error);
        }
      };
      this.#listeners.add(listener);
      listener();
    });
  }
}
