// npm socket.io with its defaults and bufferutil, doing what the `relay` block of ../Caddyfile does.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import "bufferutil"; // ws takes it if it is there; without it this line fails
import { Server } from "socket.io";

const { BENCH_PORT, BENCH_CERTIFICATE, BENCH_KEY } = process.env;
const httpServer = BENCH_CERTIFICATE
  ? createSecureServer({ cert: readFileSync(BENCH_CERTIFICATE), key: readFileSync(BENCH_KEY) })
  : createServer();
const io = new Server(httpServer);

io.on("connection", (socket) => {
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack?.({ ok: true });
  });

  // Passed to the other members of the sender's rooms, unchanged; an awaited ack gets no arguments.
  socket.on("message", (...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
    const rooms = [...socket.rooms].filter((room) => room !== socket.id);
    if (rooms.length > 0) socket.to(rooms).emit("message", ...args);
    ack?.();
  });
});

httpServer.listen(Number(BENCH_PORT), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
