// Finds requests that a server need not answer. During a reload, the server closes a new connection whose first request does not
// come within two seconds. On a busy machine the TLS handshake alone may take longer.

import http from "node:http";
import https from "node:https";

const mark = "the request came too late";

for (const protocol of [http, https]) {
  const { request } = protocol;
  protocol.request = (...args) => {
    const sent = request(...args);
    const begun = Date.now(); // the connection is as young as the request, unless it is reused
    let finished = Infinity;
    sent.on("finish", () => (finished = Date.now()));
    sent.on("error", (error) => {
      // A poll may wait for long. So only the time until the request was sent counts.
      if (!sent.reusedSocket && Date.now() - begun > 2000 && finished - begun > 1000) error.stack = mark;
    });
    return sent;
  };
}

/** Reports whether such a request has disconnected a client. */
export const wasLate = (details) => details?.context?.responseText === mark;
