// A socket.io-client that writes into the trace what happens to it:
//
//   connect
//   connect_error message {data}
//   event name argument …
//   disconnect reason

import { EventEmitter } from "node:events";
import { io } from "socket.io-client";

import { within } from "./within.mjs";
import { show } from "./trace.mjs";

export class Client {
  #events = new EventEmitter();
  #seen = []; // lines that have not been awaited yet

  constructor(t, actor, { namespace = "/", connect = io, options = {} }) {
    this.t = t;
    this.actor = actor;
    this.options = options;
    const settings = { path: t.path, transports: t.transports, forceNew: true, reconnection: false, ...options };
    this.socket = connect(t.url + namespace, settings);
    this.watch(this.socket);
    t.cleanup(() => this.socket.io.engine?.close());
    t.cleanup(() => this.socket.disconnect());
  }

  watch(socket) {
    socket.on("connect", () => {
      this.t.trace.learn("session", socket.io.engine.id);
      this.t.trace.learn("socket", socket.id);
      this.t.trace.learn("recovery", socket._pid);
      this.log(this.t.recovers ? `connect, recovered: ${socket.recovered}` : "connect");
    });
    socket.on("connect_error", ({ message, data }) => this.log(`connect_error ${message} ${show(data)}`));
    socket.on("disconnect", (reason) => this.log(`disconnect ${reason}`));
    socket.on("error", (error) => this.log(`error ${show(error)}`)); // of version 2
    const event = (name, ...args) => {
      if (this.t.recovers) this.t.trace.learn("offset", args.at(-1));
      this.log(["event", name, ...args.map((arg) => (typeof arg === "function" ? "(ack)" : show(arg)))].join(" "));
    };
    if (socket.onAny) return void socket.onAny(event);
    const onevent = socket.onevent.bind(socket);
    socket.onevent = (packet) => {
      event(...packet.data);
      onevent(packet);
    };
  }

  log(line) {
    this.t.trace.log(this.actor, line);
    this.#seen.push(line);
    this.#events.emit("line");
  }

  /** Waits for the first line with this beginning that has not been awaited before. */
  async sees(beginning) {
    const find = () => {
      const index = this.#seen.findIndex((line) => line.startsWith(beginning));
      if (index < 0) return false;
      this.#seen.splice(0, index + 1);
      return true;
    };
    if (find()) return;
    let look;
    await within(`${beginning} (${this.actor})`, new Promise((resolve) => {
      look = () => find() && resolve();
      this.#events.on("line", look);
    })).finally(() => this.#events.off("line", look));
  }

  /** Waits until the client is connected and has the application's first event. */
  async connected() {
    await this.sees("connect");
    await this.sees("event auth");
    return this;
  }

  /** Waits until the connection has moved to WebSocket. */
  async upgraded() {
    const { engine } = this.socket.io;
    if (engine.transport.name !== "websocket" || engine.upgrading) await within("the upgrade", new Promise((resolve) => engine.once("upgrade", resolve)));
  }

  emit(...args) {
    this.socket.emit(...args);
  }

  /** Emits an event, and writes its ack into the trace. */
  async asks(...args) {
    const answer = await this.answer(...args);
    this.log(`${args[0]} is answered ${answer.map(show).join(" ")}`.trimEnd());
    return answer[0];
  }

  /** Emits an event; resolves with all arguments of the ack. */
  answer(...args) {
    return within(`the ack of ${args[0]} (${this.actor})`, new Promise((resolve) => this.socket.emit(...args, (...answer) => resolve(answer))));
  }

  /** Waits until the server has handled all events so far, and what it sent before has arrived. */
  async settle() {
    await this.answer("message-with-ack");
  }

  get id() {
    return this.socket.id;
  }
}
