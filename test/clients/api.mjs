// Four clients that only listen, over the transports in TRANSPORTS. Each collects its events until the event "fence", and then
// tells them.

import { io } from "socket.io-client";

import { obey, event, tell, url } from "./driver.mjs";

const transports = process.env.TRANSPORTS.split(",");
const clients = {
  a: { namespace: "/", token: "user:ann" },
  b: { namespace: "/", token: "user:ann" },
  c: { namespace: "/", token: "user:bob" },
  d: { namespace: "/tenant-1", token: "user:ann" },
};

/** Arguments in a form that JSON can hold. */
const plain = (value) => {
  if (Buffer.isBuffer(value)) return { bytes: [...value] };
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
  return value;
};

const ids = {};
const sockets = [];
for (const [name, { namespace, token }] of Object.entries(clients)) {
  const socket = io(url + namespace, { transports, forceNew: true, reconnection: false, auth: { token } });
  sockets.push(socket);
  let got = [];
  socket.onAny((what, ...args) => {
    const answer = typeof args.at(-1) === "function" ? args.pop() : null;
    if (what === "fence") {
      tell(`got ${name}`, got);
      got = [];
      return;
    }
    got.push([what, ...plain(args)]);
    if (answer && name !== "c") answer({ from: name, bytes: Buffer.from([1, 2]) }, ...args); // c never answers
  });
  socket.on("disconnect", (reason) => tell(`disconnected ${name}`, reason));
  await event(socket, "connect");
  const { engine } = socket.io;
  if (engine.transport.name !== transports.at(-1)) await event(engine, "upgrade");
  ids[name] = socket.id;
}
tell("ready", ids);

obey({
  exit: () => {
    for (const socket of sockets) socket.disconnect();
    process.stdin.unref();
  },
});
