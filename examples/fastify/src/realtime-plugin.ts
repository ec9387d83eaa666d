// What realtime adds to the API: one route, that Caddy asks, and a way to emit events from any other.

import type { FastifyBaseLogger, FastifyPluginAsync, FastifyRequest } from "fastify";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

import type { BackendRequest, BatchMessage, BatchRequest, BatchResult, ConnectAnswer, ConnectRefusal, Emission, EventAnswer, EventRefusal } from "../../../module/webhook/types/realtime.js";
import { sessionOf } from "./sessions.js";
import { roomOf, type ClientToServerEvents, type ServerToClientEvents, type SocketData } from "./types.js";

export interface Options {
  /** Signs what Caddy asks: whsec_… */
  secret: string;
}

type Asked = BackendRequest<ClientToServerEvents, SocketData> | BatchRequest<ClientToServerEvents, SocketData>;
type Message = BatchMessage<ClientToServerEvents, SocketData>;
type EventAsked = Extract<Message, { type: "socket.event" }>;
type Answer = [status: number, body?: EventAnswer<SocketData, ServerToClientEvents> | EventRefusal];

/** Remembers what was there within ten minutes, which is longer than a signature is good for. */
class Seen {
  #times = new Map<string, number>();

  /** Says whether it sees something for the first time. */
  first(what: string): boolean {
    const now = Date.now();
    for (const [old, time] of this.#times) {
      if (time > now - 600_000) break;
      this.#times.delete(old);
    }
    if (this.#times.has(what)) return false;
    this.#times.set(what, now);
    return true;
  }
}

let messages = 0;

/** The route POST /realtime. */
export const realtime: FastifyPluginAsync<Options> = async (app, { secret }) => {
  const webhook = new Webhook(secret);
  const requests = new Seen();
  const gone = new Seen();

  // The signature is of the body as it came.
  app.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) => done(null, body));

  app.setErrorHandler((error, _request, reply) => {
    if (!(error instanceof WebhookVerificationError)) throw error;
    // It is not the client's fault: a secret is wrong, or this is not Caddy.
    return reply.code(500).send({ error: { code: "bad_signature", message: error.message } });
  });

  /** Returns what is asked: by Caddy, at this moment, and for the first time. */
  function verified(request: FastifyRequest): Asked {
    const signature = String(request.headers["webhook-signature"]);
    const asked = webhook.verify(request.body as string, request.headers as Record<string, string>) as Asked;
    if (!requests.first(signature)) throw new WebhookVerificationError("the request has been here before"); // another attempt has another
    return asked;
  }

  app.post("/realtime", async (request, reply) => {
    const asked = verified(request);
    switch (asked.type) {
      case "socket.connect": {
        const user = sessionOf(request);
        if (!user) return reply.code(401).send({ error: { message: "log in first" } } satisfies ConnectRefusal);
        request.log.info({ socket: asked.data.socket.id, user: user.email }, "connected");
        return { user: user.userId, data: user, join: [roomOf(user)] } satisfies ConnectAnswer<SocketData, ServerToClientEvents>;
      }
      case "batch": { // messages that come together, each of which is answered by a line
        const lines = asked.messages.map((message) => {
          const [status, body = null] = answerTo(message);
          return JSON.stringify({ id: message.id, status, body } satisfies BatchResult) + "\n";
        });
        return reply.type("application/x-ndjson").send(lines.join(""));
      }
    }
    const [status, body] = answerTo({ id: String(request.headers["webhook-id"]), ...asked });
    return reply.code(status).send(body);
  });

  /** Says what follows from a message. */
  function answerTo(message: Message): Answer {
    switch (message.type) {
      case "socket.event":
        return handle(message);
      case "socket.disconnect": {
        const { socket, state, reason, user_connections_left } = message.data;
        if (gone.first(message.id)) { // it may be told more than once
          app.log.info({ socket: socket.id, user: state.email, reason, left: user_connections_left }, "disconnected");
        }
      }
    }
    return [204]; // also to what is of a newer Caddy
  }
};

/** Says what follows from an event. */
function handle({ data }: EventAsked): Answer {
  const { socket, state, event, args } = data;
  switch (event) {
    case "message:send": {
      const text: unknown = args[0]?.text; // clients can send anything
      if (typeof text !== "string" || text === "") return [422, { error: { code: "no_text", message: "a message has a text" } }];
      const message = { id: ++messages, text, from: state.email };
      return [200, {
        ack: [{ ok: true, id: message.id }],
        emit: [{ to: [roomOf(state)], except: [socket.id], event: "message:new", args: [message] }],
      }];
    }
  }
  return [422, { error: { code: "unknown_event", message: "there is message:send, with {text}" } }];
}

/** Emits an event by Caddy's HTTP API. */
export async function emit(emission: Emission<ServerToClientEvents>, log: FastifyBaseLogger): Promise<boolean> {
  const response = await fetch(`${process.env["REALTIME_URL"] ?? "http://localhost:8080/api/realtime"}/emit`, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env["REALTIME_KEY"]}`, "content-type": "application/json" },
    body: JSON.stringify(emission),
    signal: AbortSignal.timeout(10_000),
  }).catch((error: unknown) => log.error(error));
  if (response && !response.ok) log.error({ status: response.status, event: emission.event }, "event was not emitted");
  return response?.ok ?? false;
}
