// Rooms and broadcasts. Each scenario has its own namespace, since events for everyone reach the whole namespace.

import { scenario } from "../scenario.mjs";

/** Adds a scenario with three clients for each of two transports. */
function three(name, run) {
  for (const over of ["polling", "websocket"]) {
    scenario(`${name}, ${over}`, { over: [over] }, async (t) => {
      const clients = [];
      for (const actor of ["ann", "ben", "cy"]) clients.push(await t.client(actor, { namespace: t.namespace }).connected());
      await run(...clients);
      for (const client of clients) await client.settle();
    });
  }
}

three("a broadcast reaches all but the sender", async (ann) => {
  await ann.asks("send", {}, "news", 1, { two: [2] });
});
three("a broadcast for everyone reaches the sender, too", async (ann) => {
  await ann.asks("send", { everyone: true }, "news", 1);
});
three("a broadcast to a room", async (ann, ben) => {
  await ben.asks("join", "a");
  await ann.asks("send", { to: ["a"] }, "news", 1);
});
three("a broadcast to a room that the sender is in", async (ann, ben) => {
  await ann.asks("join", "a");
  await ben.asks("join", "a");
  await ann.asks("send", { to: ["a"] }, "news", 1);
});
three("a broadcast to two rooms reaches their members once", async (ann, ben, cy) => {
  await ben.asks("join", "a", "b");
  await cy.asks("join", "b");
  await ann.asks("send", { to: ["a", "b"] }, "news", 1);
});
three("a broadcast without a room", async (ann, ben, cy) => {
  await ben.asks("join", "a");
  await ann.asks("send", { except: ["a"] }, "news", 1);
});
three("a broadcast to a room without another", async (ann, ben, cy) => {
  await ben.asks("join", "a", "b");
  await cy.asks("join", "a");
  await ann.asks("send", { to: ["a"], except: ["b"] }, "news", 1);
});
three("a broadcast to a room that is empty", async (ann) => {
  await ann.asks("send", { to: ["nobody"] }, "news", 1);
});
three("a message to a socket", async (ann, ben) => {
  await ann.asks("send", { to: [ben.id] }, "news", 1);
});
three("a message to all without a socket", async (ann, ben) => {
  await ann.asks("send", { except: [ben.id] }, "news", 1);
});
three("a room that was left", async (ann, ben, cy) => {
  await ben.asks("join", "a");
  await cy.asks("join", "a");
  await ben.asks("leave", "a");
  await ben.asks("whoami");
  await ann.asks("send", { to: ["a"] }, "news", 1);
});
three("a room whose member has disconnected", async (ann, ben) => {
  await ben.asks("join", "a");
  const { id } = ben;
  ben.socket.disconnect();
  await ann.asks("ended", id);
  await ann.asks("send", { to: ["a"] }, "news", 1);
  ben.socket.connect();
  await ben.connected();
  await ben.asks("whoami");
});
three("a room that is entered twice", async (ann, ben) => {
  await ben.asks("join", "a");
  await ben.asks("join", "a");
  await ben.asks("whoami");
  await ann.asks("send", { to: ["a"] }, "news", 1);
});
three("one's own room cannot be left", async (ann, ben) => {
  await ben.asks("join", ben.id);
  await ann.asks("send", { to: [ben.id] }, "news", 1);
});
three("a broadcast of binary data", async (ann) => {
  await ann.asks("send", {}, "news", Buffer.from("abc"), { deep: [Buffer.from("def")] });
});
three("a volatile broadcast to clients that listen", async (ann) => {
  await ann.asks("send", { volatile: true, to: ["nobody"] }, "news");
  await ann.asks("send", { to: ["nobody"] }, "news");
});
scenario("a room of another namespace", async (t) => {
  const ann = await t.client("ann", { namespace: t.namespace }).connected();
  const ben = await t.client("ben", { namespace: `${t.namespace}-2` }).connected();
  await ann.asks("join", "a");
  await ben.asks("join", "a");
  await ann.asks("send", { to: ["a"] }, "news");
  await ann.asks("send", { to: [ben.id] }, "news");
  await ben.settle();
});
scenario("a volatile event while no GET waits", async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.send(`42["send",{"everyone":true,"volatile":true,"to":["${session.socket}"]},"news",1]`);
  await session.settle();
});
scenario("a volatile event while a GET waits", async (t) => {
  const session = await t.polling();
  await session.connect();
  const first = await session.hang();
  await session.asks({ method: "POST", body: `42["send",{"everyone":true,"volatile":true,"to":["${session.socket}"]},"news",1]` });
  await first();
});
scenario("a volatile event over WebSocket", async (t) => {
  const session = await t.websocket();
  await session.connect();
  await session.send(`42["send",{"everyone":true,"volatile":true,"to":["${session.socket}"]},"news",1]`);
  await session.settle();
});
scenario("an event that is not volatile while no GET waits", async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.send(`42["send",{"everyone":true,"to":["${session.socket}"]},"news",1]`);
  await session.settle();
});
