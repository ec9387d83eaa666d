// WebSocket frames, valid and invalid.

import { onClients, scenario } from "../scenario.mjs";

const mask = (first, payload, length = payload.length) => {
  const key = [1, 2, 3, 4];
  return [first, 0x80 | length, ...key, ...Buffer.from(payload).map((byte, i) => byte ^ key[i % 4])];
};
const frames = {
  "a fragmented message": [mask(0x01, '42["mess'), mask(0x00, 'age",1'), mask(0x80, "]")],
  "a ping within a fragmented message": [mask(0x01, '42["mess'), mask(0x89, "x"), mask(0x80, 'age",1]')],
  "a pong that nobody asked for": [mask(0x8a, "x")],
  "a reserved bit": [mask(0xc1, '42["message",1]')],
  "an unknown opcode": [mask(0x83, "x")],
  "an unknown control opcode": [mask(0x8b, "x")],
  "a fragmented ping": [mask(0x09, "x")],
  "a continuation of nothing": [mask(0x80, "x")],
  "a message within a fragmented one": [mask(0x01, '42["mess'), mask(0x81, "40")],
  "a frame without a mask": [[0x81, 0x02, 0x34, 0x30]],
  "text that is no UTF-8, in the first of more fragments": [mask(0x01, Buffer.concat([Buffer.from('42["'), Buffer.from([0xff])]))],
  "text that is no UTF-8": [mask(0x81, Buffer.concat([Buffer.from('42["message","'), Buffer.from([0xff, 0xfe]), Buffer.from('"]')]))],
  "a length with the top bit set": [[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1]],
  "a close without a code": [mask(0x88, "")],
  "a close with code 1000": [mask(0x88, Buffer.from([0x03, 0xe8]))],
  "a close with code 1001 and a reason": [mask(0x88, Buffer.concat([Buffer.from([0x03, 0xe9]), Buffer.from("bye")]))],
  "a close with an application's code": [mask(0x88, Buffer.from([0x0f, 0xa0]))],
  "a close with a code that is none": [mask(0x88, Buffer.from([0x03, 0xed]))],
  "a close of one byte": [mask(0x88, Buffer.from([0x03]))],
  "a close with a reason that is no UTF-8": [mask(0x88, Buffer.from([0x03, 0xe8, 0xff]))],
};
for (const [name, bytes] of Object.entries(frames)) {
  scenario(`frames: ${name}`, async (t) => {
    const session = await t.websocket();
    await session.connect();
    session.ws.on("ping", (data) => session.log(`ping ${data}`));
    session.ws.on("pong", (data) => session.log(`pong ${data}`));
    session.sendBytes(...bytes);
    await session.settle();
  });
}
const single = {
  "an unknown packet type": ["7"],
  "a letter": ["b"],
  "an empty text": [""],
  "a ping": ["2"],
  "a ping with data": ["2probe"],
  "a pong that nobody asked for": ["3"],
  "a pong with data": ["3probe"],
  "binary data when none is due": [Buffer.from([1, 2, 3])],
  "an empty message": ["4"],
  "an upgrade": ["5"],
  "an upgrade with data": ["5x"],
  "a noop": ["6"],
  "an open packet": ['0{"sid":"x"}'],
  "binary data as base64": ['451-["message",{"_placeholder":true,"num":0}]', "bAQID"],
  "binary data as base64 for URLs": ['451-["message",{"_placeholder":true,"num":0}]', "b-_-_"],
  "what is no base64": ['451-["message",{"_placeholder":true,"num":0}]', "b!!!!"],
};
for (const [name, sent] of Object.entries(single)) {
  scenario(`a WebSocket sends ${name}`, async (t) => {
    const session = await t.websocket();
    await session.connect();
    await session.send(...sent);
    await session.settle();
  });
}
scenario("a WebSocket with b64", async (t) => {
  const session = await t.websocket("websocket", { query: "EIO=4&transport=websocket&b64=1" });
  await session.connect();
  await session.send('451-["message",{"_placeholder":true,"num":0}]', Buffer.from([1, 2, 3]));
  await session.settle();
});
onClients("a client that sends base64 only", { client: { forceBase64: true } }, async (t, client) => {
  await client.asks("message-with-ack", Buffer.from([1, 2, 3]), { deep: [Buffer.from("x")] });
});
for (const packet of ["0", "1", "5", "6"]) {
  scenario(`a WebSocket sends the packet ${packet}`, { on: "dying" }, async (t) => {
    const session = await t.websocket();
    await session.connect();
    await session.send(packet);
    await session.send('42["message",1]');
    while (await session.next());
  });
}
