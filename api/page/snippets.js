// A question as a program that asks it again: curl, Hugging Face's client, OpenAI's, JavaScript. A picture comes from
// its address or, as it was sent, from the service, so that each runs as it stands.

import { action } from "./actions.js";
import { button, icon, make } from "./dom.js";
import { changed, state } from "./store.js";

const LANGUAGES = { curl: "curl", hf: "Python (HF)", openai: "Python (OpenAI)", js: "JavaScript" };
const WRITERS = { curl, hf: huggingface, openai, js: javascript };
const KEYWORDS = /("(?:[^"\\\n]|\\.)*"|\b(?:import|from|const|await|async|def|return|with|curl|print)\b)/;

const CACHED = "A question that was asked before is answered from the cache, and makes no job.";
const SKIPPED = "It skips the cache: each run is a job of its own.";

// `request` has model, priority, fresh, parameters, messages of {role, text, parts}, and its job's id.
export function snippet(request) {
  const tabs = Object.entries(LANGUAGES).map(([id, name]) =>
    button(
      "language",
      {
        class: "",
        role: "tab",
        "data-language": id,
        "aria-selected": String(state.ask.language === id),
        tabindex: state.ask.language === id ? 0 : -1,
      },
      name,
    ),
  );
  return code_box(
    make("div", { role: "tablist", "aria-label": "Language" }, tabs),
    WRITERS[state.ask.language](request),
    make("p", { class: "fine" }, request.fresh ? SKIPPED : CACHED),
  );
}

export function code_box(title, text, ...below) {
  const parts = text
    .split(KEYWORDS)
    .map((part, at) => (at % 2 ? make("span", { class: part.startsWith('"') ? "string" : "keyword" }, part) : part));
  return make(
    "div",
    { class: "snippet" },
    make("div", { class: "tabs" }, title, button("copy", { "data-text": text }, icon("copy"), "Copy")),
    make("pre", { class: "code", tabindex: 0, dir: "ltr" }, make("code", {}, parts)),
    below,
  );
}

const source = (request, { picture, url }) => url ?? `${location.origin}/v1/jobs/${request.job}/pictures/${picture}`;
const pictures = ({ messages }) => messages.flatMap(({ parts }) => parts).filter(({ url }) => !url);
const keyed = () => state.key !== "";
const lines = (...all) =>
  all
    .flat()
    .filter((line) => typeof line === "string")
    .join("\n");

// Messages as JSON with a line for each part; `show` has the words for a picture's address.
function messages_json(request, show, indent, escaped = (text) => text) {
  const messages = request.messages.map(({ role, text, parts }) => {
    const own = parts.map((part) => `{"type": "image_url", "image_url": {"url": ${show(part)}}},`);
    const written = escaped(JSON.stringify(text));
    const content = own.length
      ? `[\n    ${[...own, `{"type": "text", "text": ${written}}`].join("\n    ")}\n  ]`
      : written;
    return `  {"role": "${role}", "content": ${content}}`;
  });
  return `[\n${messages.join(",\n")}\n]`.replaceAll("\n", `\n${indent}`);
}

function parameters_json({ parameters }) {
  return Object.keys(parameters).length > 0 && `"parameters": ${JSON.stringify(parameters)}`;
}

