// Clients for the programs about plain WebSockets.

import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { io } from "socket.io-client";
import WebSocket from "ws";

import { event, patience, url, within } from "./driver.mjs";

const open = [];

/** Ends all connections, so that the program can end. */
export const closeAll = () => open.forEach((client) => client.close());

export const address = (path) => url.replace("http", "ws") + path;

/** Opens a WebSocket. Messages wait in a queue for `next`. */
export async function connect(path, { token, ...options } = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const ws = new WebSocket(address(path), { headers, ...options });
  open.push(ws);
  const queue = [];
  const waiting = [];
  ws.on("message", (data, isBinary) => {
    const message = isBinary ? data : data.toString();
    waiting.length ? waiting.shift()(message) : queue.push(message);
  });
  ws.next = () => within("a message", queue.length ? queue.shift() : new Promise((resolve) => waiting.push(resolve)));
  ws.ended = event(ws, "close").then(([code, reason]) => ({ code, reason: reason.toString() }));
  ws.ended.catch(() => {});
  await event(ws, "open");
  return ws;
}

/** Opens a WebSocket with the json format, and receives the first frames: connect, and the guest's auth. */
export async function connectJSON(options) {
  const ws = await connect("/ws", options);
  ws.hear = async () => JSON.parse(await ws.next());
  ws.say = (frame) => ws.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  ws.ask = async (name, ...args) => {
    ws.say({ event: name, args, id: 1 });
    const answer = await ws.hear();
    assert.equal(answer.ack, 1);
    return answer.args;
  };
  const first = await ws.hear();
  assert.equal(first.event, "connect");
  assert.deepStrictEqual(Object.keys(first.args[0]), ["id"]);
  ws.id = first.args[0].id;
  assert.deepStrictEqual(await ws.hear(), { event: "auth", args: [{}] });
  return ws;
}

/** Connects a Socket.IO client. */
export async function connectSocketIO(token) {
  const socket = io(url, { transports: ["websocket"], forceNew: true, reconnection: false, auth: { token } });
  open.push(socket);
  await event(socket, "connect");
  return socket;
}

/** Waits until the server has this number of sockets. A raw client gets no frame when its socket is connected. */
export async function entered(count) {
  const deadline = Date.now() + patience;
  for (;;) {
    const { sockets } = await (await fetch(`${url}/health/realtime?verbose=1`)).json();
    if (sockets === count) return;
    assert.ok(Date.now() < deadline, `there are ${sockets} sockets, not ${count}`);
    await setTimeout(10);
  }
}
