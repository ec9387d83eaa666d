// A hundred clients of all kinds, in rooms of ten, that send lines while the test reloads the server.
//
// Each line has the client's number and a sequence number. A client sends the next line after the ack of the last. Every client
// checks that it gets each line of the room's other members once and in order. No client may be disconnected.

import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { io } from "socket.io-client";
import WebSocket from "ws";

import { event, patience, tell, url, within } from "./driver.mjs";
import { rounds } from "./rounds.mjs";

const CLIENTS = 100;
const ROOM = 10;
const PAUSE = 300; // ms between two lines of a client; it bounds the load and nothing waits for it
const kinds = ["websocket", "polling", "upgraded", "plain"];

const failures = [];
const fail = (client, what) => failures.push(`client ${client.number} (${client.kind}): ${what}`);
let ending = false;

class Client {
  said = 0; // lines that have been acked
  heard = new Map(); // another client's number → how many of its lines have arrived

  constructor(number) {
    this.number = number;
    this.kind = kinds[number % kinds.length];
    this.room = Math.floor(number / ROOM);
  }

  hear(number, sequence) {
    const due = this.heard.get(number) ?? 0;
    if (sequence !== due) fail(this, `heard ${sequence} of ${number}, and not ${due}`);
    this.heard.set(number, sequence + 1);
  }

  lost(why) {
    if (!ending) fail(this, `disconnected: ${why}`);
  }

  async talk() {
    while (!ending) {
      await within(`an ack of line ${this.said} of client ${this.number} (${this.kind})`, this.ask("chat:line", this.number, this.said));
      this.said++;
      await setTimeout(PAUSE);
    }
  }
}

class SocketIO extends Client {
  async enter() {
    const transports = { websocket: ["websocket"], polling: ["polling"], upgraded: ["polling", "websocket"] }[this.kind];
    const socket = (this.socket = io(url, { transports, forceNew: true, reconnection: false }));
    socket.on("disconnect", (why, details) => this.lost(`${why} (${details?.message}: ${details?.description}, ${details?.context?.responseText})`));
    socket.on("chat:line", (number, sequence) => this.hear(number, sequence));
    await event(socket, "connect");
    assert.deepStrictEqual(await this.ask("join", `room:${this.room}`), { ok: true });
    if (transports.length > 1 && socket.io.engine.transport.name === "polling") await event(socket.io.engine, "upgrade");
  }

  ask(...args) {
    return this.socket.emitWithAck(...args);
  }

  leave() {
    this.socket.disconnect();
  }
}

class Plain extends Client {
  waiting = new Map();
  next = 0;

  async enter() {
    const ws = (this.ws = new WebSocket(url.replace("http", "ws") + "/ws"));
    ws.on("close", (code) => this.lost(code));
    ws.on("message", (data) => {
      const frame = JSON.parse(data);
      if (frame.event === "chat:line") this.hear(...frame.args);
      if ("ack" in frame) this.waiting.get(frame.ack)(frame.args[0]);
    });
    await event(ws, "open");
    assert.deepStrictEqual(await this.ask("join", `room:${this.room}`), { ok: true });
  }

  ask(name, ...args) {
    const id = this.next++;
    this.ws.send(JSON.stringify({ event: name, args, id }));
    return new Promise((resolve) => this.waiting.set(id, resolve));
  }

  leave() {
    this.ws.close();
  }
}

const clients = Array.from({ length: CLIENTS }, (_, i) => new (kinds[i % kinds.length] === "plain" ? Plain : SocketIO)(i));
for (let i = 0; i < CLIENTS; i += ROOM) await Promise.all(clients.slice(i, i + ROOM).map((client) => client.enter()));

const talks = clients.map((client) => client.talk());
talks.forEach((talk) => talk.catch((error) => failures.push(error.message)));

await rounds(clients, failures);
ending = true;
await Promise.all(talks);

// Lines that were acked have been relayed, and may arrive later.
const missing = () => clients.flatMap((client) => clients
  .filter((other) => other.room === client.room && other !== client && (client.heard.get(other.number) ?? 0) < other.said)
  .map((other) => `client ${client.number} (${client.kind}) has ${client.heard.get(other.number)} of ${other.said} lines of ${other.number}`));
const deadline = Date.now() + patience;
while (missing().length > 0 && Date.now() < deadline && failures.length === 0) await setTimeout(20);
failures.push(...missing());
tell("finished", { failures, said: clients.reduce((sum, client) => sum + client.said, 0) });
clients.forEach((client) => client.leave());
