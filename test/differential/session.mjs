// Engine.IO sessions whose client does nothing by itself. Both transports have the same methods: they send packets and wait for
// them one by one, text as strings and binary messages as buffers, and write all of them into the trace:
//
//   > packet     sent
//   < packet     received
//   < closed     the session has ended; a WebSocket adds the code

import http from "node:http";
import WebSocket from "ws";

import { pause, within } from "./within.mjs";
import { answerLines, postParts, request } from "./request.mjs";
import { hex } from "./trace.mjs";

const text = (packet) => (Buffer.isBuffer(packet) ? hex(packet) : packet);
const separator = "\x1e";

// The id of an event for which the server awaits an ack. The server counts them for all clients of a namespace together.
const ackID = /^(4[25](?:\d+-)?(?:\/[^,]*,)?)\d+(?=\[)/;

class Session {
  constructor(t, actor, path, query) {
    Object.assign(this, { t, actor, path, query });
  }

  log(line) {
    this.t.trace.log(this.actor, line);
  }

  /** Waits for the next packet; undefined if the session has ended. */
  async next() {
    const packet = await this.receive();
    if (packet === undefined) return void this.log(`< closed${this.code ? ` ${this.code}` : ""}`);
    this.received(packet);
    return packet;
  }

  received(packet) {
    if (typeof packet === "string") this.t.trace.learnFrom(packet);
    if (this.t.recovers && /^4[25]/.test(packet)) this.t.trace.learn("offset", /"([^"]*)"\]$/.exec(packet)?.[1]);
    this.log(`< ${text(packet).replace(ackID, "$1«ack»")}`);
  }

  /** Sends packets and writes them into the trace. */
  async send(...packets) {
    packets.forEach((packet) => this.log(`> ${text(packet)}`));
    await this.transmit(...packets);
  }

  /** Enters a namespace and receives the application's first event. The trace has nothing of it. */
  async connect(namespace = "") {
    await this.transmit(`40${namespace}`);
    const answer = await this.receive();
    this.t.trace.learnFrom(answer);
    const { sid, pid } = JSON.parse(answer.slice(answer.indexOf("{")));
    this.socket = sid;
    this.pid = pid;
    const first = await this.receive();
    if (!this.t.recovers) return;
    this.offset = JSON.parse(first.slice(first.indexOf("["))).at(-1);
    this.t.trace.learn("offset", this.offset);
  }

  /** Receives packets until one has this beginning, or the session has ended. */
  async until(beginning) {
    for (;;) {
      const packet = await this.next();
      if (packet === undefined || (typeof packet === "string" && packet.startsWith(beginning))) return packet;
    }
  }

  /** Receives until the server has handled everything sent before, or the session has ended. */
  async settle(namespace = "") {
    await this.transmit(`42${namespace}31337["message-with-ack"]`);
    for (;;) {
      const packet = await this.receive();
      if (packet === `43${namespace}31337[]`) return void this.log("all is handled");
      if (packet === undefined) return void this.log(`< closed${this.code ? ` ${this.code}` : ""}`);
      this.received(packet);
    }
  }
}

/** Long-polling. */
export class Polling extends Session {
  #queue = [];
  #agent = new http.Agent({ keepAlive: true });

