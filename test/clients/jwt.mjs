// Clients with tokens: in every place, valid and invalid ones, and one that expires.

import assert from "node:assert/strict";
import { io } from "socket.io-client";
import WebSocket from "ws";

import { event, hear, tell, url, within } from "./driver.mjs";

const { TOKEN_SECRET, TOKEN_JWKS, TOKEN_EXPIRED, TOKEN_FOREIGN, TOKEN_FORGED } = process.env;
const transports = process.env.TRANSPORTS.split(",");
const open = (options) => io(url, { transports, forceNew: true, reconnection: false, ...options });
const who = (socket) => within("an ack", socket.emitWithAck("who"));

const known = (user) => ({
  user,
  state: { organizationId: "o1", role: "admin", email: `${user}@example.com` },
  rooms: ["org:o1", "team:red", "team:blue"],
  by: "a",
});

// Every place of a token.
const places = [
  { auth: { token: TOKEN_JWKS } },
  { auth: { token: `Bearer ${TOKEN_JWKS}` } },
  { extraHeaders: { Authorization: `Bearer ${TOKEN_JWKS}` } },
  { extraHeaders: { "X-Token": TOKEN_JWKS } },
  { extraHeaders: { Cookie: `a=b; jwt=${TOKEN_JWKS}` } },
  { query: { access_token: TOKEN_JWKS } },
];
for (const place of places) {
  const socket = open(place);
  await event(socket, "connect");
  assert.deepStrictEqual(await who(socket), known("bob"), JSON.stringify(place));
  socket.disconnect();
}

// A token signed by the secret. The first place that has a token counts.
const ann = open({ auth: { token: TOKEN_SECRET }, extraHeaders: { Authorization: `Bearer ${TOKEN_JWKS}` } });
await event(ann, "connect");
assert.deepStrictEqual(await who(ann), known("ann"));
ann.disconnect();

// Invalid tokens. The code tells programs why.
for (const [token, code, message] of [
  [undefined, "token_missing", "token is missing"],
  ["nonsense", "token_invalid", "token is invalid"],
  [TOKEN_FORGED, "token_invalid", "token is invalid"],
  [TOKEN_EXPIRED, "token_expired", "token has expired"],
  [TOKEN_FOREIGN, "token_issuer", "token is of another issuer"],
]) {
  const socket = open({ auth: { token } });
  const [error] = await event(socket, "connect_error");
  assert.equal(error.message, message);
  assert.deepStrictEqual(error.data, { code });
  socket.close();
}

// A token that expires. The test makes it only now, so that its time begins now. The connection is closed, and the client
// comes back by itself with another token.
tell("short");
const short = await hear();
const shown = [];
const tim = open({
  reconnection: true,
  reconnectionDelay: 10,
  reconnectionDelayMax: 50,
  auth: (show) => {
    shown.push(shown.length ? TOKEN_SECRET : short);
    show({ token: shown.at(-1) });
  },
});
await event(tim, "connect");
assert.equal((await who(tim)).user, "tim");
assert.equal((await event(tim, "disconnect"))[0], "transport close");
await event(tim, "connect");
assert.equal((await who(tim)).user, "ann");
assert.deepStrictEqual(shown, [short, TOKEN_SECRET]);
tim.disconnect();

// Plain WebSockets are refused before they open.
const ws = new WebSocket(url.replace("http", "ws") + "/ws", { headers: { Cookie: `jwt=${TOKEN_SECRET}` } });
await event(ws, "open");
ws.close();
await event(ws, "close");
for (const headers of [{}, { Authorization: `Bearer ${TOKEN_EXPIRED}` }]) {
  const refused = new WebSocket(url.replace("http", "ws") + "/ws", { headers });
  refused.on("error", () => {});
  const [, response] = await event(refused, "unexpected-response");
  assert.equal(response.statusCode, 401);
  refused.terminate();
}
console.log("passed");
