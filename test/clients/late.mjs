// Requests that a server need not answer. After a reload it closes a new connection if the first request does not come within
// two seconds. On a busy machine the TLS handshake alone may take longer.

import http from "node:http";
import https from "node:https";

const mark = "the request came too late";

for (const protocol of [http, https]) {
  const { request } = protocol;
  protocol.request = (...args) => {
    const sent = request(...args);
    const begun = Date.now(); // the connection is not older, unless it is reused
    let finished = Infinity;
    sent.on("finish", () => (finished = Date.now()));
    sent.on("error", (error) => {
      // A poll may wait for long. What must have been slow is the time until it was sent.
      if (!sent.reusedSocket && Date.now() - begun > 2000 && finished - begun > 1000) error.stack = mark;
    });
    return sent;
  };
}

/** Reports whether a client was disconnected by such a request. */
export const wasLate = (details) => details?.context?.responseText === mark;
