// Which pages may connect, and what the server tells their browsers.

import { asks, dials, scenario } from "../scenario.mjs";

const polling = "{path}?EIO=4&transport=polling";
const websocket = "EIO=4&transport=websocket";
const good = { origin: "https://app.example.com" };
const evil = { origin: "https://evil.test" };
const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "content-type,x-token" };

for (const on of ["plain", "origins", "any"]) {
  const suffix = { plain: "where no other site may", origins: "where some sites may", any: "where any site may" }[on];
  asks(`a page connects by polling, ${suffix}`, polling, { on, headers: good, withHeaders: true });
  asks(`a preflight, ${suffix}`, polling, { on, method: "OPTIONS", headers: { ...good, ...preflight }, withHeaders: true });
  dials(`a page connects by WebSocket, ${suffix}`, websocket, { on, headers: good });
}
asks("a page under a wildcard connects", polling, { on: "origins", headers: { origin: "https://a.b.example.org" }, withHeaders: true });
asks("a page of another site connects by polling", polling, { on: "origins", headers: evil, withHeaders: true });
asks("a preflight for a page of another site", polling, { on: "origins", method: "OPTIONS", headers: { ...evil, ...preflight }, withHeaders: true });
asks("a preflight that asks for no headers", polling, { on: "origins", method: "OPTIONS", headers: { ...good, "access-control-request-method": "POST" }, withHeaders: true });
asks("OPTIONS that is no preflight", polling, { on: "origins", method: "OPTIONS", headers: good, withHeaders: true });
dials("a page of another site connects by WebSocket", websocket, { on: "origins", headers: evil });
asks("a native client connects, where some sites may", polling, { on: "origins", withHeaders: true });
asks("a refused request of a page, which may read why", "{path}?EIO=4&transport=tesla", { on: "origins", headers: good, withHeaders: true });
asks("a preflight for a session that is unknown", `${polling}&sid=unknown`, { on: "origins", method: "OPTIONS", headers: { ...good, ...preflight }, withHeaders: true });

scenario("a page's session is used by the page", { on: "origins" }, async (t) => {
  const session = await t.polling("session", { headers: good });
  await session.asks({ method: "POST", body: "40", withHeaders: true });
  await session.asks({ withHeaders: true, method: "OPTIONS", headers: preflight });
  await session.next();
});
scenario("a page's session is used by a page of another site", { on: "origins" }, async (t) => {
  const session = await t.polling("session", { headers: good });
  await session.asks({ method: "POST", body: "40", headers: evil });
  await session.connect();
  await session.transmit('42["message",1]');
  await session.asks({ headers: evil });
});
