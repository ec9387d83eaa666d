// Requests that open nothing.

import { asks, dials, scenario } from "../scenario.mjs";

const bad = {
  "without any parameter": "",
  "without a transport": "?EIO=4",
  "with an unknown transport": "?EIO=4&transport=tesla",
  "with the transport websocket, but no upgrade": "?EIO=4&transport=websocket",
  "with the transport webtransport": "?EIO=4&transport=webtransport",
  "with a transport in capitals": "?EIO=4&transport=POLLING",
  "with an empty transport": "?EIO=4&transport=",
  "with the transport __proto__": "?EIO=4&transport=__proto__",
  "with the transport constructor": "?EIO=4&transport=constructor",
  "with the transport twice": "?EIO=4&transport=polling&transport=polling",
  "without EIO": "?transport=polling",
  "with EIO 2": "?EIO=2&transport=polling",
  "with EIO 3": "?EIO=3&transport=polling",
  "with EIO 5": "?EIO=5&transport=polling",
  "with EIO 04": "?EIO=04&transport=polling",
  "with EIO abc": "?EIO=abc&transport=polling",
  "with EIO twice": "?EIO=4&EIO=4&transport=polling",
  "with an unknown transport and EIO 3": "?EIO=3&transport=tesla",
  "with an unknown sid": "?EIO=4&transport=polling&sid=unknown",
  "with an unknown sid and EIO 3": "?EIO=3&transport=polling&sid=unknown",
  "with an empty sid": "?EIO=4&transport=polling&sid=",
  "with the sid __proto__": "?EIO=4&transport=polling&sid=__proto__",
  "with the sid constructor": "?EIO=4&transport=polling&sid=constructor",
};
for (const [name, query] of Object.entries(bad)) asks(`a request ${name}`, `{path}${query}`);

asks("a refused request, all headers", "{path}?EIO=4&transport=tesla", { withHeaders: true });
for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
  asks(`a handshake by ${method}`, "{path}?EIO=4&transport=polling", { method });
}
asks("a handshake by HEAD", "{path}?EIO=4&transport=polling", { method: "HEAD", withHeaders: true });
asks("a handshake by POST, with an unknown transport", "{path}?EIO=4&transport=tesla", { method: "POST" });
asks("a handshake by POST, with EIO 3", "{path}?EIO=3&transport=polling", { method: "POST" });
asks("a POST for an unknown session", "{path}?EIO=4&transport=polling&sid=unknown", { method: "POST", body: "40" });

dials("a WebSocket without a transport", "EIO=4");
dials("a WebSocket with an unknown transport", "EIO=4&transport=tesla");
dials("a WebSocket with the transport polling", "EIO=4&transport=polling");
dials("a WebSocket with the transport constructor", "EIO=4&transport=constructor");
dials("a WebSocket without EIO", "transport=websocket");
dials("a WebSocket with EIO 3", "EIO=3&transport=websocket");
dials("a WebSocket with EIO 5", "EIO=5&transport=websocket");
dials("a WebSocket with an unknown sid", "EIO=4&transport=websocket&sid=unknown");
dials("a WebSocket with the sid __proto__", "EIO=4&transport=websocket&sid=__proto__");

scenario("a session is asked for by other methods", async (t) => {
  const session = await t.polling();
  for (const method of ["HEAD", "OPTIONS"]) await session.asks({ method });
  await session.connect();
  await session.send('42["message","alive"]');
  await session.next();
});
for (const method of ["PUT", "DELETE", "PATCH"]) {
  scenario(`a session is asked for by ${method}`, async (t) => {
    const session = await t.polling();
    await session.asks({ method });
    await session.connect();
    await session.send('42["message","alive"]');
    await session.next();
  });
}
scenario("a session is asked for with another EIO", async (t) => {
  const session = await t.polling();
  for (const query of ["EIO=3&transport=polling", "transport=polling", "EIO=5&transport=polling"]) {
    await t.asks(`{path}?${query}&sid=${session.id}`);
    await t.asks(`{path}?${query}&sid=${session.id}`, { method: "POST", body: "40" });
  }
  await session.connect();
});
scenario("a session is asked for with another transport", async (t) => {
  const session = await t.polling();
  await t.asks(`{path}?EIO=4&transport=websocket&sid=${session.id}`);
  await t.asks(`{path}?EIO=4&transport=tesla&sid=${session.id}`);
  await session.connect();
});
scenario("a session of WebSocket is asked for by polling", async (t) => {
  const session = await t.websocket();
  await t.asks(`{path}?EIO=4&transport=polling&sid=${session.id}`);
  await t.asks(`{path}?EIO=4&transport=polling&sid=${session.id}`, { method: "POST", body: "40" });
  await session.connect();
});
const head = (path, ...headers) => [`GET ${path} HTTP/1.1`, "Host: localhost", "Connection: close", ...headers, "", ""].join("\r\n");
const upgrade = ["Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"];
const odd = {
  "of an unknown version": ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 12"],
  "without a key": ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
  "with a short key": ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: abc", "Sec-WebSocket-Version: 13"],
  "to another protocol": ["Connection: Upgrade", "Upgrade: h2c"],
};
for (const [name, headers] of Object.entries(odd)) {
  scenario(`an upgrade ${name}`, (t) => t.asksBytes(["GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", "Host: localhost", ...headers, "", ""].join("\r\n")));
}
scenario("an upgrade that nobody asked for in Connection", (t) => t.asksBytes(head("/socket.io/?EIO=4&transport=websocket", ...upgrade)));
scenario("an origin with characters that no header has", { on: "origins" }, (t) => t.asksBytes(head("/socket.io/?EIO=4&transport=polling", "Origin: http://\xe4\x01b")));
