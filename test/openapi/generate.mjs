// node generate.mjs <description> <types>: holds a description against the specification of OpenAPI, prints what is wrong
// with it, and writes the types of a client.
import { createConfig, lintFromString } from "@redocly/openapi-core";
import openapiTS, { astToString } from "openapi-typescript";
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [description, types] = process.argv.slice(2);
const rules = [
  "struct",
  "no-unresolved-refs",
  "no-unused-components",
  "no-ambiguous-paths",
  "operation-operationId",
  "operation-operationId-unique",
  "path-parameters-defined",
  "security-defined",
];
const config = await createConfig({ rules: Object.fromEntries(rules.map((rule) => [rule, "error"])) });
const problems = await lintFromString({ source: readFileSync(description, "utf8"), absoluteRef: description, config });
for (const { ruleId, message, location } of problems) console.log(`${ruleId}: ${message} (${location[0]?.pointer})`);
if (problems.length > 0) process.exit(1);
writeFileSync(types, astToString(await openapiTS(pathToFileURL(description))));
