// The json format, and the beginning and the end of plain WebSockets, with the package ws.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import WebSocket from "ws";

import { address, closeAll, connect, connectJSON } from "./connection.mjs";
import { event, url } from "./driver.mjs";

after(closeAll);

/** The answer to a handshake that the server refuses. */
async function refusal(path, headers = {}) {
  const ws = new WebSocket(address(path), { headers });
  ws.on("error", () => {});
  const [, response] = await event(ws, "unexpected-response");
  const chunks = await response.toArray();
  ws.terminate();
  return { status: response.statusCode, type: response.headers["content-type"], body: Buffer.concat(chunks).toString() };
}

test("json: events and acks", async (t) => {
  const ws = await connectJSON();
  assert.match(ws.id, /^[\w-]{20,}$/);
  await t.test("an event there and back, byte by byte", async () => {
    // Numbers that JSON.parse would change, spaces, and the order of keys.
    const args = '["é😀\\u2028<>&", {"b":1,"a":[null,true]}, 12345678901234567890, 1.0, 1e400]';
    ws.say(`{"event":"message","args":${args}}`);
    const back = await ws.next();
    assert.ok(back.startsWith('{"event":"message-back","args":['), back);
    assert.deepStrictEqual(back.match(/"args":(.*)}$/)[1].replaceAll(", ", ","), args.replaceAll(", ", ","));
  });
  await t.test("no arguments", async () => {
    ws.say({ event: "message" });
    assert.deepStrictEqual(await ws.hear(), { event: "message-back", args: [] });
  });
  await t.test("an ack of the server's", async () => {
    for (const id of ["0", "7", "18446744073709551615"]) {
      ws.say(`{"event":"message-with-ack","args":[1,"two"],"id":${id}}`);
      assert.equal(await ws.next(), `{"ack":${id},"args":[1,"two"]}`);
    }
  });
  await t.test("an ack of the client's", async () => {
    ws.say({ event: "ask", args: ["question", { n: 1 }], id: 9 });
    const question = await ws.hear();
    assert.deepStrictEqual(question, { event: "question", args: [{ n: 1 }], id: question.id });
    ws.say({ ack: 123456789, args: ["nobody waits for this"] });
    ws.say({ ack: question.id, args: ["answer", null] });
    assert.deepStrictEqual(await ws.hear(), { ack: 9, args: ["answer", null] });
  });
  await t.test("an event that nobody handles", async () => {
    assert.equal((await ws.ask("no such event"))[0].error.code, "unhandled_event");
  });
  await t.test("binary data at any depth", async () => {
    const args = [{ $binary: "AP8=" }, { a: [{ $binary: "" }, { deep: { $binary: "AAECAwQ=" } }] }, { $binary: "AP8=", no: 1 }];
    ws.say({ event: "message", args });
    assert.deepStrictEqual(await ws.hear(), { event: "message-back", args });
  });
});

