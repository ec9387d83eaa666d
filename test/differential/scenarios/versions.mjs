// Clients of other versions: 3 speaks the same protocol as 4, 2 speaks Engine.IO 3.

import { io as io3 } from "socket.io-client-3";
import io2 from "socket.io-client-2";

import { onSessions, scenario } from "../scenario.mjs";

for (const [version, connect, on] of [[3, io3, "plain"], [2, io2, "eio3"]]) {
  for (const over of [["polling"], ["websocket"], ["polling", "websocket"]]) {
    const add = (name, options, run) => scenario(`version ${version}: ${name}, ${over.join(" to ")}`, { on, over }, async (t) => {
      const client = t.client("client", { connect, ...options });
      await run(t, client);
    });
    add("there and back", {}, async (t, client) => {
      await client.connected();
      client.emit("message", 1, "é😀", { a: [null] });
      await client.sees("event message-back");
      await client.asks("message-with-ack", 1, { two: 2 });
    });
    add("binary data", {}, async (t, client) => {
      await client.connected();
      client.emit("message", Buffer.from([1, 2, 3]), { deep: [Buffer.from("x")] });
      await client.sees("event message-back");
      await client.asks("message-with-ack", Buffer.from([1, 2, 3]));
    });
    add("a server that asks", {}, async (t, client) => {
      await client.connected();
      client.socket.on("question", (...args) => args.pop()("answer", 7));
      await client.asks("ask", "question", 1);
    });
    add("many events", {}, async (t, client) => {
      await client.connected();
      for (let i = 0; i < 20; i++) client.emit("message", i);
      await client.settle();
    });
    add("a token in the query, or in auth", { auth: { token: "forbidden" }, query: { token: "forbidden" } }, async (t, client) => {
      await client.sees(version === 3 ? "connect_error" : "");
    });
    add("a refusal of another namespace", { namespace: "/custom?token=expired", auth: { token: "expired" } }, async (t, client) => {
      await client.sees(version === 3 ? "connect_error" : "error");
    });
    add("another namespace", { namespace: "/custom" }, async (t, client) => {
      await client.connected();
      await client.asks("message-with-ack", 1);
    });
    add("an unknown namespace", { namespace: "/unknown" }, async (t, client) => {
      await client.sees(version === 3 ? "connect_error" : "error");
    });
    add("leaving", {}, async (t, client) => {
      await client.connected();
      client.socket.disconnect();
      await client.sees("disconnect");
    });
    add("being sent away", {}, async (t, client) => {
      await client.connected();
      client.emit("kick");
      await client.sees("disconnect");
    });
    add("being sent away altogether", {}, async (t, client) => {
      await client.connected();
      client.emit("kick", "all");
      await client.sees("disconnect");
    });
    add("a broadcast", {}, async (t, client) => {
      await client.connected();
      const other = await t.client("other", { connect }).connected();
      await client.asks("send", { to: [other.id.replace(/.*#/, "")] }, "news", 1);
      await other.settle();
    });
  }
}

const on = "eio3";
for (const query of ["EIO=3&transport=polling", "EIO=3&transport=polling&b64=1", "transport=polling", "EIO=2&transport=polling", "EIO=4&transport=polling"]) {
  scenario(`where version 2 is let in: ${query}`, { on }, (t) => t.asks(`{path}?${query}`));
}
scenario("where version 2 is let in: a WebSocket", { on }, async (t) => {
  const session = await t.dials("EIO=3&transport=websocket");
  await session.next();
  await session.send("2", "2probe", '42["message",1]');
  for (let i = 0; i < 4; i++) await session.next();
});
scenario("where version 2 is let in: a WebSocket that does not ping", { on }, async (t) => {
  const session = await t.dials("EIO=3&transport=websocket");
  await session.next();
  await session.next();
  await session.send("40");
  await session.send('42["message",1]');
  await session.next();
});
scenario("where version 2 is let in: a session without EIO", { on }, async (t) => {
  const { body } = await t.asks("{path}?transport=polling&b64=1");
  const { sid } = JSON.parse(/\{[^}]*\}/.exec(body)[0]);
  await t.asks(`{path}?transport=polling&b64=1&sid=${sid}`, { method: "POST", body: '15:42["message",1]', headers: { "content-type": "text/plain;charset=UTF-8" } });
  await t.asks(`{path}?transport=polling&b64=1&sid=${sid}`);
  await t.asks(`{path}?EIO=4&transport=polling&sid=${sid}`);
});
scenario("where version 2 is let in: a WebSocket without EIO", { on }, async (t) => {
  const session = await t.dials("transport=websocket");
  await session.next();
  await session.send("5", "6", '42["message",1]');
  await session.next();
});
scenario("where version 2 is let in: a WebSocket with b64", { on }, async (t) => {
  const session = await t.dials("EIO=3&transport=websocket&b64=1");
  await session.next();
  await session.send('451-["message",{"_placeholder":true,"num":0}]', "b4AQID");
  for (let i = 0; i < 2; i++) await session.next();
});
scenario("where version 2 is let in: EIO 4 for a session of EIO 3", { on }, async (t) => {
  const { body } = await t.asks("{path}?EIO=3&transport=polling&b64=1");
  const { sid } = JSON.parse(/\{[^}]*\}/.exec(body)[0]);
  await t.asks(`{path}?EIO=4&transport=polling&sid=${sid}`);
  await t.asks(`{path}?EIO=3&transport=polling&b64=1&sid=${sid}`, { method: "POST", body: '15:42["message",1]', headers: { "content-type": "text/plain;charset=UTF-8" } });
  await t.asks(`{path}?EIO=3&transport=polling&b64=1&sid=${sid}`);
});
onSessions("where version 2 is let in: a client of version 4", { on }, async (t, session) => {
  await session.connect();
  await session.send('42["message",1]');
  await session.next();
});
