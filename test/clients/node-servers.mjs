// Two of Socket.IO's own servers beside two of ours (SERVERS), with Redis between them (REDIS_URL). All four have a client, and
// whatever one of them or an emitter does reaches all of them.

import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { fileURLToPath } from "node:url";
import { Emitter } from "@socket.io/redis-emitter";
import { io as connect } from "socket.io-client";

import { event, hear, tell, until } from "./driver.mjs";
import { connectRedis, startServer } from "./node-server.mjs";

const ours = process.env.SERVERS.split(" ");
const [a, b] = [await startServer(), await startServer()];
const redis = await connectRedis();
const emitter = new Emitter(redis);

async function call(server, method, path, body) {
  const response = await fetch(`${ours[server]}/api/realtime/${path}`, {
    method,
    headers: { Authorization: `Bearer ${process.env.KEY}`, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  assert.ok(response.ok, `${path}: ${JSON.stringify(answer)}`);
  return answer;
}
const api = (server) => ({
  emit: (to, name, ...args) => call(server, "POST", "emit", { ...to, event: name, args }),
  join: (where, ...rooms) => call(server, "POST", "sockets/join", { where, rooms }),
  leave: (where, ...rooms) => call(server, "POST", "sockets/leave", { where, rooms }),
});

// Clients: o1 and o2 on our servers, n1 and n2 on Node's.
const clients = {};
const got = {};
const arrivals = new EventEmitter();
for (const [name, url] of Object.entries({ o1: ours[0], o2: ours[1], n1: a.url, n2: b.url })) await join(name, url);

async function join(name, url) {
  const socket = connect(url, { transports: ["websocket"], forceNew: true, reconnectionDelayMax: 500 });
  clients[name] = socket;
  got[name] = [];
  socket.onAny((...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : null;
    got[name].push(args);
    arrivals.emit("event");
    ack?.({ from: name, bytes: Buffer.from([1, 2]) }, "a second argument");
  });
  await event(socket, "connect");
}

let fences = 0;

/** Does something, has the same source emit a fence, and compares what each client has got before it. */
async function expect(what, act, fence, wanted) {
  for (const name in got) got[name] = [];
  await act();
  const mark = `fence ${++fences}`;
  await fence(mark);
  await until(arrivals, "event", () => Object.keys(clients).every((name) => got[name].some(([e]) => e === mark)));
  for (const name of Object.keys(clients)) {
    const before = got[name].slice(0, got[name].findIndex(([e]) => e === mark));
    assert.deepStrictEqual(before, wanted[name] ?? wanted.all ?? [], `${what}: ${name}`);
  }
}
const byA = (mark) => a.io.emit(mark);
const byB = (mark) => b.io.emit(mark);
const byEmitter = (mark) => emitter.emit(mark);
const byOurs = (server) => (mark) => api(server).emit({ everyone: true }, mark);

const date = new Date("2026-01-02T03:04:05.678Z");
const bytes = Buffer.from([0, 1, 255]);
const args = ["é😀", -1.5, 2 ** 40, null, { date, bytes, list: [bytes, { deep: [[]] }] }, true];
const received = ["é😀", -1.5, 2 ** 40, null, { date: date.toISOString(), bytes, list: [bytes, { deep: [[]] }] }, true];

// Broadcasts from each kind of source reach everybody once, with the same arguments.
await expect("Node to all", () => a.io.emit("e", ...args), byA, { all: [["e", ...received]] });
await expect("Node volatile", () => b.io.volatile.compress(false).emit("e", 1), byB, { all: [["e", 1]] });
await expect("emitter to all", () => emitter.emit("e", ...args), byEmitter, { all: [["e", ...received]] });
const binary = [{ a: { $binary: bytes.toString("base64") } }, 1.5, "é"];
for (const server of [0, 1]) {
  await expect("ours to all", () => api(server).emit({ everyone: true }, "e", ...binary), byOurs(server), { all: [["e", { a: bytes }, 1.5, "é"]] });
}
await expect("local", () => a.io.local.emit("e"), byA, { n1: [["e"]] });
// Rooms, which each kind of source has sockets join and leave, by rooms and by ids.
const id = (name) => clients[name].id;
await expect("Node joins", () => a.io.in([id("o1"), id("n2")]).socketsJoin(["r", "s"]), byA, {});
await expect("Node to a room", () => b.io.to("r").emit("e"), byB, { o1: [["e"]], n2: [["e"]] });
await expect("Node except", () => b.io.to("r").to("s").except(id("n2")).emit("e"), byB, { o1: [["e"]] });
await expect("emitter except", () => emitter.except("r").emit("e"), byEmitter, { o2: [["e"]], n1: [["e"]] });
await expect("emitter to two rooms", () => emitter.to("r").to("s").emit("e"), byEmitter, { o1: [["e"]], n2: [["e"]] });
await expect("ours to a room", () => api(1).emit({ to: ["r"] }, "e"), byOurs(1), { o1: [["e"]], n2: [["e"]] });
await expect("ours except", () => api(1).emit({ everyone: true, except: ["s"] }, "e"), byOurs(1), { o2: [["e"]], n1: [["e"]] });
await expect("ours to a socket of Node", () => api(0).emit({ to: [id("n1")] }, "e"), byOurs(0), { n1: [["e"]] });
await expect("Node to a socket of ours", () => a.io.to(id("o2")).emit("e"), byA, { o2: [["e"]] });
assert.deepStrictEqual(await api(0).join({ room: "r" }, "t"), { sockets: 2 });
await expect("ours to what ours has joined", () => api(0).emit({ to: ["t"] }, "e"), byOurs(0), { o1: [["e"]], n2: [["e"]] });
assert.deepStrictEqual(await api(1).join({ socket: id("n1") }, "t", "7"), { sockets: 1 });
assert.deepStrictEqual(await api(1).leave({ socket: id("n2") }, "t"), { sockets: 1 });
await call(1, "GET", "sockets"); // the others have done it
await expect("Node to what ours has joined", () => b.io.to("t").emit("e"), byB, { o1: [["e"]], n1: [["e"]] });
await expect("emitter joins and leaves", () => (emitter.in("t").socketsLeave("t"), emitter.in(id("o2")).socketsJoin("u"), emitter.to(["t", "u"]).emit("e")), byEmitter, { o2: [["e"]] });
await expect("a number", () => (a.io.in([id("o1"), id("n2")]).socketsJoin(12), a.io.to(12).emit("e")), byA, { o1: [["e"]], n2: [["e"]] });
await expect("a number, from ours", () => api(0).emit({ to: ["12"] }, "e"), byOurs(0), { o1: [["e"]], n2: [["e"]] });
b.io.socketsLeave(["s", "u", 12]);
await b.io.fetchSockets(); // all have done it, the server itself included
await expect("Node leaves", () => b.io.to(["s", "u", 12]).emit("e"), byB, {});

// What a client of ours sends to its room. Nothing orders it with what other clients do.
await clients.o1.emitWithAck("join", "room:x");
a.io.in(id("n1")).socketsJoin("room:x");
await a.io.fetchSockets(); // it has joined
const relayed = event(clients.n1, "relayed");
clients.o1.emit("relayed", bytes);
assert.deepStrictEqual(await relayed, [bytes]);

// Who is there.
const sorted = (list) => [...list].sort();
const everybody = sorted(Object.keys(clients).map(id));
await call(1, "POST", "sockets/data", { where: { socket: id("o1") }, patch: { name: "first" } });
a.io.sockets.sockets.get(id("n1")).data.name = "third";
for (const { io } of [a, b]) {
  const sockets = await io.fetchSockets();
  assert.deepStrictEqual(sorted(sockets.map((s) => s.id)), everybody);
  const o1 = sockets.find((s) => s.id === id("o1"));
  assert.deepStrictEqual(sorted(o1.rooms), sorted([id("o1"), "r", "room:x"]));
  assert.equal(o1.handshake.address, "127.0.0.1");
  assert.equal(o1.handshake.headers.host, new URL(ours[0]).host);
  assert.ok(Math.abs(o1.handshake.issued - Date.now()) < 600_000);
  assert.equal(o1.data.name, "first");
  assert.equal(o1.data._admin.transport, "websocket");
  assert.deepStrictEqual((await io.in("r").except(id("n2")).fetchSockets()).map((s) => s.id), [id("o1")]);
  assert.deepStrictEqual(sorted(await io.of("/").adapter.allRooms()), sorted([...everybody, "r", "room:x", "7"]));
}
for (const server of [0, 1]) {
  const { sockets, missing_nodes } = await call(server, "GET", "sockets");
  assert.equal(missing_nodes, undefined);
  assert.deepStrictEqual(sockets.map((s) => s.id), everybody);
  const n1 = sockets.find((s) => s.id === id("n1"));
  assert.deepStrictEqual([n1.rooms, n1.data, n1.user, n1.node], [["7", "room:x"], { name: "third" }, null, "socket.io"]);
  const { rooms } = await call(server, "GET", "rooms");
  assert.deepStrictEqual(rooms.map((r) => [r.room, r.sockets]), [["7", 1], ["r", 2], ["room:x", 2]]);
  assert.equal((await call(server, "GET", "rooms/r/presence")).sockets, 2);
}

// Acks of all clients, and of one.
const names = Object.keys(clients);
const acks = await a.io.timeout(30_000).emitWithAck("q", bytes);
assert.deepStrictEqual(sorted(acks.map((ack) => ack.from)), sorted(names));
assert.ok(acks.every((ack) => ack.bytes.equals(Buffer.from([1, 2]))));
const [remote] = await b.io.in(id("o2")).fetchSockets();
assert.equal((await remote.timeout(30_000).emitWithAck("q")).from, "o2");
await assert.rejects(a.io.in("nobody").timeout(200).emitWithAck("q").then((none) => Promise.reject(none.length)), (n) => n === 0);
const { responses, missing, missing_nodes } = await call(1, "POST", "emit?ack=30s", { everyone: true, event: "q", args: [binary[0]] });
assert.deepStrictEqual([missing, missing_nodes], [[], undefined]);
assert.deepStrictEqual(sorted(responses.map((r) => r.args[0].from)), sorted(names));
for (const { socket, args } of responses) { // a Node server does not say whose ack it is, and passes on one argument
  assert.deepStrictEqual(args[0].bytes, { $binary: "AQI=" });
  assert.equal(args.length, everybody.includes(socket) ? 2 : 1);
}

// Events among the servers.
b.io.on("ping", (n, ack) => ack(n + 1));
assert.deepStrictEqual(sorted(await a.io.serverSideEmitWithAck("ping", 1)), [2, undefined, undefined]);
const told = new Promise((resolve) => b.io.once("hello", resolve));
a.io.serverSideEmit("hello", { x: 1 });
assert.deepStrictEqual(await told, { x: 1 });

// Disconnecting those of the others.
for (const [name, disconnect] of [
  ["o1", () => a.io.in(id("o1")).disconnectSockets()],
  ["o2", () => emitter.in(id("o2")).disconnectSockets(true)],
  ["n1", () => call(0, "POST", "sockets/disconnect", { where: { socket: id("n1") } }).then((answer) => assert.deepStrictEqual(answer, { sockets: 1 }))],
  ["n2", () => call(1, "POST", "sockets/disconnect", { where: { socket: id("n2") }, close: true })],
]) {
  const disconnected = event(clients[name], "disconnect");
  await disconnect();
  assert.deepStrictEqual(await disconnected.then(([reason]) => reason), "io server disconnect", name);
  clients[name].connect();
  await event(clients[name], "connect");
}
await expect("after all", () => b.io.emit("e", 1), byB, { all: [["e", 1]] });

/** Waits until so many servers are members. Redis tells nobody. */
async function subscribers(count) {
  for (;;) {
    const [, n] = await redis.sendCommand(["PUBSUB", "NUMSUB", "socket.io-request#/#"]).catch(() => [null, -1]);
    if (Number(n) === count) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// A server that hangs is missing, and nobody waits for one that is dead.
const third = fork(fileURLToPath(new URL("node-server.mjs", import.meta.url)));
process.on("exit", () => third.kill("SIGKILL"));
await once(third, "message");
await subscribers(5);
assert.equal((await a.io.fetchSockets()).length, 4);
third.kill("SIGSTOP");
const without = await call(0, "GET", "sockets");
assert.deepStrictEqual([without.sockets.length, without.missing_nodes], [4, ["socket.io"]]);
await expect("beside a server that hangs", () => api(0).emit({ everyone: true }, "e", 1), byOurs(0), { all: [["e", 1]] });
third.kill("SIGKILL");
await subscribers(4);
assert.equal((await call(0, "GET", "sockets")).missing_nodes, undefined);
assert.equal((await a.io.fetchSockets()).length, 4);

// Redis is stopped and started.
tell("stop Redis");
await hear();
await subscribers(4);
await expect("after Redis was away", () => a.io.emit("e", 1), byA, { all: [["e", 1]] });
await expect("after Redis was away, ours", () => api(1).emit({ everyone: true }, "e", 1), byOurs(1), { all: [["e", 1]] });
assert.equal((await a.io.fetchSockets()).length, 4);

// One of ours exits. Whoever asks meanwhile gets an answer in time.
clients.o2.disconnect();
delete clients.o2;
let exited = false;
tell("stop the second server");
hear().then(() => (exited = true));
for (let last = false; !last;) {
  last = exited;
  const sockets = await a.io.fetchSockets();
  assert.ok(sockets.length >= 3, `${sockets.length} sockets`);
  await b.io.of("/").adapter.allRooms();
  await a.io.serverSideEmitWithAck("ping", 1);
}
await expect("without the second server", () => api(0).emit({ everyone: true }, "e", 1), byOurs(0), { all: [["e", 1]] });

for (const client of Object.values(clients)) client.disconnect();
process.exit(); // the servers would keep it running
