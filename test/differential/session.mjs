// Sessions of Engine.IO whose client does nothing by itself. Both transports look the same: packets are sent and awaited one
// by one, text as strings and binary messages as buffers, and everything is written into the trace:
//
//   > packet     sent
//   < packet     received
//   < closed     the session is over; over WebSocket, with the code

import http from "node:http";
import WebSocket from "ws";

import { pause, within } from "./within.mjs";
import { answerLines, postParts, request } from "./request.mjs";
import { hex } from "./trace.mjs";

const text = (packet) => (Buffer.isBuffer(packet) ? hex(packet) : packet);
const separator = "\x1e";

// The id of an event that the server asks an answer to. It counts for all clients of a namespace.
const ackID = /^(4[25](?:\d+-)?(?:\/[^,]*,)?)\d+(?=\[)/;

class Session {
  constructor(t, actor, path, query) {
    Object.assign(this, { t, actor, path, query });
  }

  log(line) {
    this.t.trace.log(this.actor, line);
  }

  /** Awaits the next packet, or undefined if the session is over. */
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

  /** Sends packets in the trace's sight. */
  async send(...packets) {
    packets.forEach((packet) => this.log(`> ${text(packet)}`));
    await this.transmit(...packets);
  }

  /** Enters a namespace, past the application's greeting. Nothing of it is in the trace. */
  async connect(namespace = "") {
    await this.transmit(`40${namespace}`);
    const answer = await this.receive();
    this.t.trace.learnFrom(answer);
    const { sid, pid } = JSON.parse(answer.slice(answer.indexOf("{")));
    this.socket = sid;
    this.pid = pid;
    const greeting = await this.receive();
    if (!this.t.recovers) return;
    this.offset = JSON.parse(greeting.slice(greeting.indexOf("["))).at(-1);
    this.t.trace.learn("offset", this.offset);
  }

  /** Awaits packets until there is one that begins so, or the end. */
  async until(beginning) {
    for (;;) {
      const packet = await this.next();
      if (packet === undefined || (typeof packet === "string" && packet.startsWith(beginning))) return packet;
    }
  }

  /** Receives until everything sent before has been handled, or the session is over. */
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

  /** Sends a request of the session's. */
  request({ query = "", ...options } = {}) {
    const what = `${options.method ?? "GET"} of the session`;
    return within(what, request(this.t.url, this.address + query, { agent: this.#agent, ...options, headers: { ...this.headers, ...options.headers } }));
  }

  /** The same, and the trace has what came of it. */
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

  /** Sends a GET that waits for something. Resolves once the server surely has it, with a function that awaits the answer. */
  async hang() {
    const sent = this.request();
    await pause(150); // nothing tells that a server has a request
    return async () => this.show("the GET that waited", await sent);
  }

  /** Begins a POST whose body does not end until it is finished, or given up. */
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

  /** Sends a POST in chunks of a byte. */
  async tinyChunks(body) {
    const post = postParts(this.t.url, this.address);
    for (const byte of body) post.sent.write(Buffer.of(byte));
    post.sent.end();
    answerLines(await post.answer).forEach((line) => this.log(`the POST: ${line}`));
  }

  /** Sends the beginning of a POST that says how long it will be. What it is answered before there is more is shown. */
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

  // However a session ends, as soon as it is over there is nothing to get from it any more. Which of the ways to say so a GET
  // meets depends on whether it was under way, for which there are scenarios of their own.
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

  /** Begins the handshake. `opened` resolves when it has ended, well or not. */
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

  /** Sends the bytes of frames, whatever they are. */
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
