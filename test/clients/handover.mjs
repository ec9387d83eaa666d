// Clients that only poll, and say one line after the other as fast as they are acknowledged, through whatever the test
// does to the server meanwhile.

import { io } from "socket.io-client";

import { event, tell, url, within } from "./driver.mjs";
import { rounds } from "./rounds.mjs";

const CLIENTS = 25;
const failures = [];
let ending = false;

const clients = Array.from({ length: CLIENTS }, (_, number) => {
  const socket = io(url, { transports: ["polling"], forceNew: true, reconnection: false });
  socket.on("disconnect", (why, details) => {
    if (!ending) failures.push(`client ${number}: disconnected: ${why} (${details?.message}: ${details?.context?.responseText})`);
  });
  return { number, socket, said: 0 };
});
await Promise.all(clients.map(({ socket }) => event(socket, "connect")));

async function talk(client) {
  while (!ending && client.socket.connected) {
    const ack = client.socket.emitWithAck("message-with-ack", client.said);
    const answer = await within(`an ack of line ${client.said} of client ${client.number}`, ack);
    if (answer !== client.said) failures.push(`client ${client.number}: ${client.said} was acknowledged as ${answer}`);
    client.said++;
  }
}
const talks = clients.map((client) => talk(client).catch((error) => failures.push(error.message)));

await rounds(clients, failures);
tell("talking", failures);
ending = true;
await Promise.all(talks);
tell("finished", clients.reduce((sum, client) => sum + client.said, 0));
clients.forEach(({ socket }) => socket.disconnect());
