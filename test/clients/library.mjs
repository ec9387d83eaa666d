// The package with the Socket.IO client: the current one, or an older one that CLIENT names. An older one lacks some methods, so
// programs for several versions use the functions here.

import { within } from "./driver.mjs";

const name = process.env.CLIENT ?? "socket.io-client";
export const { io, Manager } = await import(name);

/** Version 3 has no time-outs, ignores the server's maxPayload, and is active even after a refusal. */
export const isOlder = name === "socket.io-client-3";

/** Emits an event; resolves with all arguments of the ack. */
export function request(socket, ...args) {
  return within(`an ack of ${args[0]}`, new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer))));
}

/** Emits an event; resolves with the first argument of the ack. */
export const ask = async (socket, ...args) => (await request(socket, ...args))[0];
