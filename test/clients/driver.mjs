// How a program talks to the Go test that runs it: each sends the other words, a line each. And what all programs need.

import { createInterface } from "node:readline";

export const url = process.env.SERVER_URL;

/** Tells the test something, with data that JSON can hold. */
export function tell(what, data = null) {
  process.stdout.write(JSON.stringify({ tell: what, data }) + "\n");
}

const heard = [];
const waiting = [];
const input = createInterface({ input: process.stdin });
input.on("line", (line) => (waiting.length ? waiting.shift()(line) : heard.push(line)));
process.stdin.unref(); // a program that has nothing to do but listen has ended

/** Waits for the next word of the test. */
export async function hear() {
  process.stdin.ref();
  const word = heard.length ? heard.shift() : await new Promise((resolve) => waiting.push(resolve));
  process.stdin.unref();
  return word;
}

/** Waits for the next word of the test, which must be this one. */
export async function told(what) {
  const word = await hear();
  if (word !== what) throw new Error(`told ${word}, not ${what}`);
}

/** How long anything may take that is bound to happen: long, since the machine may be busy. */
export const patience = 60_000;

/** Waits for an event of anything with `once`; resolves with its arguments. */
export function event(emitter, name) {
  return within(`event ${name}`, new Promise((resolve) => emitter.once(name, (...args) => resolve(args))));
}

/** Waits until a condition holds, which is looked at again after each of the emitter's events. */
export function until(emitter, name, condition) {
  return within(`${condition}`, new Promise((resolve) => {
    const look = () => {
      if (!condition()) return;
      emitter.off(name, look);
      resolve();
    };
    emitter.on(name, look);
    look();
  }));
}

/** Rejects if a promise takes longer than anything may. */
export function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Does what the test says until it says no more: `commands` by name, each called with the words that follow its name. */
export function obey(commands) {
  process.stdin.ref();
  for (const line of heard.splice(0)) run(line);
  input.removeAllListeners("line");
  input.on("line", run);
  function run(line) {
    const [name, ...words] = line.split(" ");
    commands[name](...words);
  }
}
