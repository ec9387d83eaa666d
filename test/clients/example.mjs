// Clients of an example: two of one organisation, one of another, and one without a log-in.

import assert from "node:assert/strict";
import { io } from "socket.io-client";

import { event, tell, told, within } from "./driver.mjs";

const site = process.env.SITE_URL;
const post = (path, body, cookie = "") =>
  fetch(site + path, { method: "POST", headers: { "content-type": "application/json", cookie }, body: JSON.stringify(body) });

async function login(name) {
  const response = await post("/login", { email: `${name}@example.com` });
  assert.equal(response.status, 204);
  return response.headers.getSetCookie()[0].split(";")[0];
}

async function open(cookie, transports = ["polling", "websocket"]) {
  const socket = io(site, { transports, forceNew: true, reconnection: false, extraHeaders: { Cookie: cookie } });
  socket.got = [];
  socket.onAny((...args) => socket.got.push(args));
  await event(socket, "connect");
  return socket;
}
const send = (socket, message) => within("an ack", socket.emitWithAck("message:send", message));

// The application's routes work as before. Caddy answers health/realtime, and closes the backend's path.
assert.deepStrictEqual(await (await fetch(`${site}/health`)).json(), { status: "ok" });
assert.deepStrictEqual(await (await fetch(`${site}/health/realtime`)).json(), { websocket: { enabled: true, connections: 0 } });
assert.equal((await post("/login", { email: "nobody@example.com" })).status, 401);
assert.equal((await post("/realtime", {})).status, 404);

// A client without a log-in is refused.
const nobody = io(site, { forceNew: true, reconnection: false });
const [refusal] = await event(nobody, "connect_error");
assert.equal(refusal.message, "log in first");
nobody.close();

const cookies = { ann: await login("ann"), bob: await login("bob"), eve: await login("eve") };
const [ann, bob, eve] = [await open(cookies.ann), await open(cookies.bob, ["websocket"]), await open(cookies.eve, ["polling"])];

// An event with an ack. The others of the organisation get it, the sender does not.
const heard = event(bob, "message:new");
const answer = await send(ann, { text: "Hello, Bob! 👋" });
assert.equal(answer.ok, true);
assert.deepStrictEqual(await heard, [{ id: answer.id, text: "Hello, Bob! 👋", from: "ann@example.com" }]);

// The acks of wrong events say what is wrong.
assert.deepStrictEqual(await send(ann, { text: "" }), { error: { code: "no_text", message: "a message has a text" } });
assert.deepStrictEqual(await send(ann, null), { error: { code: "no_text", message: "a message has a text" } });
assert.equal((await within("an ack", ann.emitWithAck("other"))).error.code, "unknown_event");

// An HTTP request that emits an event to the organisation.
const announced = Promise.all([event(ann, "announcement"), event(bob, "announcement")]);
assert.equal((await post("/announcements", { text: "Lunch" }, cookies.ann)).status, 202);
assert.deepStrictEqual(await announced, [[{ text: "Lunch" }], [{ text: "Lunch" }]]);
assert.equal((await post("/announcements", { text: "Lunch" }, cookies.bob)).status, 403);
assert.equal((await post("/announcements", {}, cookies.ann)).status, 422);

// The backend stops and starts again. No client is disconnected, and events of that time are acked.
for (const socket of [ann, bob, eve]) socket.on("disconnect", (why) => assert.ok(why === "io client disconnect", why));
tell("stop");
let sending = true;
const acks = (async () => {
  for (let n = 0; sending; n++) assert.equal((await send(bob, { text: `line ${n}` })).ok, true);
})();
await told("running");
sending = false;
await acks;
assert.equal((await send(ann, { text: "still here" })).ok, true);
assert.deepStrictEqual(eve.got, [], "another organisation gets events");
assert.deepStrictEqual(ann.got.filter(([name]) => name === "message:new").map(([, { from }]) => from).filter((from) => from !== "bob@example.com"), []);

for (const socket of [ann, bob, eve]) socket.disconnect();
