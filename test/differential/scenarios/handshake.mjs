// Requests that open a session, and what the open packet says.

import { asks, dials, scenario } from "../scenario.mjs";

const polling = "{path}?EIO=4&transport=polling";
const websocket = "EIO=4&transport=websocket";

asks("handshake by polling", polling);
asks("handshake by polling, all headers", polling, { withHeaders: true });
asks("handshake by polling, for an old Internet Explorer", polling, { withHeaders: true, headers: { "user-agent": "Mozilla/5.0 (Windows NT 10.0; Trident/7.0; rv:11.0)" } });
asks("handshake by polling, that takes gzip", polling, { withHeaders: true, headers: { "accept-encoding": "gzip" } });
asks("handshake with more parameters", "{path}?a=1&EIO=4&b=%20&transport=polling&t=abc&b=2");
asks("handshake with b64", "{path}?EIO=4&transport=polling&b64=1");
asks("handshake with JSONP", "{path}?EIO=4&transport=polling&j=0");
asks("handshake with a body", polling, { headers: { "content-type": "text/plain", "content-length": 2 }, body: "40" });
dials("handshake by WebSocket", websocket);
dials("handshake by WebSocket, all headers", websocket, { withHeaders: true });
dials("handshake by WebSocket, that asks for subprotocols", websocket, { withHeaders: true, protocols: ["chat", "v12.stomp"] });
dials("handshake by WebSocket, that offers compression", websocket, { withHeaders: true, perMessageDeflate: true });
dials("handshake by WebSocket, with odd extensions", websocket, { withHeaders: true, headers: { "sec-websocket-extensions": "constructor, x-webkit-deflate-frame; a=1" } });

scenario("the options of a configuration are told", { on: "small" }, async (t) => {
  await t.asks("{path}?EIO=4&transport=polling");
  await t.dials(websocket);
});
scenario("the pings of a configuration are told", { on: "dying" }, async (t) => {
  await t.asks("{path}?EIO=4&transport=polling");
});
scenario("ids are fit for a URL", async (t) => {
  const { id } = await t.session();
  t.log(/^[\w-]{20,24}$/.test(id));
});
scenario("another path", { on: "path" }, async (t) => {
  await t.asks("{path}?EIO=4&transport=polling");
  await t.dials(websocket);
});
scenario("what follows the path does not matter", async (t) => {
  await t.asks("/socket.io/more/of/it?EIO=4&transport=polling");
  await t.asks("/socket.io//?EIO=4&transport=polling");
});
scenario("what is no endpoint", async (t) => {
  for (const path of ["/socket.io?EIO=4&transport=polling", "/socket.iox/?EIO=4&transport=polling", "/Socket.IO/?EIO=4&transport=polling", "/x/socket.io/?EIO=4&transport=polling"]) {
    await t.asks(path);
  }
});
scenario("the path of another configuration is no endpoint", { on: "path" }, async (t) => {
  await t.asks("/socket.io/?EIO=4&transport=polling");
  await t.asks("/chat/?EIO=4&transport=polling");
  await t.asks("/chat/live?EIO=4&transport=polling");
});
