// The package with the Socket.IO client: that of today, or the older one that CLIENT names. They have not all methods in
// common, so programs for any of them use what is here.

import { within } from "./driver.mjs";

const name = process.env.CLIENT ?? "socket.io-client";
export const { io, Manager } = await import(name);

/** Version 3: it knows no time-outs, nor how much the server takes at once, and is active even where it was refused. */
export const isOlder = name === "socket.io-client-3";

/** Emits an event; resolves with all arguments of the ack. */
export function request(socket, ...args) {
  return within(`an ack of ${args[0]}`, new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer))));
}

/** Emits an event; resolves with the first argument of the ack. */
export const ask = async (socket, ...args) => (await request(socket, ...args))[0];
