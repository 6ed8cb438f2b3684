// A question as a program that asks it again: curl, Hugging Face's client, OpenAI's, JavaScript. A picture comes from
// its address or, as it was sent, from the service, so that each runs as it stands.

import { action } from "./actions.js";
import { button, icon, make } from "./dom.js";
import { changed, state } from "./store.js";

const LANGUAGES = { curl: "curl", hf: "Python (HF)", openai: "Python (OpenAI)", js: "JavaScript" };
const WRITERS = { curl, hf: huggingface, openai, js: javascript };
const KEYWORDS = /("(?:[^"\\\n]|\\.)*"|\b(?:import|from|const|await|async|def|return|with|curl|print)\b)/;

const CACHED = "A question that was asked before is answered from the cache.";
const SKIPPED = "It skips the cache: each run is a job of its own.";

// What a job asked (GET /v1/jobs/ID/request), to be written as a program. `fresh`: it skips the cache.
export const in_code = (request, { id }, fresh) => ({ ...request, job: id, fresh });

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

const images = ({ messages }) => messages.flatMap(({ content }) => content).filter(({ type }) => type === "image");
const source = (request, { n, url }) => url ?? `${location.origin}/v1/jobs/${request.job}/pictures/${n}`;
const own_pictures = (request) => images(request).filter(({ url }) => !url);
// The bytes of other files are not read back: whoever runs the program names theirs.
const ELSEWHERE = "https://example.org/replace-this";
const keyed = () => state.key !== "";
const lines = (...all) =>
  all
    .flat()
    .filter((line) => typeof line === "string")
    .join("\n");

// Messages as JSON with a line for each part; `show` has the words for a picture's address.
function messages_json(request, show, indent, escaped = (text) => text) {
  const json = (value) => escaped(JSON.stringify(value));
  const part = (own) => {
    if (own.type === "text") return `{"type": "text", "text": ${json(own.text)}}`;
    if (own.type === "image") return `{"type": "image_url", "image_url": {"url": ${show(own)}}}`;
    return json({ type: own.type, [own.type]: own.url ?? ELSEWHERE, pages: own.pages });
  };
  const messages = request.messages.map(({ role, content, ...more }) => {
    const written = Array.isArray(content) ? `[\n    ${content.map(part).join(",\n    ")}\n  ]` : json(content);
    const fields = Object.entries(more).map(([name, value]) => `, "${name}": ${json(value)}`);
    return `  {"role": "${role}", "content": ${written}${fields.join("")}}`;
  });
  return `[\n${messages.join(",\n")}\n]`.replaceAll("\n", `\n${indent}`);
}

// All that a job was asked with beside its messages, by name.
function job_fields({ model, priority, parameters, metadata, ...request }) {
  const { tools, tool_choice, parallel_tool_calls, continue_final_message } = request;
  const filled = (value) => (Object.keys(value).length ? value : undefined);
  const beside = { tools, tool_choice, parallel_tool_calls, continue_final_message };
  const all = { model, priority, parameters: filled(parameters), metadata: filled(metadata), ...beside };
  return Object.entries(all).filter(([, value]) => value !== undefined);
}

// The body stands in a text that the shell reads, so it must not take apart what is asked.
function curl(request) {
  const escaped = (text) => text.replace(/[\\$`]/g, "\\$&");
  const key = keyed() ? ' -H "Authorization: Bearer $SIGHTLINE_API_KEY"' : "";
  const fresh = request.fresh ? ' -H "x-use-cache: false"' : "";
  const show = (it) => (it.url ? escaped(JSON.stringify(it.url)) : `"$(base64 < picture-${it.n} | tr -d '\\n')"`);
  const own = own_pictures(request).length > 0;
  return lines(
    own && "# For a picture of your own, delete the next line and write",
    own && "# the name of your file in place of picture-0.",
    own_pictures(request).map((it) => `curl -sS ${source(request, it)}${key} -o picture-${it.n}`),
    `curl -sS ${location.origin}/v1/jobs${key}${fresh} \\`,
    '  -H "Content-Type: application/json" -H "Prefer: wait=60" --data-binary @- <<BODY',
    "{",
    job_fields(request).map(([name, value]) => `  "${name}": ${escaped(JSON.stringify(value))},`),
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
    chat_arguments(request, { max_new_tokens: "max_tokens" }, HF_ARGUMENTS),
  ]);
}

function openai(request) {
  return python(request, "openai import OpenAI", [
    `client = OpenAI(base_url="${location.origin}/v1", api_key=${key_in_python()})`,
    "answer = client.chat.completions.create(",
    chat_arguments(request, { max_new_tokens: "max_completion_tokens" }, [...HF_ARGUMENTS, ...OPENAI_ARGUMENTS]),
    request.fresh && '    extra_headers={"x-use-cache": "false"},',
  ]);
}

const HF_ARGUMENTS = [
  ...["model", "max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias"],
  ...["seed", "stop", "n", "logprobs", "top_logprobs", "tools", "tool_choice"],
];
const OPENAI_ARGUMENTS = ["max_completion_tokens", "parallel_tool_calls", "metadata", "service_tier"];
const TIERS = { interactive: "priority", batch: "flex" };
const JOBS_ALONE = ["do_sample", "typical_p"];

// A client takes what its own service has as arguments; the rest goes into the body.
function chat_arguments(request, names, known) {
  const { parameters, priority, ...fields } = Object.fromEntries(job_fields(request));
  const { num_frames, fps, ...others } = parameters ?? {};
  const lost = JOBS_ALONE.filter((name) => name in others);
  const own = { ...names, min_new_tokens: "min_tokens" };
  const sampling = Object.entries(others).filter(([name]) => !lost.includes(name));
  const frames = num_frames || fps ? { mm_processor_kwargs: { num_frames, fps } } : {};
  const tier = TIERS[priority] ? { service_tier: TIERS[priority] } : {};
  const all = {
    ...fields,
    ...Object.fromEntries(sampling.map(([name, value]) => [own[name] ?? name, value])),
    ...frames,
    ...tier,
  };
  const body = Object.entries(all).filter(([name]) => !known.includes(name));
  return [
    ...lost.map((name) => `    # Jobs alone take it: ${name}=${python_value(others[name])}`),
    ...known.filter((name) => name in all).map((name) => `    ${name}=${python_value(all[name])},`),
    body.length > 0 && `    extra_body=${python_value(Object.fromEntries(body))},`,
  ];
}

function python(request, client, call) {
  const own = own_pictures(request).length > 0;
  const header = keyed() ? `, headers={"Authorization": "Bearer " + ${key_in_python()}}` : "";
  const show = (it) => (it.url ? JSON.stringify(it.url) : `picture("${source(request, it)}")`);
  const reader = [
    "",
    '# For a picture of your own: picture("file:///home/you/it.png")',
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
  const reader = [
    "// For a picture of your own, write in place of await picture(…):",
    '// (await import("node:fs")).readFileSync("picture.png", "base64")',
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
    own_pictures(request).length > 0 && reader,
    "const body = {",
    job_fields(request).map(([name, value]) => `  ${name}: ${JSON.stringify(value)},`),
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
