// Scenarios: what is done to a server, whichever it is. What it answers is in the trace.

import { within } from "./within.mjs";
import { Client } from "./client.mjs";
import { answerLines, request, requestBytes } from "./request.mjs";
import { Polling, transports, WebSocketSession } from "./session.mjs";
import { Trace } from "./trace.mjs";

export const scenarios = [];

/** The area of the scenarios that are added next, which is the name of their file. */
let area;
export const enter = (name) => (area = name);

const names = new Set();

/**
 * Adds a scenario. `on` is the configuration of the servers that it needs, one of those in reference.mjs; `over`, the
 * transports of its clients.
 */
export function scenario(name, options, run) {
  if (typeof options === "function") return scenario(name, {}, options);
  if (names.has(name)) throw new Error(`there are two scenarios ${name}`);
  names.add(name);
  scenarios.push({ name, area, on: "plain", over: ["websocket"], ...options, run });
}

/** Adds a scenario for each transport on which Engine.IO's sessions can be opened; `run` gets one. */
export function onSessions(name, options, run) {
  if (typeof options === "function") return onSessions(name, {}, options);
  for (const [transport, Session] of Object.entries(transports)) {
    scenario(`${name}, ${transport}`, { over: [transport], ...options }, async (t) => run(t, await Session.open(t, "session", options.session), transport));
  }
}

/** Adds a scenario for each way in which socket.io-client connects; `run` gets one that has. */
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
 * Adds a scenario on each transport for packets that a client sends, and what comes back until all have been handled. The client
 * is in the namespace "/", unless it shall not be.
 */
export function packets(name, sent, { on = "plain", connect = true } = {}) {
  onSessions(name, { on }, async (t, session) => {
    if (connect) await session.connect();
    await session.send(...sent);
    await session.settle();
  });
}

/** Adds a scenario for one request, whose answer is compared. `path` has `{path}` for the endpoint's. */
export function asks(name, path, { on, withHeaders, ...options } = {}) {
  scenario(name, { on: on ?? "plain" }, async (t) => {
    await t.asks(path, { withHeaders, ...options });
  });
}

/** Adds a scenario for the handshake of a WebSocket: refused, or not, and then perhaps closed. */
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

  /** Opens a session; the name is that of its section in the trace. */
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

  /** Sends a request. The trace has its answer. */
  async asks(path, options = {}) {
    const { method = "GET", withHeaders } = options;
    const answer = await within("an answer", request(this.url, path.replace("{path}", this.path), { ...options, agent: false }));
    if (method === "GET") this.trace.learnFrom(answer.body ?? "");
    this.log(`${method} ${path}`);
    answerLines(answer, { withHeaders }).forEach((line) => this.log(`  ${line}`));
    return answer;
  }

  /** Sends the bytes of a request. The trace has the answer. */
  async asksBytes(text, { header } = {}) {
    const answer = await within("an answer", requestBytes(this.url, text));
    this.trace.learnFrom(answer.body ?? "");
    this.log(text.split("\r\n")[0]);
    if (header) return void this.log(`  ${answer.status}, ${header}: ${answer.headers[header]}`);
    answerLines(answer).forEach((line) => this.log(`  ${line}`));
  }

  /** Dials a WebSocket. The trace has its first packet, or why there is none. */
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

/** Runs a scenario against a server and resolves with the trace. If it came to no end, the last line says so: "! why". */
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
