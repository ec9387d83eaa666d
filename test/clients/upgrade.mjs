// Events go in both directions, in sequence, while connections move from polling to WebSocket.

import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { io } from "socket.io-client";

import { event, tell, until, url } from "./driver.mjs";

const CONNECTIONS = 10;
const EVENTS = 1000; // at least, for each connection and direction
const IN_FLIGHT = 50; // over polling, answers are slow

async function move() {
  const socket = io(url, { transports: ["polling", "websocket"], forceNew: true, reconnection: false });
  let left = false;
  socket.on("disconnect", (reason) => assert.ok(left, reason));
  const back = [];
  const ticks = [];
  socket.on("message-back", (n) => back.push(n));
  socket.on("tick", (n) => ticks.push(n));
  await event(socket, "connect");
  socket.emit("tick");

  let sent = 0;
  const { engine } = socket.io;
  const counts = () => ({ sent, back: back.length, ticks: ticks.length });
  let at = engine.transport.name === "websocket" ? counts() : null; // when the connection moved
  engine.once("upgrade", () => (at = counts()));
  while (sent < EVENTS || at === null || sent < at.sent + 200) {
    socket.emit("message", sent++);
    if (sent - back.length >= IN_FLIGHT) await until(socket, "message-back", () => sent - back.length < IN_FLIGHT / 2);
    else await setImmediate();
  }
  await until(socket, "tick", () => ticks.length >= EVENTS);
  const total = await socket.emitWithAck("tock");
  await until(socket, "tick", () => ticks.length >= total);
  await until(socket, "message-back", () => back.length >= sent);
  assert.deepStrictEqual(back, Array.from({ length: sent }, (_, i) => i));
  assert.deepStrictEqual(ticks, Array.from({ length: total }, (_, i) => i));
  assert.equal(engine.transport.name, "websocket");
  left = true;
  socket.disconnect();
  return { at, total: { sent, ticks: total } };
}

// Whether events were on their way at the moment of an upgrade depends on chance. In 50 upgrades it happens almost certainly.
const underWay = ({ at, total }) => at.sent > 0 && at.sent < total.sent;
const moves = [];
do moves.push(...(await Promise.all(Array.from({ length: CONNECTIONS }, move))));
while (!moves.some(underWay) && moves.length < 5 * CONNECTIONS);
tell("moved", moves);
assert.ok(moves.some(underWay), JSON.stringify(moves));
