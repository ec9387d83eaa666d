// Numbered events go to everyone, to a room and to one client. That client loses its connection again and again. Each time it
// must get its socket back, and it must get every number once and in order.

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { setTimeout } from "node:timers/promises";
import { io } from "socket.io-client";

import { closeAll, connect } from "./connection.mjs";
import { event, tell, told, until, url } from "./driver.mjs";

const { PROXY_URL, TRANSPORTS, HOW } = process.env;
const rounds = Number(process.env.ROUNDS);

const sender = io(url, { transports: ["websocket"], forceNew: true });
await event(sender, "connect");

const plain = await connect("/ws");
let plainCount = 0;
plain.on("message", (data) => {
  const { event, args } = JSON.parse(data);
  if (event !== "all") return;
  assert.equal(args.length, 2, `a plain WebSocket got ${data}`);
  plainCount++;
});

const socket = io(PROXY_URL, { transports: TRANSPORTS.split(","), reconnection: false, forceNew: true });
const upgraded = async () => {
  const { engine } = socket.io;
  if (TRANSPORTS.endsWith(engine.transport.name)) return;
  await event(engine, "upgrade");
};
const heard = [];
const news = new EventEmitter();
for (const kind of ["all", "room", "own"]) {
  socket.on(kind, (number, ballast, offset) => {
    assert.equal(typeof offset, "string");
    heard.push(number);
    news.emit("heard");
  });
}
await event(socket, "connect");
assert.equal(socket.recovered, false);
await upgraded();
await socket.emitWithAck("enter", "numbers");
const { id } = socket;

// The sender waits for the ack of each event, so every event that it has sent has been accepted.
let next = 0;
let sending = true;
const sent = (async () => {
  for (; sending; next++) {
    const ballast = "x".repeat(next % 50);
    await {
      0: () => sender.emitWithAck("spread", "", "all", next, ballast),
      1: () => sender.emitWithAck("spread", "numbers", "room", next, ballast),
      2: () => sender.emitWithAck("tell", id, "own", next, ballast),
    }[next % 3]();
    news.emit("sent");
    await setTimeout(1);
  }
})();

for (let round = 0; round < rounds; round++) {
  const seen = heard.length;
  await until(news, "heard", () => heard.length > seen + 5);
  const gone = event(socket, "disconnect");
  tell(HOW, { id: socket.id, session: socket.io.engine.id });
  if (HOW === "close") socket.io.engine.close();
  await gone;
  const missed = next;
  await until(news, "sent", () => next > missed + 5);
  await told("back");
  socket.connect();
  await event(socket, "connect");
  assert.equal(socket.recovered, true, `round ${round}: not recovered`);
  assert.equal(socket.id, id, `round ${round}: another socket`);
  await upgraded();
}
sending = false;
await sent;
await until(news, "heard", () => heard.length >= next);
assert.deepStrictEqual(heard, Array.from({ length: next }, (_, i) => i), "the numbers that arrived");
assert.ok(plainCount > 0, "the plain WebSocket heard nothing");
tell("whole", { pid: socket._pid, count: heard.length });

// After the window the client gets a new socket.
await told("leave");
const gone = event(socket, "disconnect");
tell("late", { id: socket.id });
socket.io.engine.close();
await gone;
await told("back");
socket.connect();
await event(socket, "connect");
assert.equal(socket.recovered, false);
assert.notEqual(socket.id, id);
tell("anew");
socket.close();
sender.close();
closeAll();
