// Clients with the default parser and with socket.io-msgpack-parser in one room, over the transports in TRANSPORTS.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Manager } from "socket.io-client";
import msgpackParser from "socket.io-msgpack-parser";

import { event, patience, until, url } from "./driver.mjs";

const transports = process.env.TRANSPORTS.split(",");
const managers = [];
after(() => managers.forEach((manager) => manager._close()));

async function connected(parser) {
  const manager = new Manager(url, { transports, parser, reconnection: false });
  managers.push(manager);
  const socket = manager.socket("/");
  await event(socket, "connect");
  if (transports.length > 1) await until(manager.engine, "upgrade", () => manager.engine.transport.name === "websocket");
  return socket;
}

const ask = (socket, ...args) => socket.timeout(patience).emitWithAck(...args);
const buffer = (...bytes) => Buffer.from(bytes);

test("what one client says all others in the room hear, whatever their parsers", async (t) => {
  const kinds = { default: undefined, msgpack: msgpackParser };
  const room = [];
  for (const [kind, parser] of [...Object.entries(kinds), ...Object.entries(kinds)]) {
    const socket = await connected(parser);
    assert.deepStrictEqual(await ask(socket, "join", "room:mixed"), { ok: true });
    room.push({ kind, socket });
  }
  const all = {
    "no argument": [],
    "every type": [null, true, false, 0, -1, 127, 128, -33, 65536, 2 ** 40, -(2 ** 40), 0.1, -1.5, "", "é😀\u0000\n\"\\", [], {}, [[{ a: [null] }]]],
    "order of keys": [{ z: 1, a: { y: 2, b: 3 } }],
    "a buffer": [buffer(1, 2, 3)],
    "buffers at any depth": [{ a: buffer(1), b: [buffer(2, 3), { c: { d: [[buffer(4)]] } }] }, "text", buffer(), [buffer(5)]],
    "ten buffers": Array.from({ length: 10 }, (_, i) => buffer(i)),
    "long lists": [Array.from({ length: 70_000 }, (_, i) => i % 10)],
    "long text": ["€".repeat(70_000)],
    "long data": [Buffer.alloc(70_000, "data")],
    "deep": [JSON.parse("[".repeat(128) + "]".repeat(128))],
  };
  for (const { kind, socket } of room) {
    for (const [name, args] of Object.entries(all)) {
      await t.test(`${name}, said by ${kind}`, async () => {
        const others = room.filter((other) => other.socket !== socket);
        const heard = others.map((other) => event(other.socket, "chat:line"));
        socket.emit("chat:line", ...args);
        for (const line of await Promise.all(heard)) {
          assert.deepStrictEqual(line, args);
          assert.equal(JSON.stringify(line), JSON.stringify(args));
        }
      });
    }
  }

  await t.test("what JSON has no word for is what JSON.stringify makes of it", async () => {
    const said = [new Date(1e12), { at: new Date(-1), gone: undefined, nan: NaN }, undefined, [undefined, Infinity], new Uint8Array([1, 2])];
    const expected = [...JSON.parse(JSON.stringify(said.slice(0, -1))), buffer(1, 2)];
    const heard = room.filter((other) => other !== room[1]).map((other) => event(other.socket, "chat:line"));
    assert.equal(room[1].kind, "msgpack");
    room[1].socket.emit("chat:line", ...said);
    for (const line of await Promise.all(heard)) assert.deepStrictEqual(line, expected);
  });
  await t.test("what only looks like an attachment stays an object", async () => {
    const looks = { _placeholder: true, num: 0 };
    const heard = room.filter((other) => other !== room[1]).map((other) => event(other.socket, "chat:line"));
    room[1].socket.emit("chat:line", looks);
    for (const line of await Promise.all(heard)) assert.deepStrictEqual(line, [looks]);
  });
  await t.test("what is nested too deep ends who says it, and nobody else hears it", async () => {
    const sender = room[0].socket;
    const others = room.slice(1).map((other) => other.socket);
    for (const other of others) other.on("chat:line", (line) => assert.fail(`somebody hears ${JSON.stringify(line).slice(0, 40)}`));
    const gone = event(sender, "disconnect");
    const deep = "[".repeat(9000) + "]".repeat(9000); // the client itself could not send it
    sender.io.engine.write(`2["chat:line",${deep},"behind it"]`);
    assert.match((await gone)[0], lost);
    for (const other of others) assert.equal(await ask(other, "message-with-ack", "alive"), "alive");
  });
});

/** The client's reason after it broke the protocol. Over polling it is an error if no GET was waiting: the next GET is refused. */
const lost = /^transport (close|error)$/;

test("a client that changes its parser in the midst of a session loses it", async (t) => {
  for (const [kind, parser, other] of [["text", msgpackParser, '2["message","x"]'], ["binary", undefined, msgpackParser]]) {
    await t.test(kind, async () => {
      const socket = await connected(parser);
      const gone = event(socket, "disconnect");
      const packet = typeof other === "string" ? other : new other.Encoder().encode({ type: 2, data: ["message", "x"], nsp: "/" })[0];
      socket.on("message-back", () => assert.fail("the packet has been understood"));
      socket.io.engine.write(packet);
      assert.match((await gone)[0], lost);
    });
  }
});

test("more buffers than can be passed on end the session, as with the default parser", async () => {
  const socket = await connected(msgpackParser);
  const gone = event(socket, "disconnect");
  socket.emit("message", Array.from({ length: 11 }, (_, i) => buffer(i)));
  assert.match((await gone)[0], lost);
});
