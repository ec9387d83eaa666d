// A client of Socket.IO's own that gets numbered news and comes back by itself. It tells how it was connected each time,
// and in the end what it has heard.

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
  // Without an answer in time, since there may be none.
  hold: async (key) => socket.timeout(patience).emit("hold", key, (error, label) => tell("held", error ? error.message : label ?? null)),
  heard: () => tell("heard", heard),
  leave: () => {
    socket.disconnect();
    process.stdin.unref();
  },
});
