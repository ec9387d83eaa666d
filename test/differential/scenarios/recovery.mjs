// Connection state recovery. A client comes back only after the server has noticed that it is gone: before, it would get a new
// socket. Each scenario has its own rooms, since all scenarios share a namespace.

import { onClients, onSessions, scenario } from "../scenario.mjs";

const on = "recovery";

/** Adds a scenario in which a client loses its connection after `prepare`. Another client does `meanwhile`, and the first comes back. */
function away(name, { options = {}, prepare = async () => {}, meanwhile = async () => {}, after = async () => {}, leave = (client) => client.socket.io.engine.close() }) {
  onClients(name, { on, ...options }, async (t, client) => {
    const other = await t.client("other").connected();
    await prepare(client, t);
    const { id } = client;
    leave(client);
    await client.sees("disconnect");
    await other.asks("ended", id);
    await meanwhile(other, t);
    client.socket.connect();
    await client.sees("connect");
    await client.settle();
    await after(client, t);
    await client.settle();
  });
}
const room = (t) => `room of ${t.scenario}`;
const send = (other, t, ...args) => other.asks("send", { to: [room(t)] }, ...args);
const join = (client, t) => client.asks("join", room(t));

away("a client comes back and has missed nothing", {});
away("a client comes back and gets what it has missed", {
  prepare: join,
  meanwhile: async (other, t) => {
    await send(other, t, "news", 1);
    await send(other, t, "news", 2, { three: [Buffer.from("3")] });
  },
  after: (client) => client.asks("whoami"),
});
away("a client comes back as the user it was", {
  options: { client: { auth: { token: "user:ann" } } },
  after: (client) => client.asks("whoami"),
});
away("a client comes back and misses what was not for it", {
  prepare: join,
  meanwhile: async (other, t) => {
    await other.asks("send", { to: ["elsewhere"] }, "news", 1);
    await other.asks("send", { to: [room(t)], except: [room(t)] }, "news", 2);
    await send(other, t, "news", 3);
  },
});
away("a client comes back and misses what was volatile", {
  prepare: join,
  meanwhile: async (other, t) => {
    await other.asks("send", { to: [room(t)], volatile: true }, "news", 1);
    await send(other, t, "news", 2);
  },
});
away("a client comes back and gets what was sent to its own room", {
  prepare: async (client, t) => (t.id = client.id),
  meanwhile: (other, t) => other.asks("send", { to: [t.id] }, "news", 1),
});
away("a client comes back to its rooms", {
  prepare: join,
  after: async (client, t) => {
    const third = await t.client("third").connected();
    await send(third, t, "news", 1);
  },
});
away("a client that has left does not come back as it was", { leave: (client) => client.socket.disconnect() });
away("a client that was sent away does not come back as it was", { leave: (client) => client.emit("kick") });
away("a client that was sent away altogether does not come back as it was", { leave: (client) => client.emit("kick", "all") });
onClients("a client comes back by itself, twice", { on, client: { reconnection: true, reconnectionDelay: 300 } }, async (t, client) => {
  for (let i = 0; i < 2; i++) {
    client.socket.io.engine.close();
    await client.sees("disconnect");
    await client.sees("connect");
    await client.asks("message-with-ack", i);
  }
});
onClients("a client comes back too late", { on: "forgetful" }, async (t, client) => {
  client.socket.io.engine.close();
  await client.sees("disconnect");
  await new Promise((resolve) => setTimeout(resolve, 600)); // three times as long as it is remembered
  client.socket.connect();
  await client.connected();
  await client.settle();
});

onSessions("on the wire: CONNECT, events and acks", { on }, async (t, session) => {
  await session.send("40");
  await session.next();
  await session.next();
  await session.send('42["message",1]', '427["message-with-ack",1]', '451-["message",{"_placeholder":true,"num":0}]', Buffer.from([1]));
  for (let i = 0; i < 4; i++) await session.next();
  await session.send(`42["ask","question",1]`);
  await session.next();
});
onSessions("on the wire: two namespaces", { on }, async (t, session) => {
  for (const namespace of ["", "/custom,"]) {
    await session.send(`40${namespace}`);
    await session.next();
    await session.next();
  }
});
for (const [name, auth] of Object.entries({
  "an unknown pid": () => ({ pid: "unknown", offset: "unknown" }),
  "an unknown offset": ({ pid }) => ({ pid, offset: "unknown" }),
  "no offset": ({ pid }) => ({ pid }),
  "an offset and no pid": ({ offset }) => ({ offset }),
  "a pid that is no text": ({ offset }) => ({ pid: 7, offset }),
  "the pid __proto__": ({ offset }) => ({ pid: "__proto__", offset }),
  "an offset that is no text": ({ pid }) => ({ pid, offset: 7 }),
  "the right pid and offset": ({ pid, offset }) => ({ pid, offset }),
})) {
  scenario(`on the wire: a client comes back with ${name}`, { on }, async (t) => {
    const first = await t.websocket("first");
    await first.connect();
    const watcher = await t.client("watcher").connected();
    first.ws.close();
    await watcher.asks("ended", first.socket);
    const second = await t.websocket("second");
    await second.send(`40${JSON.stringify(auth(first))}`);
    await second.next();
    await second.settle();
  });
}
scenario("on the wire: missed events come before CONNECT is answered", { on }, async (t) => {
  const first = await t.websocket("first");
  await first.connect();
  const watcher = await t.client("watcher").connected();
  first.ws.close();
  await watcher.asks("ended", first.socket);
  await watcher.asks("send", { to: [first.socket] }, "news", 1);
  await watcher.asks("send", { to: [first.socket] }, "news", Buffer.from("2"));
  const second = await t.websocket("second");
  await second.send(`40${JSON.stringify({ pid: first.pid, offset: first.offset })}`);
  await second.until("40");
  await second.settle();
});
scenario("on the wire: a session is restored once", { on }, async (t) => {
  const first = await t.websocket("first");
  await first.connect();
  const watcher = await t.client("watcher").connected();
  first.ws.close();
  await watcher.asks("ended", first.socket);
  for (const actor of ["second", "third"]) {
    const session = await t.websocket(actor);
    await session.send(`40${JSON.stringify({ pid: first.pid, offset: first.offset })}`);
    await session.next();
    await session.settle();
  }
});
scenario("on the wire: a client comes back while it is still there", { on }, async (t) => {
  const first = await t.websocket("first");
  await first.connect();
  const second = await t.websocket("second");
  await second.send(`40${JSON.stringify({ pid: first.pid, offset: first.offset })}`);
  await second.next();
  await second.settle();
  await first.settle();
});
