// Clients that only poll. Each sends the next line as soon as the last is acked, while the test reloads the server.

import { io } from "socket.io-client";

import { event, tell, url, within } from "./driver.mjs";
import { wasLate } from "./late.mjs";
import { rounds } from "./rounds.mjs";

const CLIENTS = 25;
const failures = [];
let ending = false;

const clients = Array.from({ length: CLIENTS }, (_, number) => {
  const socket = io(url, { transports: ["polling"], forceNew: true, reconnection: false });
  const failed = (what, why) => failures.push(`client ${number}: ${what} (${why?.message}: ${why?.context?.responseText})`);
  socket.on("disconnect", (why, details) => ending || wasLate(details) || failed(`disconnected: ${why}`, details));
  socket.on("connect_error", (error) => (wasLate(error) ? setImmediate(() => socket.connect()) : failed("not connected", error)));
  return { number, socket, said: 0 };
});
await Promise.all(clients.map(({ socket }) => event(socket, "connect")));

async function talk(client) {
  const { socket } = client;
  while (!ending && failures.length === 0) {
    if (!socket.connected) await event(socket.connect(), "connect"); // after a late request
    const ack = within(`an ack of line ${client.said} of client ${client.number}`, socket.emitWithAck("message-with-ack", client.said));
    const answer = await ack.catch((error) => {
      if (socket.connected) throw error;
    });
    if (answer === undefined) continue;
    if (answer !== client.said) failures.push(`client ${client.number}: ${client.said} was acked as ${answer}`);
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
