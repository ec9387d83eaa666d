// Clients that send events at a steady rate while the test stops and starts the backend. Each sends the next event after the
// ack of the last. The program tells how many acks there were, and what else happened.

import { setTimeout } from "node:timers/promises";
import { io } from "socket.io-client";

import { event, obey, tell, url } from "./driver.mjs";

const PAUSE = 400; // ms between two events of a client; it bounds the load and nothing waits for it
const count = Number(process.env.CLIENTS);
const failures = [];
let acked = 0;
let ending = false;
const sockets = [];
const rounds = [];

async function talk(socket, number) {
  for (rounds[number] = 0; !ending; rounds[number]++) {
    const answer = await socket.emitWithAck("echo", rounds[number]);
    if (answer === rounds[number]) acked++;
    else failures.push(answer?.error?.code ?? `the ack of ${rounds[number]} is ${JSON.stringify(answer)}`);
    await setTimeout(PAUSE);
  }
}

for (let i = 0; i < count; i += 20) {
  await Promise.all(Array.from({ length: Math.min(20, count - i) }, async () => {
    const socket = io(url, { transports: ["websocket"], forceNew: true, reconnection: false });
    socket.on("disconnect", (why) => ending || failures.push(`disconnected: ${why}`));
    sockets.push(socket);
    await event(socket, "connect");
  }));
}
const talks = sockets.map(talk);

/** Waits until each client has two more acks. */
async function progress() {
  const goals = rounds.map((round) => round + 2);
  while (goals.some((goal, i) => rounds[i] < goal)) await setTimeout(20);
}
await progress();
tell("ready");

obey({
  progress: async () => {
    await progress();
    tell("progress");
  },
  finish: async () => {
    ending = true;
    await Promise.all(talks);
    tell("finished", { acked, failures });
    for (const socket of sockets) socket.disconnect();
    process.stdin.unref();
  },
});
