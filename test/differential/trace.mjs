// What a scenario has seen, as lines that can be compared: the one place where what two servers may differ in is made equal.

import { createHash } from "node:crypto";
import { inspect } from "node:util";

/**
 * The rules:
 *
 * - Ids are random. Each is known from the packet that brought it, and is replaced by a name wherever it stands: the first
 *   session's by «session 1», and so on. So a trace still shows whether an id is the same as before.
 * - Ids may differ in their lengths, and so does the length of a packet with one where Engine.IO 3 writes it: «length».
 * - Offsets of connection state recovery are opaque, too: «offset 1».
 * - A server numbers the events that it asks an answer to, for all clients of a namespace together: «ack».
 * - What several actors of a scenario see at the same time has no order between them: each has a section of its own.
 * - A line that is longer than a page is cut, and ends with the digest of all of it.
 */
export class Trace {
  #sections = new Map(); // actor → its lines
  #names = new Map(); // id → what stands for it
  #counts = new Map(); // kind → how many

  log(actor, line) {
    if (!this.#sections.has(actor)) this.#sections.set(actor, []);
    this.#sections.get(actor).push(`${line}`);
  }

  /** Says that a text is an id of a kind: "session", "socket", "recovery" or "offset". */
  learn(kind, id) {
    if (typeof id !== "string" || id === "" || this.#names.has(id) || this.#names.has(`"${id}"`)) return;
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    // An offset may be short, and then stand in other words by accident.
    for (const quote of kind === "offset" ? ["'", '"'] : [""]) this.#names.set(quote + id + quote, `${quote}«${kind} ${count}»${quote}`);
  }

  /** Learns the ids in those packets of Engine.IO that bring some, the open packet and CONNECT, however they are wrapped. */
  learnFrom(packets) {
    for (const [, kind, sid, , pid] of packets.matchAll(bringsIds)) {
      this.learn(kind === "0" ? "session" : "socket", sid);
      this.learn("recovery", pid);
    }
  }

  lines() {
    const several = this.#sections.size > 1;
    return [...this.#sections].flatMap(([actor, lines]) =>
      [...(several ? [`${actor}:`] : []), ...lines.map((line) => shorten(this.#rename(line)))]);
  }

  #rename(line) {
    for (const [id, name] of this.#names) line = line.replaceAll(id, name);
    return line.replace(/\b\d+:(?=0\{"sid")/g, "«length»:");
  }
}

const bringsIds = /\b(0|40(?:\/[^,]*,)?)\{\\?"sid\\?":\\?"([\w-]+)\\?"(,\\?"pid\\?":\\?"([\w-]+))?/g;

const page = 600;

function shorten(line) {
  if (line.length <= page) return line;
  const digest = createHash("sha256").update(line).digest("hex").slice(0, 12);
  return `${line.slice(0, 120)}… (${line.length} characters, ${digest})`;
}

/** A value of JavaScript, as it would be written in a program. */
export function show(value) {
  return inspect(value, { depth: 300, breakLength: Infinity, compact: true, maxArrayLength: 12, maxStringLength: 400 });
}

/** Binary data, in hexadecimal. */
export function hex(data) {
  return `<${data.toString("hex")}>`;
}

/**
 * The headers of a response that are worth comparing, a line each. Not compared are
 *
 * - date, which changes, and server, by which Caddy names itself
 * - connection and keep-alive, which are the HTTP server's
 * - content-length and transfer-encoding: how the end of a body is marked is the HTTP server's choice. That a content-length
 *   is right is seen by the client.
 * - the key of a WebSocket's handshake, which is random
 *
 * and the order of headers. The case of their names has no meaning, and Node's client drops it.
 */
export function headerLines(headers) {
  const left = { ...headers };
  for (const name of ["date", "server", "connection", "keep-alive", "content-length", "transfer-encoding", "sec-websocket-accept"]) delete left[name];
  return Object.entries(left).map(([name, value]) => `  ${name}: ${value}`).sort();
}
