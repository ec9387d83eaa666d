// A backend that calls the HTTP API by a client that is generated from its description.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Command = components["schemas"]["Command"];

const api = createClient<paths>({ baseUrl: "https://example.com/api/realtime", headers: { authorization: "Bearer key" } });

export async function tell(user: number, rooms: string[]): Promise<string> {
  const { data, error } = await api.POST("/emit", { body: { users: [user], to: rooms, event: "news", args: [1, { text: "x" }] } });
  if (error) throw new Error(`${error.error.code}: ${error.error.message}`);
  return "id" in data ? data.id : data.missing.join();
}

export async function move(commands: Command[]): Promise<number> {
  const more: Command[] = [
    { emit: { everyone: true, except: ["staff"], event: "moved", volatile: true } },
    { join: { where: { user: "u1", namespace: "/" }, rooms: ["a", 7] } },
    { leave: { where: { room: "a" }, rooms: ["a"] } },
    { data: { where: { socket: "s" }, patch: { role: "admin", none: null } } },
    { disconnect: { where: { user: 7 }, reason: "moved", close: true } },
  ];
  const { data } = await api.POST("/batch", { body: { commands: [...commands, ...more] }, params: { header: { "Idempotency-Key": "k" } } });
  let sockets = 0;
  for (const result of data?.results ?? []) {
    if ("sockets" in result) sockets += result.sockets;
  }
  return sockets;
}

export async function names(room: string): Promise<string[]> {
  const { data } = await api.GET("/rooms/{room}/presence", { params: { path: { room }, query: { namespace: "/" } } });
  const page = await api.GET("/sockets", { params: { query: { room } } });
  return [...(data?.users ?? []), ...(page.data?.sockets ?? []).map((socket) => `${socket.session} ${socket.user ?? "nobody"}`)];
}

// @ts-expect-error an event has a name
export const nameless: Command = { emit: { to: ["a"] } };
// @ts-expect-error there is no such command
export const shout: Command = { shout: {} };
// @ts-expect-error rooms are a list
export const room: Command = { join: { where: { user: "u1" }, rooms: "a" } };
