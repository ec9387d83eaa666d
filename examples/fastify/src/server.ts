// An ordinary Fastify API. Two lines of it are there for realtime: those with realtime and emit in them.

import cookie from "@fastify/cookie";
import cors from "@fastify/cors";
import fastify from "fastify";

import { emit, realtime } from "./realtime-plugin.js";
import { byEmail, sessionOf } from "./sessions.js";
import { roomOf } from "./types.js";

const { REALTIME_SECRET, SESSION_SECRET = "only for this example, and at least 32 long", API_ADDRESS = "localhost:3000", PAGE_ORIGIN = "http://localhost:5173" } = process.env;
if (!REALTIME_SECRET) throw new Error("REALTIME_SECRET is missing; make one: echo whsec_$(openssl rand -base64 32)");

const app = fastify({ logger: true, return503OnClosing: false });
await app.register(cors, { origin: [PAGE_ORIGIN], credentials: true });
await app.register(cookie, { secret: SESSION_SECRET });
await app.register(realtime, { secret: REALTIME_SECRET });

app.get("/health", async () => ({ status: "ok" }));

// It stands for yours.
app.post<{ Body: { email?: unknown } }>("/login", async (request, reply) => {
  const user = byEmail(request.body?.email);
  if (!user) return reply.code(401).send({ error: { code: "unknown_user", message: "nobody has this address" } });
  return reply.setCookie("session", user.userId, { signed: true, httpOnly: true, sameSite: "lax", path: "/" }).code(204).send();
});

app.post("/logout", async (_request, reply) => reply.clearCookie("session", { path: "/" }).code(204).send());

app.get("/me", async (request, reply) => {
  const user = sessionOf(request);
  return user ? reply.send(user) : reply.code(401).send({ error: { code: "no_session", message: "log in first" } });
});

// An ordinary request that everybody in the organisation hears of.
app.post<{ Body: { text?: unknown } }>("/announcements", async (request, reply) => {
  const user = sessionOf(request);
  if (user?.role !== "admin") return reply.code(403).send({ error: { code: "forbidden", message: "only admins announce" } });
  const text = request.body?.text;
  if (typeof text !== "string" || text === "") return reply.code(422).send({ error: { code: "no_text", message: "an announcement has a text" } });
  const sent = await emit({ to: [roomOf(user)], event: "announcement", args: [{ text }] }, request.log);
  return reply.code(sent ? 202 : 502).send();
});

// When the process is to end, Caddy keeps to itself what comes from then on, and asks again what cannot connect any more. By the
// time that the socket is closed nothing is on its way.
let stopping = false;
app.addHook("onSend", async (_request, reply) => {
  if (stopping) reply.headers({ connection: "close", "retry-after": "1" }); // seconds
});
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    stopping = true;
    setTimeout(() => app.close(), 500);
    setTimeout(() => app.server.closeAllConnections(), 6000).unref(); // nobody waits for an answer any more
  });
}

const [host, port] = API_ADDRESS.split(":");
await app.listen({ host: host!, port: Number(port) });
