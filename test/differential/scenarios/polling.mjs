// Long-polling: requests of one session, in turn and at the same time.

import { scenario } from "../scenario.mjs";
import { pause } from "../within.mjs";

const post = (body, more) => ({ method: "POST", body, headers: { "content-type": "text/plain;charset=UTF-8" }, ...more });

scenario("a POST and a GET, all headers", async (t) => {
  const session = await t.polling();
  await session.asks(post("40", { withHeaders: true }));
  await session.asks({ withHeaders: true });
});
scenario("several packets in a POST", async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.asks(post('42["message",1]\x1e42["message",2]\x1e451-["message",{"_placeholder":true,"num":0}]\x1ebAQID'));
  for (let i = 0; i < 4; i++) await session.next();
});
scenario("two GETs at once", async (t) => {
  const session = await t.polling();
  const first = await session.hang();
  await session.asks();
  await first();
  await session.asks();
});
scenario("two POSTs at once", async (t) => {
  const session = await t.polling();
  const slow = session.slowPost('42["message",');
  await pause(150);
  await session.asks(post("40"));
  await slow.finish();
  await session.asks();
});
scenario("a GET that its client gives up", async (t) => {
  const session = await t.polling();
  const controller = new AbortController();
  const hanging = session.request({ signal: controller.signal });
  await pause(150);
  controller.abort();
  await hanging;
  await pause(150);
  await session.asks(post("40"));
});
scenario("a POST that its client gives up", async (t) => {
  const session = await t.polling();
  const slow = session.slowPost('42["message",');
  await pause(150);
  slow.giveUp();
  await pause(150);
  await session.asks(post("40"));
});
scenario("a POST in chunks, cut within characters", async (t) => {
  const session = await t.polling();
  await session.connect();
  const body = Buffer.from('42["message","€😀"]'); // three bytes from the 14th on, then four
  await session.chunkedPost(body.subarray(0, 15), body.subarray(15, 17), body.subarray(17));
  await session.next();
});
scenario("a POST of an octet-stream", async (t) => {
  const session = await t.polling();
  await session.asks({ method: "POST", body: "40", headers: { "content-type": "application/octet-stream" } });
  await session.asks(post("40"));
});
for (const type of ["application/octet-stream; a=b", "Application/Octet-Stream"]) {
  scenario(`a POST of the type ${type}`, async (t) => {
    const session = await t.polling();
    await session.asks({ method: "POST", body: "40", headers: { "content-type": type } });
    await session.asks(post('42["message",1]'));
  });
}
scenario("a POST of 10,001 chunks", async (t) => {
  const session = await t.polling();
  await session.connect();
  const text = Buffer.from(`42["message","${"x".repeat(10_000)}"]`);
  await session.tinyChunks(text);
  await session.asks();
});
scenario("a POST that says it has 200 MB", async (t) => {
  const session = await t.polling();
  await session.hugePost(200_000_000);
  await session.next();
});
scenario("a POST of other types", async (t) => {
  const session = await t.polling();
  await session.connect();
  for (const type of ["application/json", "application/x-www-form-urlencoded", "text/html", ""]) {
    await session.asks({ method: "POST", body: '42["message",1]', headers: { "content-type": type } });
    await session.next();
  }
});
scenario("a POST without a type", async (t) => {
  const session = await t.polling();
  await session.asks({ method: "POST", body: "40" });
  await session.next();
});
const bodies = {
  "nothing": "",
  "what is no packet": "abc",
  "an unknown packet type": "7",
  "a packet and what is none": '40\x1eabc',
  "what is none and a packet": 'abc\x1e40',
  "an empty packet between two": '40\x1e\x1e42["message",1]',
  "a ping": "2",
  "an upgrade": "5",
  "an open packet": '0{"sid":"x"}',
  "a noop": "6",
  "a pong that nobody asked for": "3",
  "binary data that is no base64": "b!!!!",
  "binary data when none is due": "bAQID",
  "binary data in URL base64": 'b-_-_',
  "a close that has data": "1x",
  "an empty binary message": 'b',
};
for (const [name, body] of Object.entries(bodies)) {
  scenario(`a POST of ${name}`, async (t) => {
    const session = await t.polling();
    await session.asks(post(body));
    await session.send("40");
    await session.next();
  });
}
for (const [name, data] of Object.entries({ "for URLs": "-_-_", "of both alphabets": "-/+_", "without its padding": "AQ", "with too little padding": "AQ=", "in lines": "AQ\r\nID\r\n", "of nothing": "", "with something else in it": "AQ!ID" })) {
  scenario(`a POST of base64 ${name}`, async (t) => {
    const session = await t.polling();
    await session.connect();
    await session.asks(post(`451-["message",{"_placeholder":true,"num":0}]\x1eb${data}`));
    await session.settle();
  });
}
scenario("a close while a GET is open", async (t) => {
  const session = await t.polling();
  const first = await session.hang();
  await session.asks(post("1"));
  await first();
  await session.asks();
});
scenario("a close while no GET is open", async (t) => {
  const session = await t.polling();
  await session.asks(post("1"));
  await session.asks();
});
scenario("a bad packet while a GET is open", async (t) => {
  const session = await t.polling();
  await session.connect();
  const first = await session.hang();
  await session.asks(post("9"));
  await first();
  await session.asks();
});
scenario("a bad packet of Socket.IO while a GET is open", async (t) => {
  const session = await t.polling();
  await session.connect();
  const first = await session.hang();
  await session.asks(post("49"));
  await first();
  await session.asks();
});
scenario("a packet behind a close", async (t) => {
  const session = await t.polling();
  await session.connect();
  const first = await session.hang();
  await session.asks(post('1\x1e42["message",1]'));
  await first();
});
scenario("an event answers the GET that waits for it", async (t) => {
  const session = await t.polling();
  await session.connect();
  const first = await session.hang();
  await session.asks(post('42["message",1]'));
  await first();
});
scenario("events that nobody fetches are kept in order", async (t) => {
  const session = await t.polling();
  await session.connect();
  for (let i = 0; i < 5; i++) await session.asks(post(`42["message",${i}]`));
  await session.asks();
});
