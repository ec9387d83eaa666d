// Requests that a server may leave without an answer: one whose configuration changes waits two seconds for the first one of a
// connection, and on a busy machine TLS alone may take longer.

import http from "node:http";
import https from "node:https";

const mark = "the connection was overdue";

for (const protocol of [http, https]) {
  const { request } = protocol;
  protocol.request = (...args) => {
    const sent = request(...args);
    const begun = Date.now(); // and the connection not before, unless it is used again
    let finished = Infinity;
    sent.on("finish", () => (finished = Date.now()));
    sent.on("error", (error) => {
      // A poll may wait for long: it is the way to it that must have been slow.
      if (!sent.reusedSocket && Date.now() - begun > 2000 && finished - begun > 1000) error.stack = mark;
    });
    return sent;
  };
}

/** Tells whether it was by such a request that a client was disconnected. */
export const wasOverdue = (details) => details?.context?.responseText === mark;
