// A client in a room loses its connection again and again, and comes back at the other of two servers each time. At both, others
// send numbers to the room. It must get its socket back, and each number once.

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { setTimeout } from "node:timers/promises";
import { io } from "socket.io-client";

import { event, tell, told, until, url } from "./driver.mjs";

const servers = [url, process.env.OTHER_URL];
const rounds = Number(process.env.ROUNDS);
const senders = servers.map((server) => io(server, { transports: ["websocket"], forceNew: true, reconnection: false }));
const socket = io(servers[0], { transports: ["websocket"], forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 500 });
for (const one of [...senders, socket]) {
  if (!one.connected) await event(one, "connect");
  await one.emitWithAck("join", "room:numbers");
}
const { id } = socket;
const heard = [];
const news = new EventEmitter();
socket.on("message", (number) => {
  heard.push(number);
  news.emit("heard");
});

const sent = [];
let sending = true;
const all = senders.map(async (sender, i) => {
  for (let n = 0; sending && sender.connected; n++) {
    const number = `${i}/${n}`;
    sent.push(number);
    sender.emit("message", number);
    await setTimeout(2);
  }
});

let at = 0;
const move = async (leave) => {
  const seen = heard.length;
  await until(news, "heard", () => heard.length > seen + 20);
  const back = event(socket, "connect");
  at = 1 - at;
  socket.io.uri = servers[at];
  leave();
  await back;
  assert.equal(socket.recovered, true, "it is not recovered");
  assert.equal(socket.id, id);
};
for (let round = 0; round < rounds; round++) await move(() => socket.io.engine.close());

// The server that the client is at ends.
if (at === 1) await move(() => socket.io.engine.close());
await move(() => tell("stop"));
sending = false;
await Promise.all(all);
const whole = () => sent.every((number) => number.startsWith("0/") || heard.includes(number));
await until(news, "heard", whole);
await setTimeout(300); // nothing comes twice
assert.equal(new Set(heard).size, heard.length, "a number has come twice");
for (const i of ["0/", "1/"]) {
  const numbers = heard.filter((number) => number.startsWith(i)).map((number) => Number(number.slice(2)));
  assert.deepEqual(numbers, numbers.map((_, n) => n + numbers[0]), `of ${i} something is missing, or out of order`);
}
tell("whole", { count: heard.length });
await told("end");
for (const one of [...senders, socket]) one.disconnect();
