// A backend that the test can kill. It acks each event with its arguments, except "hold", which it never answers.

import { createServer } from "node:http";

import { obey, tell } from "./driver.mjs";

let holding = 0;
let awaited = Infinity;
const check = () => {
  if (holding < awaited) return;
  awaited = Infinity;
  tell("holding");
};

const server = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const { type, data } = JSON.parse(body);
  if (type === "socket.event" && data.event === "hold") {
    holding++;
    check();
    return;
  }
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(type === "socket.event" ? { ack: data.args } : {}));
});
server.listen(Number(process.env.PORT), "127.0.0.1", () => tell("listening"));

obey({
  await: (n) => {
    awaited = Number(n);
    check();
  },
});
