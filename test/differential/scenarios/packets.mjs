// Socket.IO packets from a client, valid and invalid.

import { onSessions, packets, scenario } from "../scenario.mjs";

const bytes = (...values) => Buffer.from(values);

/** Adds a scenario for CONNECT packets, each sent after the answer to the last. One more at the end shows whether the session is alive. */
function connects(name, sent) {
  onSessions(name, async (t, session) => {
    for (const packet of [...sent, "40/tenant-alive,"]) {
      await session.send(packet);
      const answer = await session.next();
      if (answer?.startsWith("40")) await session.next(); // the application's greeting
      if (!answer) return;
    }
  });
}

// CONNECT
const auths = {
  "no data": "40",
  "an object": '40{"token":"user:ann"}',
  "nested data": '40{"a":{"b":[1,{"c":null}]},"é":"\\u00e9","":""}',
  "an array": "40[]",
  "a string": '40"x"',
  "null": "40null",
  "a number": "401",
  "true": "40true",
  "broken data": '40{"a"',
  "an object and more": "40{}{}",
  "spaces before the data": "40 {}",
  "a space behind it": "40 ",
  "a space behind its namespace": "40/custom, ",
  "__proto__": '40{"__proto__":{"token":"expired"}}',
  "a token that is no string": '40{"token":7}',
  "the slash": "40/",
  "the slash and a comma": "40/,",
  "the slash and auth": '40/,{"a":1}',
  "another namespace": '40/custom,{"a":1}',
  "another namespace, without a comma": "40/custom",
  "an unknown namespace": "40/nope,",
  "an unknown namespace with auth": '40/nope,{"a":1}',
  "a namespace with a query": "40/custom?a=1,",
  "a namespace in capitals": "40/CUSTOM,",
  "a namespace with a slash behind": "40/custom/,",
  "a namespace of another alphabet": "40/日本,",
  "a refused client": '40{"token":"forbidden"}',
  "a refused client without data": '40{"token":"expired"}',
  "a refused client of another namespace": '40/custom,{"token":"forbidden"}',
};
for (const [name, sent] of Object.entries(auths)) connects(`CONNECT with ${name}`, [sent]);
connects("CONNECT after a refusal", ['40{"token":"forbidden"}', "40{}"]);
connects("CONNECT after an unknown namespace", ["40/nope,", "40"]);
connects("CONNECT to two namespaces, one of which fails", ["40", '40/custom,{"token":"expired"}', '40/tenant-1,', "40/nope,"]);
packets("CONNECT twice", ["40"]);
packets("CONNECT twice to the same by another name", ["40/,"]);
onSessions("two namespaces", async (t, session) => {
  await session.connect();
  await session.connect("/custom,");
  await session.send('42/custom,["message",1]', '42["message",2]', '42/custom,7["message-with-ack",3]');
  for (let i = 0; i < 3; i++) await session.next();
  await session.send('451-/custom,8["message-with-ack",{"_placeholder":true,"num":0}]', Buffer.from([1]));
  await session.settle("/custom,");
});

// Before CONNECT, and after the end
packets("an event before CONNECT", ['42["message",1]'], { connect: false });
packets("an ack before CONNECT", ["430[]"], { connect: false });
packets("DISCONNECT before CONNECT", ["41"], { connect: false });
packets("an event to a namespace that was not entered", ['42/custom,["message",1]']);
packets("an ack to a namespace that was not entered", ["43/custom,0[]"]);
packets("DISCONNECT from a namespace that was not entered", ["41/custom,"]);
for (const [name, packet] of Object.entries({ "DISCONNECT": "41", "DISCONNECT with an id": "411", "DISCONNECT with a comma": "41/,", "DISCONNECT with a space": "41 ", "DISCONNECT with data": '41{"a":1}', "DISCONNECT with a list": "41[]" })) {
  onSessions(name, async (t, session) => {
    await session.connect();
    await session.connect("/custom,");
    await session.send(packet);
    await session.settle("/custom,");
  });
}
for (const [name, packet] of Object.entries({ "an event": '42["message",1]', "an ack": "430[]", "CONNECT": "40", "DISCONNECT": "41" })) {
  onSessions(`${name} after DISCONNECT`, async (t, session) => {
    await session.connect();
    await session.connect("/custom,");
    await session.send("41");
    await session.settle("/custom,");
    await session.send(packet);
    if (name === "CONNECT") await session.next();
    await session.settle("/custom,");
  });
}
scenario("DISCONNECT and CONNECT in one POST", async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.send("41", "40");
  await session.next();
});
scenario("DISCONNECT and an event in one POST", async (t) => {
  const session = await t.polling();
  await session.connect();
  await session.connect("/custom,");
  await session.send("41", '42["message",1]');
  await session.settle("/custom,");
});
packets("CONNECT_ERROR from a client", ['44{"message":"x"}']);
packets("CONNECT_ERROR from a client, a string", ['44"x"']);

