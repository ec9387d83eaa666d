// A backend that the test can kill. It acks each event with its arguments, except "hold", which it never answers.

import { createServer } from "node:http";

import { obey, tell } from "./driver.mjs";

let holding = 0;
let batches = 0;
let awaited = Infinity;
const check = () => {
  if (holding < awaited) return;
  awaited = Infinity;
  tell("holding");
};

const server = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const { type, data, messages } = JSON.parse(body);
  if (type === "batch") {
    batches++;
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    let held = false;
    for (const { id, type, data } of messages) {
      if (type === "socket.event" && data.event === "hold") {
        holding++;
        held = true;
        continue;
      }
      response.write(`${JSON.stringify({ id, body: type === "socket.event" ? { ack: data.args } : null })}\n`);
    }
    if (!held) response.end();
    check();
    return;
  }
  if (type === "socket.event" && data.event === "hold") {
    holding++;
    check();
    return;
  }
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(type === "socket.event" ? { ack: data.args } : {}));
});
server.listen(Number(process.env.PORT), "127.0.0.1", () => tell("listening"));

obey({
  batches: () => tell("batches", batches),
  await: (n) => {
    awaited = Number(n);
    check();
  },
});
