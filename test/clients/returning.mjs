// Clients that reconnect by themselves. They tell each connection and each event.

import { io } from "socket.io-client";

import { event, obey, tell, url } from "./driver.mjs";

const count = Number(process.env.CLIENTS);
const sockets = Array.from({ length: count }, (_, i) => {
  const transports = [["websocket"], ["polling"], ["polling", "websocket"]][i % 3];
  const socket = io(url, { transports, forceNew: true, auth: { client: `node ${i}` } });
  socket.on("connect", () => tell("connect", { client: i, recovered: socket.recovered }));
  socket.on("news", (publisher, number) => tell("news", { client: i, publisher, number }));
  return socket;
});
await Promise.all(sockets.map((socket) => event(socket, "connect")));
tell("all here");

obey({
  leave: () => {
    for (const socket of sockets) socket.disconnect();
    process.stdin.unref();
  },
});