// The body stands in a text that the shell reads, so it must not take apart what is asked.
function curl(request) {
  const escaped = (text) => text.replace(/[\\$`]/g, "\\$&");
  const key = keyed() ? ' -H "Authorization: Bearer $SIGHTLINE_API_KEY"' : "";
  const fresh = request.fresh ? ' -H "x-use-cache: false"' : "";
  const show = (it) => (it.url ? escaped(JSON.stringify(it.url)) : `"$(base64 < picture-${it.picture} | tr -d '\\n')"`);
  const parameters = parameters_json(request);
  const [own] = pictures(request);
  return lines(
    own && `# For a file of your own, in place of this: cp picture.png picture-${own.picture}`,
    pictures(request).map((it) => `curl -sS ${source(request, it)}${key} -o picture-${it.picture}`),
    `curl -sS ${location.origin}/v1/jobs${key}${fresh} \\`,
    '  -H "Content-Type: application/json" -H "Prefer: wait=60" --data-binary @- <<BODY',
    "{",
    `  "model": "${request.model}",`,
    `  "priority": "${request.priority}",`,
    parameters && `  ${escaped(parameters)},`,
    `  "messages": ${messages_json(request, show, "  ", escaped)}`,
    "}",
    "BODY",
  );
}

const key_in_python = () => (keyed() ? 'os.environ["SIGHTLINE_API_KEY"]' : '"none"');

function huggingface(request) {
  const fresh = request.fresh ? ', headers={"x-use-cache": "false"}' : "";
  return python(request, "huggingface_hub import InferenceClient", [
    `client = InferenceClient(base_url="${location.origin}/v1", api_key=${key_in_python()}${fresh})`,
    "answer = client.chat_completion(",
    settings(request, "max_tokens"),
  ]);
}

function openai(request) {
  return python(request, "openai import OpenAI", [
    `client = OpenAI(base_url="${location.origin}/v1", api_key=${key_in_python()})`,
    "answer = client.chat.completions.create(",
    settings(request, "max_completion_tokens"),
    request.fresh && '    extra_headers={"x-use-cache": "false"},',
  ]);
}

function settings({ model, parameters: { max_new_tokens, temperature, response_format } }, limit) {
  return [
    `    model="${model}",`,
    max_new_tokens && `    ${limit}=${max_new_tokens},`,
    temperature !== undefined && `    temperature=${temperature},`,
    response_format && `    response_format=${python_value(response_format)},`,
  ];
}

function python(request, client, call) {
  const own = pictures(request).length > 0;
  const header = keyed() ? `, headers={"Authorization": "Bearer " + ${key_in_python()}}` : "";
  const show = (it) => (it.url ? JSON.stringify(it.url) : `picture("${source(request, it)}")`);
  const reader = [
    "",
    '# For a file of your own: picture("file:///home/you/picture.png")',
    "def picture(url):",
    `    with urlopen(Request(url${header})) as answer:`,
    "        data = base64.b64encode(answer.read()).decode()",
    "        return f\"data:{answer.headers['content-type']};base64,{data}\"",
    "",
  ];
  return lines(
    `# pip install ${client.split(" ")[0]}`,
    own && "import base64",
    keyed() && "import os",
    own && "from urllib.request import Request, urlopen",
    `from ${client}`,
    own ? reader : "",
    ...call,
    `    messages=${messages_json(request, show, "    ")},`,
    ")",
    "print(answer.choices[0].message.content)",
  );
}

// JSON as Python writes it.
function python_value(value) {
  const words = { true: "True", false: "False", null: "None" };
  return JSON.stringify(value).replace(/"(?:[^"\\]|\\.)*"|true|false|null/g, (word) => words[word] ?? word);
}

function javascript(request) {
  const show = (it) => (it.url ? JSON.stringify(it.url) : `await picture("${source(request, it)}")`);
  const parameters = parameters_json(request);
  const reader = [
    '// For a file of your own, in place of this: (await import("node:fs")).readFileSync("picture.png", "base64")',
    "async function picture(url) {",
    `  const answer = await fetch(url${keyed() ? ", { headers: key }" : ""});`,
    "  if (!answer.ok) throw new Error(await answer.text());",
    "  const bytes = new Uint8Array(await answer.arrayBuffer());",
    '  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));',
    "}",
    "",
  ];
  return lines(
    "// Save as ask.mjs, then: node ask.mjs",
    keyed() && "const key = { authorization: `Bearer ${process.env.SIGHTLINE_API_KEY}` };",
    pictures(request).length > 0 && reader,
    "const body = {",
    `  model: "${request.model}",`,
    `  priority: "${request.priority}",`,
    parameters && `  ${parameters},`,
    `  messages: ${messages_json(request, show, "  ")},`,
    "};",
    `const answer = await fetch("${location.origin}/v1/jobs", {`,
    '  method: "POST",',
    `  headers: { ${keyed() ? "...key, " : ""}${request.fresh ? '"x-use-cache": "false", ' : ""}"content-type": "application/json", prefer: "wait=60" },`,
    "  body: JSON.stringify(body),",
    "});",
    "const job = await answer.json();",
    "console.log(job.result?.text ?? job.error?.message ?? job.detail ?? `${job.id} is ${job.status}`);",
  );
}

action("language", ({ dataset }) => ((state.ask.language = dataset.language), changed()));
