// How connections end on each side, and how they begin again.

import { onClients, onSessions, scenario } from "../scenario.mjs";
import { pause } from "../within.mjs";

/** Adds a scenario in which a client's connection ends, and both sides say why. */
function ends(name, end) {
  onClients(name, async (t, client) => {
    const watcher = t.client("watcher");
    await watcher.connected();
    const { id } = client;
    await end(client);
    await client.sees("disconnect");
    await watcher.asks("ended", id);
    t.log(`active: ${client.socket.active}`);
  });
}
ends("a client disconnects", (client) => client.socket.disconnect());
ends("a client closes its connection", (client) => client.socket.io.engine.close());
ends("a client is disconnected", (client) => client.emit("kick"));
ends("a client is disconnected altogether", (client) => client.emit("kick", "all"));
ends("a client sends what is no packet", (client) => client.socket.io.engine.write("9"));
ends("a client sends a reserved event", (client) => client.socket.io.engine.write('2["connect"]'));
ends("a client sends an attachment of nothing", (client) => client.socket.io.engine.write(Buffer.from("x")));

onSessions("a client that is disconnected, on the wire", async (t, session) => {
  await session.connect();
  await session.send("40/custom,");
  await session.next();
  await session.next();
  await session.send('42["kick"]');
  await session.next();
  await session.send('42/custom,["message",1]');
  await session.next();
});
onSessions("a client that is disconnected and comes back", async (t, session) => {
  await session.connect();
  await session.send('42["kick"]');
  await session.next();
  await session.send("40");
  await session.next();
  await session.next();
});
onSessions("a client that is disconnected altogether, on the wire", async (t, session) => {
  await session.connect();
  await session.connect("/custom,");
  await session.send('42["kick","all"]');
  while (await session.next());
});
onSessions("what was sent before a disconnection arrives", async (t, session) => {
  await session.connect();
  await session.send('42["message",1]', '42["message",2]', '42["kick","all"]');
  while (await session.next());
});
onSessions("the last namespace is left", async (t, session) => {
  await session.connect();
  await session.send("41");
  await pause(100); // Socket.IO's own server is not done with the first packet when the second comes at once
  await session.send("40");
  await session.next();
  await session.next();
});
scenario("a WebSocket that is reset", async (t) => {
  const session = await t.websocket();
  await session.connect();
  const watcher = await t.client("watcher").connected();
  session.ws._socket.resetAndDestroy();
  await watcher.asks("ended", session.socket);
});
scenario("a WebSocket that ends without a close frame", async (t) => {
  const session = await t.websocket();
  await session.connect();
  const watcher = await t.client("watcher").connected();
  session.ws._socket.end();
  await watcher.asks("ended", session.socket);
});
for (const code of [undefined, 1000, 1001, 4000]) {
  scenario(`a WebSocket that its client closes with ${code ?? "no code"}`, async (t) => {
    const session = await t.websocket();
    await session.connect();
    const watcher = await t.client("watcher").connected();
    session.ws.close(code);
    await session.next();
    await watcher.asks("ended", session.socket);
  });
}
scenario("why the server says that a session ended: a close packet", { over: ["polling"] }, async (t) => {
  const session = await t.polling();
  await session.connect();
  const watcher = await t.client("watcher").connected();
  await session.send("1");
  await watcher.asks("ended", session.socket);
});
scenario("why the server says that a session ended: two GETs", { over: ["polling"] }, async (t) => {
  const session = await t.polling();
  await session.connect();
  const watcher = await t.client("watcher").connected();
  const first = await session.hang();
  await session.asks();
  await first();
  await watcher.asks("ended", session.socket);
});
scenario("why the server says that a session ended: a GET given up", { over: ["polling"] }, async (t) => {
  const session = await t.polling();
  await session.connect();
  const watcher = await t.client("watcher").connected();
  const controller = new AbortController();
  const hanging = session.request({ signal: controller.signal });
  await pause(150);
  controller.abort();
  await hanging;
  await watcher.asks("ended", session.socket);
});
scenario("why the server says that a session ended: an octet-stream", { over: ["polling"] }, async (t) => {
  const session = await t.polling();
  await session.connect();
  const watcher = await t.client("watcher").connected();
  await session.asks({ method: "POST", body: "40", headers: { "content-type": "application/octet-stream" } });
  await watcher.asks("ended", session.socket);
});
const bad = { "what is no packet of Engine.IO": "9", "a ping": "2", "what is no packet of Socket.IO": "49", "an event of a namespace that was not entered": '42/custom,["x"]', "CONNECT twice": "40", "CONNECT_ERROR": "44{}" };
for (const [name, packet] of Object.entries(bad)) {
  onSessions(`why the server says that a session ended: ${name}`, async (t, session) => {
    await session.connect();
    const watcher = await t.client("watcher").connected();
    const hanging = await session.hang?.();
    await session.send(packet);
    await hanging?.();
    await watcher.asks("ended", session.socket);
  });
}
scenario("why the server says that a session ended: a frame above the limit", { on: "small" }, async (t) => {
  const session = await t.websocket();
  await session.connect();
  const watcher = await t.client("watcher").connected();
  await session.send("4".repeat(2000));
  await watcher.asks("ended", session.socket);
});
scenario("why the server says that a session ended: a bad frame", async (t) => {
  const session = await t.websocket();
  await session.connect();
  const watcher = await t.client("watcher").connected();
  session.sendBytes([0x83, 0x80, 0, 0, 0, 0]);
  await watcher.asks("ended", session.socket);
});

onClients("a client that has lost its connection comes back", { client: { reconnection: true, reconnectionDelay: 20 } }, async (t, client) => {
  const { id } = client;
  client.socket.io.engine.close();
  await client.sees("disconnect");
  client.emit("message", "kept");
  await client.connected();
  await client.sees("event message-back");
  t.log(`another id: ${client.id !== id}, recovered: ${client.socket.recovered}`);
});
onClients("a client that was disconnected comes back when it is told to", { client: { reconnection: true, reconnectionDelay: 20 } }, async (t, client) => {
  client.emit("kick");
  await client.sees("disconnect");
  t.log(`active: ${client.socket.active}`);
  client.socket.connect();
  await client.connected();
});
onClients("a client that was disconnected altogether comes back when it is told to", { client: { reconnection: true, reconnectionDelay: 20 } }, async (t, client) => {
  client.emit("kick", "all");
  await client.sees("disconnect");
  t.log(`active: ${client.socket.active}`);
  client.socket.connect();
  await client.connected();
});
