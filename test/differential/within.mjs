// How long a step may take. The machine may be busy, so this is long. A server that never does the step must not delay the other
// scenarios for too long.
const patience = 20_000;

/** Rejects if a promise takes longer than `patience`. */
export function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/**
 * Lets time pass where no event says when to go on. The trace must not depend on how much time it was. SLOWLY multiplies all
 * pauses.
 */
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds * Number(process.env.SLOWLY ?? 1)));