test("json: mistakes are told, and forgiven", async (t) => {
  const ws = await connectJSON();
  const frames = {
    "a number": "1", "null": "null", "an array": "[]", "a string": '"message"',
    "neither event nor ack": "{}", "both": '{"event":"message","ack":1}',
    "an event's name that is no string": '{"event":{"toString":"x"}}', "an empty name": '{"event":""}',
    "arguments that are no array": '{"event":"message","args":{"0":1}}', "an id that is no number": '{"event":"message","id":"7"}',
    "a negative id": '{"event":"message","id":-1}', "a broken id": '{"event":"message","id":1.5}',
    "an ack that is no number": '{"ack":"x","args":[]}', "no base64": '{"event":"message","args":[{"$binary":"%%%"}]}',
    "placeholders beside binary data": '{"event":"message","args":[[{"$binary":"AA=="},{"_placeholder":true,"num":5}]]}',
  };
  for (const name of ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"])
    frames[`the reserved name ${name}`] = JSON.stringify({ event: name });
  for (const [name, frame] of Object.entries(frames)) {
    await t.test(name, async () => {
      ws.say(frame);
      const told = await ws.hear();
      assert.equal(told.event, "error");
      assert.deepStrictEqual(Object.keys(told.args[0]).toSorted(), ["code", "message"]);
      assert.equal(told.args[0].code, "bad_frame");
      assert.deepStrictEqual(await ws.ask("message-with-ack", name), [name]);
    });
  }
});

test("json: what ends a connection", async (t) => {
  const cases = {
    "bad JSON": [1007, (ws) => ws.send("{")],
    "nothing": [1007, (ws) => ws.send("")],
    "two values": [1007, (ws) => ws.send('{"event":"message"} {}')],
    "bad UTF-8": [1007, (ws) => ws.send(Buffer.from([0x22, 0xc3, 0x28, 0x22]), { binary: false })],
    "too deep": [1007, (ws) => ws.send("[".repeat(100_000) + "]".repeat(100_000))],
    "binary data": [1003, (ws) => ws.send(Buffer.from('{"event":"message"}'))],
    "too big": [1009, (ws) => ws.send(JSON.stringify({ event: "message", args: ["x".repeat(1_000_000)] }))],
    "too big in parts": [1009, (ws) => { for (let i = 0; i < 11; i++) ws.send("x".repeat(100_000), { fin: i === 10 }); }],
    "being sent away": [1000, (ws) => ws.say({ event: "kick" })],
  };
  for (const [name, [code, end]] of Object.entries(cases)) {
    await t.test(name, async () => {
      const ws = await connectJSON();
      end(ws);
      assert.deepStrictEqual(await ws.ended, { code, reason: "" });
    });
  }
});

test("json: what exceeds a limit is told, and ends a connection", async (t) => {
  const frames = {
    attachments: { event: "message", args: Array(11).fill({ $binary: "AA==" }) },
    arguments: { event: "message", args: Array(1001).fill(0) },
    depth: { event: "message", args: [JSON.parse("[".repeat(129) + "]".repeat(129))] },
    event_name: { event: "x".repeat(257) },
  };
  for (const [limit, frame] of Object.entries(frames)) {
    await t.test(limit, async () => {
      const ws = await connectJSON();
      ws.say(frame);
      const told = await ws.hear();
      assert.equal(told.event, "error");
      assert.equal(told.args[0].code, "limit");
      assert.match(told.args[0].message, new RegExp(`\\b${limit}\\b`));
      assert.deepStrictEqual(await ws.ended, { code: 1008, reason: "" });
    });
  }
});

test("json: a big message", async () => {
  const ws = await connectJSON();
  const text = "x".repeat(1_000_000 - '{"event":"message-with-ack","args":[""],"id":1}'.length);
  assert.deepStrictEqual(await ws.ask("message-with-ack", text), [text]);
});

test("refusals come before the connection", async (t) => {
  for (const path of ["/ws", "/raw"]) {
    await t.test(path, async () => {
      assert.deepStrictEqual(await refusal(path, { Origin: "https://evil.test" }),
        { status: 403, type: "application/json", body: '{"code":4,"message":"Forbidden"}' });
      const unauthorized = await refusal(path, { Authorization: "Bearer expired" });
      assert.equal(unauthorized.status, 401);
      assert.deepStrictEqual(JSON.parse(unauthorized.body), { error: { message: "token has expired" } });
      const forbidden = await refusal(path, { Authorization: "Bearer forbidden" });
      assert.equal(forbidden.status, 403);
      assert.deepStrictEqual(JSON.parse(forbidden.body),
        { error: { message: "not authorized", data: { code: "E_FORBIDDEN", hints: ["<ask>", { an: "admin" }] } } });
      const broken = await refusal(path, { Authorization: "Bearer broken" });
      assert.equal(broken.status, 503);
      assert.ok(!broken.body.includes("database"), "the client learns what went wrong inside");
    });
  }
  await t.test("no WebSocket at all", async () => {
    const response = await fetch(url + "/ws");
    assert.equal(response.status, 426);
  });
  await t.test("another path", async () => {
    assert.equal((await refusal("/wsx")).status, 404);
    assert.equal((await refusal("/WS")).status, 404);
  });
});

test("an identity comes with the handshake", async () => {
  const ws = await connect("/ws", { token: "user:carol" });
  await ws.next(); // connect
  await ws.next(); // auth
  ws.send('{"event":"whoami","id":1}');
  const known = JSON.parse(await ws.next()).args[0];
  assert.equal(known.user, "carol");
  assert.deepStrictEqual(known.rooms.toSorted(), ["org:carol", "staff"]);
  assert.deepStrictEqual(known.data, { auth: {}, namespace: "/", transport: "websocket" });
});
