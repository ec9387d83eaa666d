// Clients that talk, in step with what the test does to the server.

import { setTimeout } from "node:timers/promises";

import { tell, told } from "./driver.mjs";

/** Waits until every client has `said` some more, or something has failed. */
async function progress(clients, failures) {
  const goals = clients.map((client) => client.said + 3);
  while (clients.some((client, i) => client.said < goals[i]) && failures.length === 0) await setTimeout(20);
}

/** The test says what it is about to do; we say that everybody talked before it, and after it. */
export async function rounds(clients, failures) {
  for (let left = Number(process.env.ROUNDS); left > 0; left--) {
    await progress(clients, failures);
    tell("talking", failures);
    await told("done");
  }
  await progress(clients, failures);
}