// Events
const events = {
  "no data": "42",
  "an empty list": "42[]",
  "an object for a list": '42{"a":1}',
  "a string for a list": '42"message"',
  "broken JSON": '42["message"',
  "more behind the list": '42["message"]x',
  "a comma too much": '42["message",]',
  "spaces": '42 [ "message" , 1 ] ',
  "a name that is a number": "42[1,2]",
  "a name that is null": "42[null]",
  "a name that is an object": '42[{"toString":"x"},1]',
  "a name that is a list": '42[["message"],1]',
  "a name that is true": "42[true]",
  "an empty name": '42[""]',
  "the name __proto__": '42["__proto__",1]',
  "the name constructor": '42["constructor",1]',
  "the name toString": '42["toString"]',
  "the name error": '42["error","x"]',
  "the name message, written with escapes": '42["\\u006dessage",1]',
  "a namespace without a comma": "42/custom",
  "the slash as namespace": '42/,["message",1]',
};
for (const [name, sent] of Object.entries(events)) packets(`an event with ${name}`, [sent]);
for (const name of ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]) {
  packets(`an event of the reserved name ${name}`, [`42["${name}",1]`]);
}

// Acks
const acks = {
  "an id": '427["message-with-ack",1]',
  "the id 0": '420["message-with-ack",1]',
  "an id with zeros before it": '42007["message-with-ack",1]',
  "an id that is negative": '42-1["message-with-ack",1]',
  "an id with a point": '421.5["message-with-ack",1]',
  "a huge id": '4212345678901234567890["message-with-ack",1]',
  "an id at the edge of what numbers hold": '429007199254740993["message-with-ack",1]',
  "an id, and no data": "427",
  "a space before its id": '42 7["message-with-ack",1]',
  "spaces around its id": '42\t 7 ["message-with-ack",1]',
  "a space in place of an id": '42 ["message-with-ack",1]',
  "a space within its id": '42 1 2["message-with-ack",1]',
  "no arguments": '427["message-with-ack"]',
  "many arguments": '427["message-with-ack",1,null,"a",[],{}]',
};
for (const [name, sent] of Object.entries(acks)) packets(`an event that awaits an ack, with ${name}`, [sent]);
packets("two events with the same id", ['427["message-with-ack",1]', '427["message-with-ack",2]']);
packets("an ack that nobody awaits", ['43123["x"]']);
packets("an ack without an id", ['43["x"]']);
packets("an ack with a space before its id", ["43 0[]"]);
packets("an ack without data", ["43123"]);
packets("an ack that is no list", ["43123{}"]);
packets("an ack that is broken", ["43123["]);

