// Pings and pongs, and their absence.

import { onClients, onSessions, scenario } from "../scenario.mjs";

onSessions("pings that are answered", { on: "beating" }, async (t, session) => {
  await session.connect();
  for (let i = 0; i < 4; i++) {
    await session.until("2");
    await session.send("3");
  }
  await session.settle();
});
onSessions("pings that are answered before CONNECT", { on: "beating" }, async (t, session) => {
  for (let i = 0; i < 2; i++) {
    await session.until("2");
    await session.send("3");
  }
});
onSessions("a ping that is not answered", { on: "dying" }, async (t, session) => {
  await session.connect();
  await session.next();
  await session.next();
});
scenario("a ping that is not answered, while a GET waits", { on: "dying" }, async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.asks();
  await session.asks();
  await session.asks();
});
scenario("a ping that nobody fetches", { on: "dying" }, async (t) => {
  const session = await t.polling();
  await session.connect();
  await new Promise((resolve) => setTimeout(resolve, 1500)); // there is no event to wait for
  await session.asks();
});
onSessions("a ping that is answered with a pong that has data", { on: "beating" }, async (t, session) => {
  await session.connect();
  await session.until("2");
  await session.send("3x");
  await session.settle();
});
onSessions("a client that pings", { on: "beating" }, async (t, session) => {
  await session.connect();
  await session.send("2");
  await session.settle();
});
onClients("a client that beats", { on: "beating" }, async (t, client) => {
  let pings = 0;
  await new Promise((resolve) => client.socket.io.engine.on("ping", () => ++pings === 3 && resolve()));
  await client.asks("message-with-ack", "alive");
});
onClients("why the server says that a client is gone that does not answer pings", { on: "dying" }, async (t, client) => {
  const { engine } = client.socket.io;
  const send = engine._sendPacket.bind(engine);
  engine._sendPacket = (type, ...rest) => type === "pong" || send(type, ...rest);
  const { id } = client;
  await client.sees("disconnect");
  const watcher = t.client("watcher");
  await watcher.connected();
  await watcher.asks("ended", id);
});
onSessions("a client that never sends CONNECT", { on: "hasty" }, async (t, session) => {
  await session.next();
});
onSessions("a client whose CONNECT is refused and who does not try again", { on: "hasty" }, async (t, session) => {
  await session.send('40{"token":"expired"}');
  await session.next();
  await session.next();
});
onSessions("a client that entered a namespace and left it", { on: "hasty" }, async (t, session) => {
  await session.connect();
  await session.send("41");
  await new Promise((resolve) => setTimeout(resolve, 600)); // longer than it may take to enter one
  await session.send("40");
  await session.next();
  await session.next();
});
