// Compression of WebSocket messages and of the answers to GETs.

import { dials, scenario } from "../scenario.mjs";

const query = "EIO=4&transport=websocket";
const on = "compression";
const offers = {
  "nothing": undefined,
  "permessage-deflate": "permessage-deflate",
  "what browsers offer": "permessage-deflate; client_max_window_bits",
  "no context takeover": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
  "a window of the server's": "permessage-deflate; server_max_window_bits=10",
  "a window of the client's": "permessage-deflate; client_max_window_bits=10",
  "an unknown parameter": "permessage-deflate; x=1",
  "a parameter twice": "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
  "two ways": "permessage-deflate; server_max_window_bits=10, permessage-deflate",
  "another extension": "x-webkit-deflate-frame",
};
for (const [name, offer] of Object.entries(offers)) {
  scenario(`a WebSocket offers ${name}`, { on }, (t) => t.asksBytes([
    `GET {path}?${query} HTTP/1.1`.replace("{path}", t.path), "Host: localhost", "Connection: Upgrade", "Upgrade: websocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", ...(offer ? [`Sec-WebSocket-Extensions: ${offer}`] : []), "", "",
  ].join("\r\n"), { header: "sec-websocket-extensions" }));
}
dials("a WebSocket that compresses", query, { on, perMessageDeflate: true });

/** How many bytes a WebSocket receives until it has the answer to a packet. */
async function bytesOf(session, packet) {
  const before = session.ws._socket.bytesRead;
  await session.transmit(packet);
  await session.receive();
  return session.ws._socket.bytesRead - before;
}
const event = (size) => `42["message","${"x".repeat(size)}"]`;
for (const compresses of [true, false]) {
  scenario(`messages to a client that ${compresses ? "compresses" : "does not compress"}`, { on }, async (t) => {
    const session = await t.websocket("session", { perMessageDeflate: compresses });
    await session.connect();
    for (const size of [10, 900, 1100, 50_000]) {
      session.log(`${size} bytes come in fewer: ${(await bytesOf(session, event(size))) < size}`);
    }
  });
}
scenario("compressed messages from a client", { on }, async (t) => {
  const session = await t.websocket("session", { perMessageDeflate: { threshold: 0 } });
  await session.connect();
  await session.send(event(10), event(5000), '451-["message",{"_placeholder":true,"num":0}]', Buffer.alloc(2000, 7));
  await session.settle();
});
scenario("a compressed message that grows beyond the limit", { on }, async (t) => {
  const session = await t.websocket("session", { perMessageDeflate: { threshold: 0 } });
  await session.connect();
  await session.send(event(5_000_000));
  await session.settle();
});
scenario("a compressed message that is damaged", { on }, async (t) => {
  const session = await t.websocket("session", { perMessageDeflate: true });
  await session.connect();
  session.sendBytes([0xc1, 0x84, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
  await session.settle();
});
scenario("an upgrade to a WebSocket that compresses", { on }, async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate("candidate", { perMessageDeflate: true });
  await ws.send("2probe");
  await ws.next();
  await ws.send("5");
  await ws.settle();
  ws.log(`5000 bytes come in fewer: ${(await bytesOf(ws, event(5000))) < 5000}`);
});

for (const configuration of ["plain", "compression"]) {
  for (const [name, headers] of Object.entries({
    "nothing": {}, "gzip": { "accept-encoding": "gzip" }, "deflate": { "accept-encoding": "deflate" }, "what browsers take": { "accept-encoding": "gzip, deflate, br, zstd" },
    "anything": { "accept-encoding": "*" }, "no gzip": { "accept-encoding": "gzip;q=0" },
  })) {
    scenario(`a GET that accepts ${name}, ${configuration}`, { on: configuration, over: ["polling"] }, async (t) => {
      const session = await t.polling();
      await session.connect();
      for (const size of [10, 3000]) {
        await session.transmit(event(size));
        const answer = await session.request({ headers });
        session.log(`${size} bytes: ${answer.headers["content-encoding"] ?? "as they are"}`);
      }
    });
  }
}
