// A socket.io-client that obeys the test, and tells what happens to it. By default it does not reconnect.

import { EventEmitter } from "node:events";
import http from "node:http";
import https from "node:https";

import { ask, io } from "./library.mjs";
import { obey, tell, until, url } from "./driver.mjs";

// Whether a long-poll is on its way. Only then does a server see at once that its client is gone.
const polls = Object.assign(new EventEmitter(), { sent: false });
for (const protocol of [http, https]) {
  const { request } = protocol;
  protocol.request = (...args) => {
    const sent = request(...args);
    if (sent.method === "GET") {
      sent.on("finish", () => polls.emit("change", (polls.sent = true)));
      sent.on("response", () => (polls.sent = false));
    }
    return sent;
  };
}

const socket = io(url, {
  transports: process.env.TRANSPORTS.split(","),
  auth: { token: process.env.TOKEN ?? "" },
  extraHeaders: process.env.ORIGIN ? { Origin: process.env.ORIGIN } : {},
  reconnection: process.env.RECONNECT === "yes",
  reconnectionDelay: 50,
  reconnectionDelayMax: 500,
});
const isFinal = () => process.env.TRANSPORTS.endsWith(socket.io.engine.transport.name);

socket.on("connect", async () => {
  if (!isFinal()) await new Promise((resolve) => socket.io.engine.once("upgrade", resolve));
  tell("connected", { id: socket.id, session: socket.io.engine.id, transport: socket.io.engine.transport.name, recovered: socket.recovered });
});
socket.on("connect_error", ({ message, data }) => {
  // While the server is away, each attempt to reconnect brings one. Their number depends on time.
  if (!socket.active || process.env.RECONNECT !== "yes") tell("refused", { message, data });
});
socket.on("disconnect", (reason) => tell("disconnected", reason));

obey({
  disconnect: () => socket.disconnect(),
  close: () => socket.io.engine.close(),
  emit: (...args) => socket.emit(...args),
  ask: async (...args) => tell("answered", await ask(socket, ...args)),
  // Sends a message that is no Socket.IO packet.
  garbage: () => socket.io.engine.write("9"),
  // Stops answering pings.
  silence: () => {
    const { engine } = socket.io;
    const name = "_sendPacket" in engine ? "_sendPacket" : "sendPacket"; // in older clients
    const send = engine[name].bind(engine);
    engine[name] = (type, ...rest) => type === "pong" || send(type, ...rest);
    tell("silent");
  },
  // Tells when the connection is at rest: all events so far have arrived, and the next poll waits.
  rest: async () => {
    await ask(socket, "message-with-ack");
    if (socket.io.engine.transport.name === "polling") await until(polls, "change", () => polls.sent);
    tell("resting");
  },
  exit: () => process.exit(0),
});
