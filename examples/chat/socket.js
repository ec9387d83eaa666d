/**
 * A Socket.IO client small enough to read: Socket.IO 5 over Engine.IO 4 over a WebSocket.
 *
 * Its names and its behaviour are those of socket.io-client v4, so that `import { io } from "socket.io-client"` can take
 * its place. It leaves out HTTP long-polling, binary arguments (JSON only), namespaces other than "/", and much else.
 */

// Packet types: Engine.IO's, and Socket.IO's, which travel inside Engine.IO's 4 (message).
const OPEN = "0", CLOSE = "1", PING = "2", PONG = "3";
const CONNECT = "40", DISCONNECT = "41", EVENT = "42", ACK = "43", CONNECT_ERROR = "44";
const PACKET = /^(0|1|2|6|4[0-4])(\d*)(.*)$/s; // type, [ack id], [JSON]

/** Connects to the server at `url`, by default the page's own. `auth` is an object, or a function that gets a callback. */
export function io(url, options) {
  if (typeof url === "object") [url, options] = [undefined, url];
  return new Socket(new URL("/socket.io/", url ?? location.href), options).connect();
}

class Emitter {
  #listeners = new Map(); // event → array, replaced and never changed, so that a listener may remove itself

  on(event, listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
    return this;
  }

  off(event, listener) {
    this.#listeners.set(event, (this.#listeners.get(event) ?? []).filter((l) => listener && l !== listener));
    return this;
  }

  _fire(event, ...args) {
    for (const listener of this.#listeners.get(event) ?? []) listener.apply(this, args);
  }
}

class Socket extends Emitter {
  id; // the server's name for this socket, another one after each reconnection
  connected = false;
  active = false; // whether it is connected, or tries to be
  io = Object.assign(new Emitter(), { engine: null }); // fires reconnect_attempt and reconnect, as the Manager does

  #url; #auth; #ws;
  #patience; // how long the server may be silent: its ping interval and timeout, in ms
  #timer; // set off by a server silent for too long or, while there is no connection, by the next attempt
  #attempts = 0;
  #buffer = []; // packets that wait for a connection
  #acks = new Map(); // ack id → callback
  #nextAck = 0;

  constructor(url, { auth } = {}) {
    super();
    url.protocol = url.protocol.replace("http", "ws");
    url.search = "EIO=4&transport=websocket";
    this.#url = url;
    this.#auth = typeof auth === "function" ? auth : (send) => send(auth);
  }

  connect() {
    if (!this.active) this.#open();
    return this;
  }

  disconnect() {
    if (this.connected) this.#ws.send(DISCONNECT);
    this.active = false;
    this.#end("io client disconnect");
    return this;
  }

  /** Sends an event, at once or when there is a connection. A function as last argument gets the server's answer. */
  emit(event, ...args) {
    let ackId = "";
    if (typeof args.at(-1) === "function") this.#acks.set((ackId = this.#nextAck++), args.pop());
    const packet = EVENT + ackId + JSON.stringify([event, ...args]);
    if (this.connected) this.#ws.send(packet);
    else this.#buffer.push(packet);
    return this;
  }

  #open() {
    this.active = true;
    const ws = (this.#ws = new WebSocket(this.#url));
    this.io.engine = Object.assign(new Emitter(), { transport: { name: "websocket" } });
    this.#expectPacket(20_000, "timeout");
    // A connection that was given up may still have something to say, but nobody listens any more.
    ws.onmessage = ({ data }) => ws === this.#ws && this.#receive(data);
    ws.onclose = () => ws === this.#ws && this.#end("transport close");
  }

  #expectPacket(milliseconds, reason) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#end(reason), milliseconds);
  }

  #receive(packet) {
    const ws = this.#ws;
    let type, ackId, data;
    try {
      [, type, ackId, data] = PACKET.exec(packet);
      data = JSON.parse(data || "[]");
    } catch {
      return this.#end("parse error");
    }
    if (type === OPEN) this.#patience = data.pingInterval + data.pingTimeout;
    if (type === OPEN) this.#auth((auth) => ws.send(CONNECT + JSON.stringify(auth ?? {})));
    if (type === PING) ws.send(PONG);
    if (type === OPEN || type === PING) this.#expectPacket(this.#patience, "ping timeout");
    if (type === CLOSE) this.#end("transport close");
    if (type === CONNECT) this.#connected(data.sid);
    const answer = (...args) => ws.send(ACK + ackId + JSON.stringify(args));
    if (type === EVENT) this._fire(...data, ...(ackId ? [answer] : []));
    if (type === ACK) this.#acks.get(Number(ackId))?.(...data);
    if (type === ACK) this.#acks.delete(Number(ackId));
    // The server does not want this client: whether to try again is for the application to say.
    if (type === DISCONNECT || type === CONNECT_ERROR) this.active = false;
    if (type === DISCONNECT) this.#end("io server disconnect");
    if (type === CONNECT_ERROR) this.#end("refused", data.message, data.data);
  }

  #connected(id) {
    Object.assign(this, { id, connected: true });
    for (const packet of this.#buffer.splice(0)) this.#ws.send(packet);
    if (this.#attempts > 0) this.io._fire("reconnect", this.#attempts);
    this.#attempts = 0;
    this._fire("connect");
  }

  /** Gives up the connection, plans the next one unless the application has to ask for it, and tells the application. */
  #end(reason, message = reason, data) {
    const [ws, wasConnected] = [this.#ws, this.connected];
    Object.assign(this, { id: undefined, connected: false });
    this.#ws = null;
    ws?.close();
    if (wasConnected) this.#acks.clear(); // what was asked over this connection is not answered over another
    clearTimeout(this.#timer);
    // The wait doubles with each attempt, and is spread so that clients do not all come back at once.
    const delay = Math.min(5000, 1000 * 2 ** this.#attempts * (0.5 + Math.random()));
    if (this.active) this.#timer = setTimeout(() => this.#retry(), delay);
    if (wasConnected) this._fire("disconnect", reason);
    else if (reason !== "io client disconnect") this._fire("connect_error", Object.assign(new Error(message), { data }));
  }

  #retry() {
    this.io._fire("reconnect_attempt", ++this.#attempts);
    if (this.active) this.#open();
  }
}
