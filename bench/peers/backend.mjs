// A bare Node server as the backend of realtime: it acks every event without arguments, alone or in
// batches. It checks no signatures.
import { createServer } from "node:http";

const acked = '{"ack":[]}';

function answer(message) {
  return message.type === "socket.event" ? acked : "{}";
}

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const message = JSON.parse(Buffer.concat(chunks));
    if (message.type !== "batch") {
      response.writeHead(200, { "Content-Type": "application/json" });
      response.end(answer(message));
      return;
    }
    response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    let lines = "";
    for (const one of message.messages) {
      lines += `{"id":"${one.id}","status":200,"body":${answer(one)}}\n`;
    }
    response.end(lines);
  });
});

server.keepAliveTimeout = 60_000; // longer than Caddy keeps idle connections, so that none is cut off
server.listen(Number(process.env.BENCH_PORT), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
