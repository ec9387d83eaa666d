// A socket.io-client that gets numbered news and reconnects by itself. It tells each connection, and at the end all the news
// that it got.

import { io } from "socket.io-client";

import { obey, patience, tell, url } from "./driver.mjs";

const socket = io(url, {
  transports: process.env.TRANSPORTS.split(","),
  auth: { token: "user:ann" },
  reconnectionDelay: 50,
  reconnectionDelayMax: 500,
});
const heard = [];
socket.on("news", (number) => heard.push(number));
socket.on("holding", () => tell("holding"));
socket.on("connect", async () => {
  const { engine } = socket.io;
  if (!process.env.TRANSPORTS.endsWith(engine.transport.name)) await new Promise((resolve) => engine.once("upgrade", resolve));
  tell("connected", { id: socket.id, recovered: socket.recovered });
});
socket.on("disconnect", (reason) => tell("disconnected", reason));

obey({
  ask: async (...args) => tell("answered", await socket.emitWithAck(...args)),
  // There may be no ack: then it tells the client's time-out.
  hold: async (key) => socket.timeout(patience).emit("hold", key, (error, label) => tell("held", error ? error.message : label ?? null)),
  heard: () => tell("heard", heard),
  leave: () => {
    socket.disconnect();
    process.stdin.unref();
  },
});
