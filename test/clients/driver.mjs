// How a program talks to the Go test that runs it: each sends the other lines of text. Also what all programs need.

import { createInterface } from "node:readline";

export const url = process.env.SERVER_URL;

/** Tells the test something, with data as JSON. */
export function tell(what, data = null) {
  process.stdout.write(JSON.stringify({ tell: what, data }) + "\n");
}

const heard = [];
const waiting = [];
const input = createInterface({ input: process.stdin });
input.on("line", (line) => (waiting.length ? waiting.shift()(line) : heard.push(line)));
process.stdin.unref(); // a program that only waits for the test has ended

/** Waits for the test's next line. */
export async function hear() {
  process.stdin.ref();
  const word = heard.length ? heard.shift() : await new Promise((resolve) => waiting.push(resolve));
  process.stdin.unref();
  return word;
}

/** Waits for the test's next line, which must be this one. */
export async function told(what) {
  const word = await hear();
  if (word !== what) throw new Error(`told ${word}, not ${what}`);
}

/** How long a step may take, in milliseconds. The machine may be busy, so this is long. */
export const patience = 60_000;

/** Waits for an event of an emitter; resolves with its arguments. */
export function event(emitter, name) {
  return within(`event ${name}`, new Promise((resolve) => emitter.once(name, (...args) => resolve(args))));
}

/** Waits until a condition holds. Checks it now and after each of the emitter's events. */
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

/** Rejects if a promise takes longer than `patience`. */
export function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Runs the test's commands from now on. A line is a command's name and its arguments. */
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
