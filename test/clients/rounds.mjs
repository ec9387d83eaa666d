// Clients that talk, in step with the test.

import { setTimeout } from "node:timers/promises";

import { tell, told } from "./driver.mjs";

/** Waits until every client has three more acks in `said`, or something has failed. */
async function progress(clients, failures) {
  const goals = clients.map((client) => client.said + 3);
  while (clients.some((client, i) => client.said < goals[i]) && failures.length === 0) await setTimeout(20);
}

/** Tells the test before each of its steps that all clients talk, and resolves when they have talked after the last. */
export async function rounds(clients, failures) {
  for (let left = Number(process.env.ROUNDS); left > 0; left--) {
    await progress(clients, failures);
    tell("talking", failures);
    await told("done");
  }
  await progress(clients, failures);
}
