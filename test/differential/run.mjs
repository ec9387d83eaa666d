// Runs scenarios against the servers in SIDES: {"reference": {configuration: url, …}, "server": …}. It does not know which server
// is which. ONLY has the names of the scenarios to run, AREA their areas; without them, all run. If a side lacks the
// configuration of a scenario, its trace is missing.

import { readdirSync } from "node:fs";

import { tell } from "../clients/driver.mjs";
import { enter, run, scenarios } from "./scenario.mjs";

const folder = new URL("./scenarios/", import.meta.url);
for (const file of readdirSync(folder).sort()) {
  enter(file.replace(".mjs", ""));
  await import(new URL(file, folder));
}

const sides = JSON.parse(process.env.SIDES);
const only = process.env.ONLY ? JSON.parse(process.env.ONLY) : null;
const paths = { path: "/chat/live/" };

const areas = process.env.AREA?.split(" ");
const waiting = scenarios.filter(({ name, area }) => (!only || only.includes(name)) && (!areas || areas.includes(area)));

async function work() {
  for (let scenario; (scenario = waiting.shift()); ) {
    const started = Date.now();
    const traces = {};
    await Promise.all(Object.entries(sides).map(async ([side, urls]) => {
      const url = urls[scenario.on];
      if (url) traces[side] = await run(scenario, { url, path: paths[scenario.on] });
    }));
    tell("scenario", { name: scenario.name, on: scenario.on, area: scenario.area, milliseconds: Date.now() - started, traces });
  }
}

// A scenario mostly waits, so several run at a time. With more, a slow machine would only be slower.
await Promise.all(Array.from({ length: Number(process.env.AT_ONCE ?? 8) }, work));
tell("done");
process.exit(0);
