// Who a request is of: a signed cookie, as the API had it before there was realtime.

import type { FastifyRequest } from "fastify";

import type { SocketData } from "./types.js";

const users: SocketData[] = [
  { userId: "u1", organizationId: "acme", role: "admin", email: "ann@example.com" },
  { userId: "u2", organizationId: "acme", role: "member", email: "bob@example.com" },
  { userId: "u3", organizationId: "umbrella", role: "member", email: "eve@example.com" },
];

export const byEmail = (email: unknown) => users.find((user) => user.email === email);

/** Reads the session of a request: one of a browser, or one that Caddy makes for a client that connects. */
export function sessionOf(request: FastifyRequest): SocketData | undefined {
  const { valid, value } = request.unsignCookie(request.cookies["session"] ?? "");
  return valid ? users.find((user) => user.userId === value) : undefined;
}
