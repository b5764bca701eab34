// How Continue's editors ask for a completion, by the package that they do it with: the model of the
// role `autocomplete` in config.yaml, what is before the cursor, and what is behind it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const installed = createRequire(`${process.argv[2]}/package.json`);
const named = (name) => import(pathToFileURL(installed.resolve(name)));
const { parse } = await named("yaml");
const { constructLlmApi } = await named("@continuedev/openai-adapters");

const config = parse(readFileSync(`${process.env.HOME}/.continue/config.yaml`, "utf8"));
const model = config.models.find((one) => one.roles.includes("autocomplete"));
const api = constructLlmApi({ ...model, apiBase: `${model.apiBase}/` });
const signal = new AbortController().signal;
const body = {
  model: model.model,
  prompt: "def add(left, right):\n    ",
  suffix: "\n\nprint(add(1, 2))",
  max_tokens: 50,
};

const whole = await api.completionNonStream({ ...body, stream: false }, signal);
const told = { whole: whole.choices[0].text, streamed: "", fim: "" };
for await (const chunk of api.completionStream({ ...body, stream: true }, signal))
  told.streamed += chunk.choices[0]?.text ?? "";
for await (const chunk of api.fimStream({ ...body, stream: true }, signal))
  told.fim += chunk.choices[0]?.delta.content ?? "";
console.log(JSON.stringify(told));
