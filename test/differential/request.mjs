// HTTP requests for scenarios, valid or not.

import http from "node:http";
import net from "node:net";

import { headerLines } from "./trace.mjs";

/** Sends a request; resolves with the answer. If there is none, its `error` says why. */
export function request(url, path, { method = "GET", headers = {}, body, agent, signal } = {}) {
  const sent = http.request(new URL(path, url), { method, headers, agent, signal });
  sent.end(body);
  return answerTo(sent);
}

/** Begins a POST whose body is written in parts. Without a length, the body is sent in chunks. */
export function postParts(url, path, length) {
  const headers = { "content-type": "text/plain;charset=UTF-8", ...(length ? { "content-length": length } : {}) };
  const sent = http.request(new URL(path, url), { method: "POST", headers, agent: false });
  return { sent, answer: answerTo(sent) };
}

function answerTo(sent) {
  return new Promise((resolve) => {
    sent.on("response", (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", () => resolve({ error: "the connection broke off" }));
      response.on("end", () => {
        const raw = Buffer.concat(parts);
        resolve({ status: response.statusCode, headers: response.headers, raw, body: raw.toString() });
      });
    });
    sent.on("error", ({ code }) => resolve({ error: code === "ABORT_ERR" ? "given up" : "no answer" }));
  });
}

/** Sends bytes that need not be a valid request; resolves with the whole answer. */
export function requestBytes(url, text) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = net.connect(port, hostname);
    let answer = "";
    socket.on("data", (data) => {
      answer += data.toString("latin1");
      const [, length] = /\r\ncontent-length: (\d+)\r\n/i.exec(answer) ?? [];
      const body = answer.indexOf("\r\n\r\n") + 4;
      if ((length !== undefined && answer.length >= body + Number(length)) || answer.endsWith("\r\n0\r\n\r\n") || (body >= 4 && answer.startsWith("HTTP/1.1 101 "))) socket.end();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      const [head, ...rest] = answer.split("\r\n\r\n");
      const [first, ...lines] = head.split("\r\n");
      const headers = Object.fromEntries(lines.map((line) => line.split(": ")).map(([name, value]) => [name.toLowerCase(), value]));
      let body = rest.join("\r\n\r\n");
      if (headers["transfer-encoding"] === "chunked") body = body.replace(/^[0-9a-f]+\r\n([^]*?)\r\n0\r\n[^]*$/, "$1");
      resolve(answer === "" ? { error: "no answer" } : { status: Number(first.split(" ")[1]), headers, body });
    });
    socket.write(text, "latin1");
  });
}

/** An answer as one line, or as several with all of its headers. */
export function answerLines({ error, status, headers, body }, { withHeaders = false } = {}) {
  if (error) return [error];
  const type = headers["content-type"] ?? "no type";
  body = body.replaceAll("\x1e", "␞").replaceAll("\n", "⏎");
  return withHeaders ? [`${status} ${body}`, ...headerLines(headers)] : [`${status} ${body === "" ? "(empty)" : `${type} ${body}`}`];
}