// Binary
const placeholder = (num) => `{"_placeholder":true,"num":${num}}`;
const one = bytes(1, 2, 3);
const two = bytes(4, 5);
const binary = {
  "one attachment": [`451-["message",${placeholder(0)}]`, one],
  "an empty attachment": [`451-["message",${placeholder(0)}]`, bytes()],
  "attachments in depth": [`452-["message",{"a":[${placeholder(1)}],"b":{"c":${placeholder(0)}}}]`, one, two],
  "an attachment that is used twice": [`451-["message",${placeholder(0)},[${placeholder(0)}]]`, one],
  "an attachment that is not used": [`452-["message",${placeholder(1)}]`, one, two],
  "attachments and no placeholder": ['451-["message",1]', one],
  "ten attachments": [`4510-["message",${Array.from({ length: 10 }, (_, i) => placeholder(i))}]`, ...Array.from({ length: 10 }, (_, i) => bytes(i))],
  "eleven attachments": [`4511-["message",${Array.from({ length: 11 }, (_, i) => placeholder(i))}]`],
  "no attachments": ['450-["message",1]'],
  "no count": ['45["message",1]'],
  "a count without a dash": ['451["message",1]'],
  "a count that is negative": ['45-1-["message",1]'],
  "a count that is no number": ['45x-["message",1]'],
  "a count with zeros before it": [`4501-["message",${placeholder(0)}]`, one],
  "a count with a space before it": [`45 1-["message",${placeholder(0)}]`, one],
  "a count with a sign": [`45+1-["message",${placeholder(0)}]`, one],
  "a count with a fraction": [`451.0-["message",${placeholder(0)}]`, one],
  "a placeholder out of range": [`451-["message",${placeholder(1)}]`, one],
  "a placeholder that is negative": [`451-["message",${placeholder(-1)}]`, one],
  "a placeholder that is a string": [`451-["message",${placeholder('"splice"')}]`, one],
  "a placeholder that is a fraction": [`451-["message",${placeholder(0.5)}]`, one],
  "a placeholder without a number": ['451-["message",{"_placeholder":true}]', one],
  "a placeholder with more in it": ['451-["message",{"_placeholder":true,"num":0,"x":1}]', one],
  "a placeholder in another order": ['451-["message",{"num":0,"_placeholder":true}]', one],
  "a placeholder that is false": ['451-["message",{"_placeholder":false,"num":0}]', one],
  "a placeholder that is the text true": ['451-["message",{"_placeholder":"true","num":0}]', one],
  "a placeholder as the name": [`451-[${placeholder(0)},1]`, one],
  "text where an attachment is due": [`451-["message",${placeholder(0)}]`, '42["message",1]'],
  "broken JSON": ['451-["message"', one],
  "no data": ["451-", one],
  "a reserved name": [`451-["disconnect",${placeholder(0)}]`, one],
  "another namespace": [`451-/custom,["message",${placeholder(0)}]`, one],
};
for (const [name, sent] of Object.entries(binary)) packets(`a binary event with ${name}`, sent);
packets("a placeholder in an event without attachments", [`42["message",${placeholder(0)}]`]);
packets("a binary event that awaits an ack", [`451-7["message-with-ack",${placeholder(0)}]`, one]);
packets("a binary ack that nobody awaits", [`461-123[${placeholder(0)}]`, one]);
packets("a binary ack with a placeholder out of range", [`461-123[${placeholder(7)}]`, one]);
packets("a binary ack without attachments", ["460-123[]"]);

packets("an unknown type", ['47["message"]']);
packets("a type that is a letter", ["4x"]);

// Values as text: whether a server changes how they are written.
const values = {
  "numbers": '[0,-0,1.0,1e2,1E+2,0.1,1e-7]',
  "numbers at the edge": '[9007199254740991,-9007199254740991,5e-324,1.7976931348623157e308]',
  "numbers beyond the edge": '[9007199254740993,123456789012345678901234567890,1e400,-1e400,1e-400,0.1000000000000000055511151231257827]',
  "numbers that are none": "[01]",
  "NaN": "[NaN]",
  "text": '["","\\"\\\\/\\b\\f\\n\\r\\t","<>&\u2028\u2029\u007f"]',
  "text with escapes": '["\\u0041\\/\\u003c\\u2028\\u0000"]',
  "surrogates": '["😀","\\ud83d\\ude00"]',
  "lone surrogates": '["\\ud800","\\udc00x","\\udfff\\ud800"]',
  "a control character": '["a\u0001b"]',
  "the separator": '["\\u001e"]',
  "unknown escapes": '["\\x41"]',
  "keys in an order": '[{"b":1,"a":2,"10":3,"9":4}]',
  "keys twice": '[{"a":1,"a":2}]',
  "odd keys": '[{"__proto__":{"x":1},"constructor":2,"toString":null,"":0,"_placeholder":1}]',
  "spaces": '[ { "a" : [ 1 , 2 ] } ]',
  "a byte order mark": '["\ufeff"]',
  "depth": `${"[".repeat(150)}${"]".repeat(150)}`,
  "a comment": "[1/*x*/]",
  "single quotes": "['x']",
  "undefined": "[undefined]",
};
for (const [name, list] of Object.entries(values)) packets(`values: ${name}`, [`42["message",${list}]`, `421["message-with-ack",${list}]`]);
