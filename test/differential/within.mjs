// How long anything may take that is bound to happen: long, since the machine may be busy, and yet short enough that a server
// which does not do it holds up the others little.
const patience = 20_000;

/** Rejects if a promise takes longer than that. */
export function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/**
 * Lets time pass, where nothing tells when it is enough: the trace must not depend on how much it was. SLOWLY says how many
 * times as much it shall be.
 */
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds * Number(process.env.SLOWLY ?? 1)));
