// Upgrades from polling to WebSocket, and races during them.

import { onClients, scenario } from "../scenario.mjs";
import { pause } from "../within.mjs";

const post = (body) => ({ method: "POST", body, headers: { "content-type": "text/plain;charset=UTF-8" } });

scenario("an upgrade, step by step", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await ws.send("5", '42["message",1]');
  await ws.next();
  await session.asks();
  await session.asks(post('42["message",2]'));
  await ws.send('42["message",3]');
  await ws.next();
});
scenario("a GET that waits while the WebSocket is probed", async (t) => {
  const session = await t.polling();
  await session.connect();
  const first = await session.hang();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await first();
  await session.asks();
  await ws.send("5", '42["message",1]');
  await ws.next();
});
scenario("packets to the server while the WebSocket is probed", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await session.asks(post('42["message",1]'));
  await session.asks(post('42["message",2]'));
  await session.asks(post('451-["message",{"_placeholder":true,"num":0}]\x1ebAQID'));
  await ws.send("5");
  for (let i = 0; i < 4; i++) await ws.next();
  await ws.send('42["message",4]');
  await ws.next();
});
scenario("packets to the client before and after the upgrade", async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.asks(post('42["message",1]'));
  const ws = await session.candidate();
  await session.asks(post('42["message",2]'));
  await ws.send("2probe");
  await ws.next();
  await session.asks(post('42["message",3]'));
  await ws.send("5", '42["message",4]');
  for (let i = 0; i < 4; i++) await ws.next();
});
scenario("a POST that is under way when the upgrade is done", async (t) => {
  const session = await t.polling();
  await session.connect();
  const slow = session.slowPost('42["message",1]');
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await ws.send("5", '42["message",2]');
  await ws.next();
  await slow.finish();
  await ws.settle();
});
scenario("an upgrade without a probe, and without a GET", async (t) => {
  const session = await t.polling();
  await session.transmit("40");
  const ws = await session.candidate();
  await ws.send("5");
  await ws.next();
  await ws.next();
  await ws.send('42["message",1]');
  await ws.settle();
  await session.asks();
});
scenario("an upgrade without a probe, while a GET waits", async (t) => {
  const session = await t.polling();
  await session.connect();
  const first = await session.hang();
  const ws = await session.candidate();
  await ws.send("5", '42["message",1]');
  await first();
  await ws.settle();
});
scenario("a probe, an upgrade and more that await no answer", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe", "5", '42["message",1]');
  await ws.settle();
});
scenario("an upgrade with data", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe", "5upgrade", '42["message",1]');
  await ws.settle();
});
scenario("two probes", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe", "2probe", "5", '42["message",1]');
  await ws.settle();
});
const probes = {
  "a probe of another word": "2other",
  "a ping without a word": "2",
  "a message": '42["message",1]',
  "a pong": "3probe",
  "what is no packet": "x",
  "binary data": Buffer.from([1]),
};
for (const [name, packet] of Object.entries(probes)) {
  scenario(`a probe that fails: ${name}`, async (t) => {
    const session = await t.polling();
    await session.connect();
    const ws = await session.candidate();
    await ws.send(packet);
    await ws.settle();
    await session.send('42["message","alive"]');
    await session.next();
  });
}
scenario("an upgrade that fails after the probe", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await ws.send('42["message",1]');
  await ws.next();
  await session.send('42["message","alive"]');
  await session.next();
});
scenario("a candidate whose client closes it", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  ws.ws.close();
  await ws.next();
  await session.send('42["message","alive"]');
  await session.next();
  const second = await session.candidate("second candidate");
  await second.send("2probe");
  await second.next();
  await second.send("5", '42["message","moved"]');
  await second.next();
});
scenario("a candidate that is reset", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  ws.ws._socket.resetAndDestroy();
  await pause(100);
  await session.send('42["message","alive"]');
  await session.next();
});
scenario("a candidate whose client says nothing", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.next();
  await session.send('42["message","alive"]');
  await session.next();
});
scenario("a candidate whose client says nothing after the probe", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await ws.next();
  await session.send('42["message","alive"]');
  await session.next();
});
scenario("a second candidate beside the first", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await t.dials(`EIO=4&transport=websocket&sid=${session.id}`);
  await ws.send("5", '42["message",1]');
  await ws.next();
});
scenario("a WebSocket for a session that has moved already", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await ws.send("5", '42["message",1]');
  await ws.next();
  await t.dials(`EIO=4&transport=websocket&sid=${session.id}`);
  await ws.send('42["message",2]');
  await ws.next();
});
scenario("a WebSocket for a session that began with one", async (t) => {
  const session = await t.websocket("session");
  await session.connect();
  await t.dials(`EIO=4&transport=websocket&sid=${session.id}`);
  await session.send('42["message",1]');
  await session.next();
});
scenario("a WebSocket for a session, with EIO 3", async (t) => {
  const session = await t.polling();
  await t.dials(`EIO=3&transport=websocket&sid=${session.id}`);
  await session.connect();
});
scenario("a WebSocket for a session, with the transport polling", async (t) => {
  const session = await t.polling();
  await t.dials(`EIO=4&transport=polling&sid=${session.id}`);
  await session.connect();
  await session.send('42["message","alive"]');
  await session.next();
});
scenario("a session that is closed while its WebSocket is probed", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await session.asks(post("1"));
  await ws.next();
  await session.asks();
});
scenario("a session whose application disconnects it while its WebSocket is probed", async (t) => {
  const session = await t.polling();
  await session.connect();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await session.asks(post('42["kick","all"]'));
  await ws.next();
  await session.next();
});
scenario("an upgrade before CONNECT", async (t) => {
  const session = await t.polling();
  const ws = await session.candidate();
  await ws.send("2probe");
  await ws.next();
  await ws.send("5", "40");
  await ws.next();
  await ws.next();
});
onClients("events both ways while a client upgrades, none is lost", async (t, client) => {
  const one = t.client("another");
  await one.connected();
  for (let i = 0; i < 30; i++) one.emit("message", i);
  await one.settle();
});
scenario("a client that does not upgrade", { over: ["polling", "websocket"] }, async (t) => {
  const client = t.client("client", { upgrade: false });
  await client.connected();
  await client.asks("message-with-ack", 1);
  t.log(client.socket.io.engine.transport.name);
});
scenario("a client that tries WebSocket first", { over: ["websocket", "polling"] }, async (t) => {
  const client = t.client("client");
  await client.connected();
  t.log(client.socket.io.engine.transport.name);
});
