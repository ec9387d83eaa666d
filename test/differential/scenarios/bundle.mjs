// The client's files, where a server serves them.

import { asks, scenario } from "../scenario.mjs";

const on = "bundle";
for (const file of ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js", "socket.io.js.map", "socket.io.min.js.map"]) {
  asks(`the file ${file}`, `{path}${file}`, { on, withHeaders: true });
}
for (const [name, headers] of Object.entries({ "gzip": { "accept-encoding": "gzip" }, "br": { "accept-encoding": "br" }, "nothing": {} })) {
  scenario(`the client's file, for those that take ${name}`, { on }, async (t) => {
    const { headers: { "content-encoding": encoding, vary } } = await t.asks("{path}socket.io.min.js", { method: "HEAD", headers });
    t.log(`${encoding}, ${vary}`);
  });
}
for (const file of ["socket.io.slim.js", "package.json", "../package.json", "socket.io.js.bak", "socket.io"]) {
  asks(`what is no file of the client: ${file}`, `{path}${file}`, { on });
}
asks("the client's file with a query", "{path}socket.io.min.js?v=1", { on });
asks("the client's file, by POST", "{path}socket.io.min.js", { on, method: "POST" });
asks("the client's file, where none are served", "{path}socket.io.js");
scenario("the client's file, asked for again", { on }, async (t) => {
  const { headers: { etag } } = await t.asks("{path}socket.io.min.js");
  await t.asks("{path}socket.io.min.js", { headers: { "if-none-match": etag }, withHeaders: true });
  await t.asks("{path}socket.io.min.js", { headers: { "if-none-match": '"another"' } });
});
scenario("a handshake, where files are served", { on }, (t) => t.asks("{path}?EIO=4&transport=polling"));
