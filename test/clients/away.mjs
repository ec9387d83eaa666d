// Clients whose backend is away when they connect, and comes back. They use the defaults, so each of them moves to WebSocket
// while the server still tries to reach the backend.

import assert from "node:assert/strict";
import { io } from "socket.io-client";

import { event, tell, until, url } from "./driver.mjs";

const CLIENTS = 10;

async function connect() {
  const socket = io(url, { auth: {}, forceNew: true, reconnectionDelayMax: 1000 });
  const { io: manager } = socket;
  let upgrades = 0;
  manager.on("open", () => {
    const { engine } = manager;
    engine.on("upgradeError", (error) => assert.fail(error));
    engine.on("upgrade", () => upgrades++);
  });
  await event(manager, "close");
  assert.equal(upgrades, 1, "the connection closed before it had moved");
  return socket;
}

const sockets = await Promise.all(Array.from({ length: CLIENTS }, connect));
tell("closed");
await Promise.all(sockets.map((socket) => until(socket, "connect", () => socket.connected)));
for (const socket of sockets) socket.disconnect();
