// Socket.IO's own server, with the same application as the guests. It runs once for each configuration in CONFIGURATIONS.
//
// ../differential_test.go has the other server's settings for each configuration. With ALTERED=yes the application reverses the
// arguments that it should echo, and the comparison must notice.

import { createServer } from "node:http";
import { Server } from "socket.io";
import * as msgpack from "socket.io-msgpack-parser";

import { obey, tell } from "../clients/driver.mjs";
import { install } from "./application.mjs";

const origins = ["https://app.example.com", /^https:\/\/([^.]+\.)+example\.org$/];
const isAllowed = (origin) => origins.some((allowed) => (allowed instanceof RegExp ? allowed.test(origin) : allowed === origin));

const configurations = {
  plain: {},
  // Socket.IO's server lets any page connect by WebSocket unless the application checks the origin.
  origins: {
    cors: { origin: origins, credentials: true },
    allowRequest: ({ headers: { origin } }, answer) => answer(null, origin === undefined || isAllowed(origin)),
  },
  any: { cors: { origin: "*" } },
  path: { path: "/chat/live/" },
  small: { maxHttpBufferSize: 1000 },
  hasty: { connectTimeout: 300 },
  beating: { pingInterval: 200, pingTimeout: 10_000 },
  dying: { pingInterval: 300, pingTimeout: 200 },
  recovery: { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } },
  forgetful: { connectionStateRecovery: { maxDisconnectionDuration: 200 } },
  compression: { perMessageDeflate: true },
  msgpack: { parser: msgpack },
  eio3: { allowEIO3: true },
  bundle: { serveClient: true },
};

const urls = {};
for (const name of process.env.CONFIGURATIONS.split(" ")) {
  const server = createServer((request, response) => {
    response.writeHead(404).end(); // requests for other paths than Socket.IO's
  });
  const io = new Server(server, { serveClient: false, ...configurations[name] });
  install(io, { altered: process.env.ALTERED === "yes" });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  urls[name] = `http://127.0.0.1:${server.address().port}`;
}
tell("listening", urls);
obey({ exit: () => process.exit(0) });
