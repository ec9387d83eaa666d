// The trace of a scenario: lines that can be compared. Only here, what may differ between two servers is made equal.

import { createHash } from "node:crypto";
import { inspect } from "node:util";

/**
 * The rules:
 *
 * - Ids are random. A name replaces each of them: «session 1» the id of the first session, and so on. The trace learns an id from
 *   the packet that brings it. So it still shows whether an id is the same as before.
 * - Ids differ in their lengths, and so do packets with an id. Engine.IO 3 writes the length of a packet: «length» replaces it.
 * - Offsets of connection state recovery are opaque, too: «offset 1».
 * - A server counts the events for which it awaits an ack, for all clients of a namespace together: «ack» replaces the number.
 * - Events of several actors at the same time have no order, so each actor has its own section.
 * - A long line is cut, and ends with the digest of all of it.
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
    // An offset may be so short that other words contain it by accident.
    for (const quote of kind === "offset" ? ["'", '"'] : [""]) this.#names.set(quote + id + quote, `${quote}«${kind} ${count}»${quote}`);
  }

  /** Learns the ids in Engine.IO packets: the open packet and CONNECT bring them, and may be within other text. */
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

/** A value of JavaScript, as a program would write it. */
export function show(value) {
  return inspect(value, { depth: 300, breakLength: Infinity, compact: true, maxArrayLength: 12, maxStringLength: 400 });
}

/** Binary data, in hexadecimal. */
export function hex(data) {
  return `<${data.toString("hex")}>`;
}

/**
 * The headers of a response that are compared, a line each. These are not:
 *
 * - date, which changes, and server, in which Caddy names itself
 * - connection and keep-alive, which the HTTP server decides
 * - content-length and transfer-encoding: the HTTP server decides how it marks the end of a body. A wrong content-length makes
 *   the client fail.
 * - the key of a WebSocket's handshake, which is random
 *
 * The order of headers is not compared, either. The case of their names has no meaning, and Node's client drops it.
 */
export function headerLines(headers) {
  const left = { ...headers };
  for (const name of ["date", "server", "connection", "keep-alive", "content-length", "transfer-encoding", "sec-websocket-accept"]) delete left[name];
  return Object.entries(left).map(([name, value]) => `  ${name}: ${value}`).sort();
}
