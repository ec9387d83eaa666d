// One of Socket.IO's own servers, with the adapter for Redis. It tells its port when it is ready, or is imported by a test.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import { pathToFileURL } from "node:url";

/** A client of Redis. What is published while it is not connected fails, and is not kept. */
export async function connectRedis() {
  const client = createClient({ url: process.env.REDIS_URL, disableOfflineQueue: true, socket: { reconnectStrategy: 100 } });
  client.on("error", () => {});
  await client.connect();
  return client;
}

/** A server with the adapter, and its URL. */
export async function startServer() {
  const publisher = await connectRedis();
  const subscriber = await connectRedis();
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(publisher, subscriber) });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  return { io, url: `http://127.0.0.1:${http.address().port}` };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { url } = await startServer();
  process.send(url);
}
