// Messages up to the limit of 1000 bytes, and larger ones.

import { onClients, packets, scenario } from "../scenario.mjs";

const message = (size) => `42["message","${"x".repeat(size - '42["message",""]'.length)}"]`;
const post = (body) => ({ method: "POST", body, headers: { "content-type": "text/plain;charset=UTF-8" } });

scenario("a POST of the limit's size", { on: "small" }, async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.asks(post(message(1000)));
  await session.next();
});
scenario("a POST above the limit", { on: "small" }, async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.asks(post(message(1001)));
  await session.asks({ ...post('42["message",1]'), agent: false }); // the connection may be over, too
});
scenario("a POST above the limit, all headers", { on: "small" }, async (t) => {
  const session = await t.polling();
  await session.asks({ ...post(message(1001)), withHeaders: true });
});
scenario("a POST in chunks above the limit", { on: "small" }, async (t) => {
  const session = await t.polling();
  await session.connect();
  const body = message(1500);
  await session.chunkedPost(body.slice(0, 700), body.slice(700));
});
scenario("several packets above the limit in a POST", { on: "small" }, async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.asks(post([message(600), message(600)].join("\x1e")));
});
for (const size of [1000, 1001]) {
  scenario(`a frame of ${size} bytes`, { on: "small" }, async (t) => {
    const session = await t.websocket();
    await session.connect();
    await session.send(message(size));
    await session.settle();
  });
  scenario(`a binary frame of ${size} bytes`, { on: "small" }, async (t) => {
    const session = await t.websocket();
    await session.connect();
    await session.send('451-["message",{"_placeholder":true,"num":0}]', Buffer.alloc(size, 7));
    await session.settle();
  });
}
scenario("fragments that are together above the limit", { on: "small" }, async (t) => {
  const session = await t.websocket();
  await session.connect();
  session.ws.send(message(1500).slice(0, 700), { fin: false });
  session.ws.send(message(1500).slice(700), { fin: true });
  await session.settle();
});
scenario("a server sends more than the limit", { on: "small", over: ["polling"] }, async (t) => {
  for (const session of [await t.polling("polling"), await t.websocket("websocket")]) {
    await session.connect();
    await session.send('427["flood",1,3000]');
    await session.until("437");
  }
});
onClients("a client sends more than the limit at once, in small packets", { on: "small" }, async (t, client) => {
  for (let i = 0; i < 5; i++) client.emit("message", i, "x".repeat(300));
  await client.settle();
});
onClients("a client sends a packet above the limit", { on: "small" }, async (t, client) => {
  client.emit("message", "x".repeat(2000));
  await client.sees("disconnect");
});
packets("a packet of 900,000 bytes", [message(900_000)]);
packets("ten attachments of 9,000 bytes", [
  `4510-["message",${Array.from({ length: 10 }, (_, num) => `{"_placeholder":true,"num":${num}}`)}]`,
  ...Array.from({ length: 10 }, (_, i) => Buffer.alloc(9_000, i)),
]);
