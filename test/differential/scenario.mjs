// Scenarios: each does something to a server, and has its answers in a trace. Every server runs the same scenarios.

import { within } from "./within.mjs";
import { Client } from "./client.mjs";
import { answerLines, request, requestBytes } from "./request.mjs";
import { Polling, transports, WebSocketSession } from "./session.mjs";
import { Trace } from "./trace.mjs";

export const scenarios = [];

/** The area of the scenarios that are added next: the name of their file. */
let area;
export const enter = (name) => (area = name);

const names = new Set();

/**
 * Adds a scenario. `on` is the servers' configuration, one of those in reference.mjs. `over` are the transports of the
 * scenario's clients.
 */
export function scenario(name, options, run) {
  if (typeof options === "function") return scenario(name, {}, options);
  if (names.has(name)) throw new Error(`there are two scenarios ${name}`);
  names.add(name);
  scenarios.push({ name, area, on: "plain", over: ["websocket"], ...options, run });
}

/** Adds a scenario for each transport that can open an Engine.IO session; `run` gets the session. */
export function onSessions(name, options, run) {
  if (typeof options === "function") return onSessions(name, {}, options);
  for (const [transport, Session] of Object.entries(transports)) {
    scenario(`${name}, ${transport}`, { over: [transport], ...options }, async (t) => run(t, await Session.open(t, "session", options.session), transport));
  }
}

/** Adds a scenario for each way in which socket.io-client connects; `run` gets the connected client. */
export function onClients(name, options, run) {
  if (typeof options === "function") return onClients(name, {}, options);
  for (const over of [["polling"], ["websocket"], ["polling", "websocket"]]) {
    scenario(`${name}, ${over.join(" to ")}`, { ...options, over }, async (t) => {
      const client = t.client("client", options.client);
      await client.connected();
      if (over.length > 1) await client.upgraded();
      await run(t, client);
    });
  }
}

/**
 * Adds a scenario for each transport: a client sends packets, and receives until the server has handled all of them. The client
 * is in the namespace "/", unless `connect` is false.
 */
export function packets(name, sent, { on = "plain", connect = true } = {}) {
  onSessions(name, { on }, async (t, session) => {
    if (connect) await session.connect();
    await session.send(...sent);
    await session.settle();
  });
}

/** Adds a scenario for one request and its answer. In `path`, `{path}` stands for the endpoint's path. */
export function asks(name, path, { on, withHeaders, ...options } = {}) {
  scenario(name, { on: on ?? "plain" }, async (t) => {
    await t.asks(path, { withHeaders, ...options });
  });
}

/** Adds a scenario for the handshake of a WebSocket, and for the first packet or the close after it. */
export function dials(name, query, { on, ...options } = {}) {
  scenario(name, { on: on ?? "plain" }, async (t) => {
    await t.dials(query, options);
  });
}

/** A scenario as it runs against one server. */
class Run {
  trace = new Trace();
  #cleanups = [];

  constructor({ url, path = "/socket.io/" }, { name, over, on }) {
    Object.assign(this, { url, path, transports: over, scenario: name, recovers: on === "recovery" || on === "forgetful" });
  }

  /** A namespace that no other scenario uses. */
  get namespace() {
    return `/tenant-${this.scenario.replace(/[^a-z0-9]+/gi, "-")}`;
  }

  log(line) {
    this.trace.log("test", line);
  }

  cleanup(run) {
    this.#cleanups.push(run);
  }

  end() {
    for (const run of this.#cleanups.splice(0).reverse()) run();
  }

  /** Opens a session; `actor` names its section of the trace. */
  session(actor = "session", options) {
    return transports[this.transports[0]].open(this, actor, options);
  }

  polling(actor = "polling", options) {
    return Polling.open(this, actor, options);
  }

  websocket(actor = "websocket", options) {
    return WebSocketSession.open(this, actor, options);
  }

  /** Connects a socket.io-client. */
  client(actor = "client", { namespace, connect, ...options } = {}) {
    return new Client(this, actor, { namespace, connect, options });
  }

  /** Sends a request and writes the answer into the trace. */
  async asks(path, options = {}) {
    const { method = "GET", withHeaders } = options;
    const answer = await within("an answer", request(this.url, path.replace("{path}", this.path), { ...options, agent: false }));
    if (method === "GET") this.trace.learnFrom(answer.body ?? "");
    this.log(`${method} ${path}`);
    answerLines(answer, { withHeaders }).forEach((line) => this.log(`  ${line}`));
    return answer;
  }

  /** Sends the bytes of a request and writes the answer into the trace. */
  async asksBytes(text, { header } = {}) {
    const answer = await within("an answer", requestBytes(this.url, text));
    this.trace.learnFrom(answer.body ?? "");
    this.log(text.split("\r\n")[0]);
    if (header) return void this.log(`  ${answer.status}, ${header}: ${answer.headers[header]}`);
    answerLines(answer).forEach((line) => this.log(`  ${line}`));
  }

  /** Dials a WebSocket, and writes into the trace its first packet, or why there is none. */
  async dials(query, { withHeaders, ...options } = {}) {
    const session = new WebSocketSession(this, "websocket", this.path, query);
    let upgrade;
    session.dial(options);
    session.ws.on("upgrade", ({ headers }) => (upgrade = { status: 101, headers, body: "" }));
    session.log(`WebSocket ${query}`);
    await session.opened;
    const answer = session.refused ?? upgrade;
    if (!answer) return void session.log("  no answer");
    answerLines(answer, { withHeaders }).forEach((line) => session.log(`  ${line}`));
    if (!session.refused) await session.next();
    return session;
  }
}

/** Runs a scenario against a server; resolves with the trace. If the scenario fails, the last line is "! why". */
export async function run(scenario, server) {
  const t = new Run(server, scenario);
  const failures = [];
  try {
    await scenario.run(t);
  } catch (error) {
    failures.push(`! ${error.message}`);
    if (process.env.DEBUG) console.error(scenario.name, error);
  }
  const lines = t.trace.lines();
  t.end();
  return [...lines, ...failures];
}
