// A socket.io-client of version 2 that obeys the test, and tells what happens to it, like client.mjs.

import { createRequire } from "node:module";

import { obey, tell, url } from "./driver.mjs";

const transports = process.env.TRANSPORTS.split(",");
const socket = createRequire(import.meta.url)("socket.io-client-2")(url, {
  transports,
  reconnection: process.env.RECONNECT === "yes",
  reconnectionDelay: 50,
  reconnectionDelayMax: 500,
});

socket.on("connect", async () => {
  const { engine } = socket.io;
  if (engine.transport.name !== transports.at(-1)) await new Promise((resolve) => engine.once("upgrade", resolve));
  tell("connected", { id: socket.id, session: engine.id, transport: engine.transport.name });
});
socket.on("connect_error", ({ type, description }) => {
  if (process.env.RECONNECT !== "yes") tell("refused", { type, status: typeof description === "number" ? description : 0 });
});
socket.on("disconnect", (reason) => tell("disconnected", reason));

obey({
  disconnect: () => socket.disconnect(),
  close: () => socket.io.engine.close(),
  emit: (...args) => socket.emit(...args),
  ask: (...args) => socket.emit(...args, (answer) => tell("answered", answer)),
  garbage: () => socket.io.engine.write("9"),
  // Stops sending pings, and stops expecting pongs.
  silence: () => {
    const { engine } = socket.io;
    engine.ping = engine.onHeartbeat = () => {};
    engine.off("heartbeat");
    clearTimeout(engine.pingTimeoutTimer);
    tell("silent");
  },
  exit: () => process.exit(0),
});
