// The raw format, and clients of all kinds in one room. The server relays the event "message".

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { closeAll, connect, connectJSON, connectSocketIO, entered } from "./connection.mjs";
import { event, patience } from "./driver.mjs";

after(closeAll);

test("raw: frames are messages", async (t) => {
  const a = await connect("/raw", { token: "user:raw" });
  const b = await connect("/raw", { token: "user:raw" });
  await entered(2);
  for (const text of ["hello", "", "é😀\u0000<>&\"\\", '{"event":"not looked at"}', "x".repeat(1_000_000)]) {
    await t.test(`text ${text.slice(0, 10)}`, async () => {
      a.send(text);
      assert.equal(await b.next(), text);
    });
  }
  await t.test("binary data", async () => {
    b.send(Buffer.from([0, 255, 1]));
    assert.deepStrictEqual(await a.next(), Buffer.from([0, 255, 1]));
    b.send(Buffer.alloc(0));
    assert.deepStrictEqual(await a.next(), Buffer.alloc(0));
  });
  await t.test("too big", async () => {
    b.send("x".repeat(1_000_001));
    assert.deepStrictEqual(await b.ended, { code: 1009, reason: "" });
  });
  await t.test("bad UTF-8", async () => {
    a.send(Buffer.from([0xff]), { binary: false });
    assert.deepStrictEqual(await a.ended, { code: 1007, reason: "" });
  });
});

test("all kinds of clients in one room", async (t) => {
  await entered(0);
  const plain = await connectJSON();
  assert.deepStrictEqual(await plain.ask("join", "room:mixed"), [{ ok: true }]);
  const socket = await connectSocketIO("");
  assert.deepStrictEqual(await socket.timeout(patience).emitWithAck("join", "room:mixed"), { ok: true });

  await t.test("plain to Socket.IO", async () => {
    const got = event(socket, "chat:line");
    plain.say({ event: "chat:line", args: ["hi", { pic: { $binary: "AQID" } }, null] });
    assert.deepStrictEqual(await got, ["hi", { pic: Buffer.from([1, 2, 3]) }, null]);
  });
  await t.test("Socket.IO to plain", async () => {
    socket.emit("chat:line", { pics: [Buffer.from([4]), Buffer.from([5])] }, "hi");
    assert.deepStrictEqual(await plain.hear(), { event: "chat:line", args: [{ pics: [{ $binary: "BA==" }, { $binary: "BQ==" }] }, "hi"] });
  });
  await t.test("what only looks like an attachment stays as it is", async () => {
    const got = event(socket, "chat:line");
    plain.say({ event: "chat:line", args: [{ _placeholder: true, num: 0 }] });
    assert.deepStrictEqual(await got, [{ _placeholder: true, num: 0 }]);
  });

  // Raw clients cannot join by themselves; their identity puts them into rooms.
  const raw = await connect("/raw", { token: "user:dora" });
  const dora = await connectSocketIO("user:dora");
  await entered(4);
  await t.test("raw to Socket.IO", async () => {
    const text = event(dora, "message");
    raw.send("raw text");
    assert.deepStrictEqual(await text, ["raw text"]);
    const data = event(dora, "message");
    raw.send(Buffer.from([6, 7]));
    assert.deepStrictEqual(await data, [Buffer.from([6, 7])]);
  });
  await t.test("Socket.IO to raw", async () => {
    dora.emit("chat:line", "an event that raw clients have no frame for");
    dora.emit("message", "text", "and no second argument");
    assert.equal(await raw.next(), "text");
    dora.emit("message", Buffer.from([8]));
    assert.deepStrictEqual(await raw.next(), Buffer.from([8]));
    dora.emit("message", { json: [1, Buffer.from([9])] });
    assert.deepStrictEqual(JSON.parse(await raw.next()), { json: [1, { $binary: "CQ==" }] });
  });
});