  static async open(t, actor, { path = t.path, query = "EIO=4&transport=polling", headers = {} } = {}) {
    const session = new Polling(t, actor, path, query);
    session.headers = headers;
    const answer = await session.request();
    session.id = JSON.parse(answer.body.slice(1)).sid;
    t.trace.learn("session", session.id);
    t.cleanup(() => session.#agent.destroy());
    return session;
  }

  get address() {
    return `${this.path}?${this.query}${this.id ? `&sid=${this.id}` : ""}`;
  }

  /** Sends a request of the session. */
  request({ query = "", ...options } = {}) {
    const what = `${options.method ?? "GET"} of the session`;
    return within(what, request(this.t.url, this.address + query, { agent: this.#agent, ...options, headers: { ...this.headers, ...options.headers } }));
  }

  /** Sends a request of the session, and writes it and the answer into the trace. */
  async asks(options = {}) {
    const answer = await this.request(options);
    const { method = "GET", body = "", query = "" } = options;
    this.show(`${method}${query} ${body}`.trimEnd(), answer, options);
    return answer;
  }

  show(what, answer, options) {
    this.t.trace.learnFrom(answer.body ?? "");
    this.log(what);
    answerLines(answer, options).forEach((line) => this.log(`  ${line}`));
  }

  /** Sends a GET that the server does not answer yet. Resolves once the server has it, with a function that waits for the answer. */
  async hang() {
    const sent = this.request();
    await pause(150); // nothing says when a server has a request
    return async () => this.show("the GET that waited", await sent);
  }

  /** Begins a POST whose body stays incomplete until `finish` or `giveUp`. */
  slowPost(beginning) {
    const post = postParts(this.t.url, this.address, 1000);
    post.sent.write(beginning);
    return {
      finish: async () => {
        post.sent.end(" ".repeat(1000 - beginning.length));
        answerLines(await post.answer).forEach((line) => this.log(`the slow POST: ${line}`));
      },
      giveUp: () => post.sent.destroy(),
    };
  }

  /** Sends a POST in chunks of one byte. */
  async tinyChunks(body) {
    const post = postParts(this.t.url, this.address);
    for (const byte of body) post.sent.write(Buffer.of(byte));
    post.sent.end();
    answerLines(await post.answer).forEach((line) => this.log(`the POST: ${line}`));
  }

  /** Sends the first byte of a POST with this content-length, and shows the answer that comes before the rest. */
  async hugePost(length) {
    const post = postParts(this.t.url, this.address, length);
    post.sent.write("4");
    const answer = await Promise.race([post.answer, pause(1000).then(() => ({ error: "no answer yet" }))]);
    answerLines(answer).forEach((line) => this.log(`the POST: ${line}`));
    post.sent.destroy();
  }

  /** Sends a POST in chunks. */
  async chunkedPost(...parts) {
    const post = postParts(this.t.url, this.address);
    for (const part of parts) {
      post.sent.write(part);
      await pause(20);
    }
    post.sent.end();
    answerLines(await post.answer).forEach((line) => this.log(`the POST: ${line}`));
  }

  async transmit(...packets) {
    const body = packets.map((packet) => (Buffer.isBuffer(packet) ? `b${packet.toString("base64")}` : packet)).join(separator);
    await this.request({ method: "POST", body, headers: { "content-type": "text/plain;charset=UTF-8" } });
  }

  // After the end of a session no packet comes. A GET that was under way is answered otherwise than a later one: other scenarios
  // check that.
  async receive() {
    for (;;) {
      if (this.#queue.length > 0) {
        const packet = this.#queue.shift();
        if (packet === "1") return undefined;
        return packet.startsWith("b") ? Buffer.from(packet.slice(1), "base64") : packet;
      }
      const { status, body } = await this.request();
      if (status !== 200) return undefined;
      this.#queue = body.split(separator);
    }
  }

  /** Opens the WebSocket that may become the session's transport. */
  async candidate(actor = "candidate", options) {
    const query = this.query.replace("polling", "websocket");
    const candidate = new WebSocketSession(this.t, actor, this.path, `${query}&sid=${this.id}`);
    candidate.dial(options);
    await candidate.opened;
    return candidate;
  }
}

/** WebSocket. */
export class WebSocketSession extends Session {
  #queue = [];
  #waiting = [];

  static async open(t, actor, { path = t.path, query = "EIO=4&transport=websocket", ...options } = {}) {
    const session = new WebSocketSession(t, actor, path, query);
    session.dial(options);
    await session.opened;
    if (!session.refused) {
      const open = await session.receive();
      session.id = JSON.parse(open.slice(1)).sid;
      t.trace.learn("session", session.id);
    }
    return session;
  }

  /** Begins the handshake. `opened` resolves when the handshake has succeeded or failed. */
  dial(options = {}) {
    const address = this.t.url.replace("http", "ws") + `${this.path}?${this.query}`;
    const ws = new WebSocket(address, options.protocols, { perMessageDeflate: false, ...options });
    this.ws = ws;
    this.t.cleanup(() => ws.terminate());
    const push = (packet) => (this.#waiting.length ? this.#waiting.shift()(packet) : this.#queue.push(packet));
    ws.on("message", (data, isBinary) => push(isBinary ? data : data.toString()));
    ws.on("error", () => {}); // close follows
    ws.on("close", (code) => {
      this.code = code;
      this.ended = true;
      this.#waiting.splice(0).forEach((resolve) => resolve(undefined));
    });
    this.opened = within("the end of the handshake", new Promise((resolve) => {
      ws.on("open", resolve);
      ws.on("close", resolve);
      ws.on("unexpected-response", (_, response) => {
        const parts = [];
        response.on("data", (part) => parts.push(part));
        response.on("close", () => {
          this.refused = { status: response.statusCode, headers: response.headers, body: Buffer.concat(parts).toString() };
          resolve();
        });
      });
    }));
  }

  async transmit(...packets) {
    if (this.ws.readyState === WebSocket.OPEN) packets.forEach((packet) => this.ws.send(packet));
  }

  /** Sends bytes that need not be valid frames. */
  sendBytes(...bytes) {
    this.ws._socket.write(Buffer.concat(bytes.map((part) => Buffer.from(part))));
  }

  async receive() {
    if (this.#queue.length > 0) return this.#queue.shift();
    if (this.ended) return undefined;
    return within("a packet", new Promise((resolve) => this.#waiting.push(resolve)));
  }
}

/** The transports, by their names. */
export const transports = { polling: Polling, websocket: WebSocketSession };
