// As sdk.py, with the same features and the same lines, of the SDKs for Node.
//
//   sdk.mjs [FEATURE ...]

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg==";
const MARK = { kept: [1, "é", null] };
const WEATHER = { Bergen: "rain", Oslo: "snow" };
const PLACE = { type: "object", properties: { place: { type: "string" } }, required: ["place"], additionalProperties: false };
const FUNCTION = { name: "get_weather", description: "What falls from the sky", parameters: PLACE, strict: true };
const CHAT_TOOL = { type: "function", function: FUNCTION };
const RESPONSES_TOOL = { type: "function", ...FUNCTION };
const MESSAGES_TOOL = { name: "get_weather", description: "What falls from the sky", input_schema: PLACE };
const Trip = z.object({ city: z.string(), days: z.number() });

const gpt = new OpenAI({ maxRetries: 5 });
const claude = new Anthropic({ maxRetries: 5 });

const user = (text) => [{ role: "system", content: "Be terse." }, { role: "user", content: text }];
const asks = (text) => [{ role: "user", content: text }];

/** Of a chat completion. */
function said({ choices: [choice], usage }) {
  return { text: choice.message.content, finish: choice.finish_reason, tokens: usage.total_tokens };
}

/** Of a message. */
function wrote({ content, usage, stop_reason }) {
  const text = content.filter((block) => block.type === "text").map((block) => block.text);
  const read = usage.input_tokens + (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0);
  return { text: text.join(""), finish: stop_reason, tokens: read + usage.output_tokens };
}

function responded(response) {
  return { text: response.output_text, finish: response.status, tokens: response.usage.total_tokens };
}

// --- Each client on a model of its own vendor and of the other ---------------------------------------------------------------

async function chat(model) {
  return said(await gpt.chat.completions.create({ model, messages: user("say: hello"), temperature: 0.5 }));
}

async function chat_stream(model) {
  let [text, finish, usages] = ["", null, 0];
  for await (const chunk of await gpt.chat.completions.create({ model, messages: user("say: hello"), stream: true })) {
    usages += chunk.usage ? 1 : 0;
    for (const choice of chunk.choices) {
      text += choice.delta.content ?? "";
      finish = choice.finish_reason ?? finish;
    }
  }
  return { text, finish, usages };
}

async function chat_stream_usage(model) {
  const stream = gpt.chat.completions.stream({ model, messages: user("say: hello"), stream_options: { include_usage: true } });
  return said(await stream.finalChatCompletion());
}

async function chat_tools(model, streamed = false) {
  const messages = user("weather: what falls?");
  const all = { model, tools: [CHAT_TOOL], max_completion_tokens: 300 };
  const first = streamed
    ? await gpt.chat.completions.stream({ messages, stream_options: { include_usage: true }, ...all }).finalChatCompletion()
    : await gpt.chat.completions.create({ messages, ...all });
  const calls = first.choices[0].message.tool_calls;
  const told = calls.map(({ id, function: { name, arguments: given } }) => ({ id, type: "function", function: { name, arguments: given } }));
  const answers = calls.map((call) => WEATHER[JSON.parse(call.function.arguments).place]);
  const results = calls.map((call, at) => ({ role: "tool", tool_call_id: call.id, content: answers[at] }));
  const next = [...messages, { role: "assistant", content: null, tool_calls: told }, ...results];
  const last = await gpt.chat.completions.create({ messages: next, ...all });
  return { ...said(last), asked: first.choices[0].finish_reason, calls: calls.length };
}

const chat_tools_stream = (model) => chat_tools(model, true);

async function chat_parse(model) {
  const format = zodResponseFormat(Trip, "trip");
  const answer = await gpt.chat.completions.parse({ model, messages: user("structured: a trip"), response_format: format });
  return { ...said(answer), text: answer.choices[0].message.parsed };
}

async function chat_image(model) {
  const picture = { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } };
  const content = [{ type: "text", text: "picture: what is it?" }, picture];
  return said(await gpt.chat.completions.create({ model, messages: [{ role: "user", content }] }));
}

async function responses(model) {
  return responded(await gpt.responses.create({ model, instructions: "Be terse.", input: "say: hello" }));
}

async function responses_stream(model) {
  let streamed = "";
  const stream = gpt.responses.stream({ model, instructions: "Be terse.", input: "say: hello" });
  for await (const event of stream) {
    streamed += event.type === "response.output_text.delta" ? event.delta : "";
  }
  return { ...responded(await stream.finalResponse()), streamed };
}

async function responses_tools(model, streamed = false) {
  const items = asks("weather: what falls?");
  const all = { model, tools: [RESPONSES_TOOL] };
  const first = streamed
    ? await gpt.responses.stream({ input: items, ...all }).finalResponse()
    : await gpt.responses.create({ input: items, ...all });
  const calls = first.output.filter((item) => item.type === "function_call");
  for (const { call_id, name, arguments: given } of calls) {
    const output = WEATHER[JSON.parse(given).place];
    items.push({ type: "function_call", call_id, name, arguments: given }, { type: "function_call_output", call_id, output });
  }
  return { ...responded(await gpt.responses.create({ input: items, ...all })), calls: calls.length };
}

const responses_tools_stream = (model) => responses_tools(model, true);

async function responses_parse(model) {
  const answer = await gpt.responses.parse({ model, input: "structured: a trip", text: { format: zodTextFormat(Trip, "trip") } });
  return { ...responded(answer), text: answer.output_parsed };
}

async function message(model) {
  return wrote(await claude.messages.create({ model, max_tokens: 64, system: "Be terse.", messages: asks("say: hello") }));
}

async function message_stream(model) {
  let streamed = "";
  const stream = claude.messages.stream({ model, max_tokens: 64, messages: asks("say: hello") });
  stream.on("text", (piece) => (streamed += piece));
  return { ...wrote(await stream.finalMessage()), streamed };
}

async function message_tools(model, streamed = false) {
  const messages = asks("weather: what falls?");
  const all = { model, max_tokens: 300, tools: [MESSAGES_TOOL], tool_choice: { type: "auto" } };
  const first = streamed
    ? await claude.messages.stream({ messages, ...all }).finalMessage()
    : await claude.messages.create({ messages, ...all });
  const calls = first.content.filter((block) => block.type === "tool_use");
  const told = calls.map(({ id, name, input }) => ({ type: "tool_use", id, name, input }));
  const results = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: WEATHER[call.input.place] }));
  const next = [...messages, { role: "assistant", content: told }, { role: "user", content: results }];
  const last = await claude.messages.create({ messages: next, ...all });
  return { ...wrote(last), asked: first.stop_reason, calls: calls.length };
}

const message_tools_stream = (model) => message_tools(model, true);

async function message_image(model) {
  const picture = { type: "image", source: { type: "base64", media_type: "image/png", data: PNG } };
  const content = [picture, { type: "text", text: "picture: what is it?" }];
  return wrote(await claude.messages.create({ model, max_tokens: 64, messages: [{ role: "user", content }] }));
}

// --- What one vendor alone has -----------------------------------------------------------------------------------------------

const is_number = (text) => /^\d+$/.test(text);

async function chat_unknown_fields() {
  const messages = [{ role: "user", content: "marked: hello", x_marked: MARK }];
  const { data, response } = await gpt.chat.completions.create({ model: "gpt", messages }).withResponse();
  return { kept: data.x_vendor, entry: is_number(response.headers.get("cofferdam-entry")), account: response.headers.get("openai-organization") };
}

async function message_unknown_fields() {
  const messages = [{ role: "user", content: [{ type: "text", text: "marked: hello", x_marked: MARK }] }];
  const { data, response } = await claude.messages.create({ model: "claude", max_tokens: 64, messages }).withResponse();
  return { kept: data.x_vendor, entry: is_number(response.headers.get("cofferdam-entry")), account: response.headers.get("openai-organization") };
}

async function embeddings() {
  const answer = await gpt.embeddings.create({ model: "embed", input: ["one", "two"] });
  return { vectors: answer.data.map((one) => one.embedding), tokens: answer.usage.total_tokens };
}

async function listed(models, name) {
  const names = [];
  for await (const model of models.list()) names.push(model.id);
  return { names: names.sort(), one: (await models.retrieve(name)).id };
}

const openai_models = () => listed(gpt.models, "gpt");
const anthropic_models = () => listed(claude.models, "claude");

async function count_tokens() {
  const all = { model: "claude", system: "Be terse.", messages: asks("say: hello"), tools: [MESSAGES_TOOL] };
  return { tokens: (await claude.messages.countTokens(all)).input_tokens };
}

async function thinking() {
  const all = { model: "claude", max_tokens: 2048, thinking: { type: "enabled", budget_tokens: 1024 } };
  const first = await claude.messages.stream({ messages: asks("think: hello"), ...all }).finalMessage();
  const { thinking: thought, signature } = first.content.find((block) => block.type === "thinking");
  const told = [{ type: "thinking", thinking: thought, signature }, { type: "text", text: first.content.at(-1).text }];
  const messages = [...asks("think: hello"), { role: "assistant", content: told }, ...asks("think again: hello")];
  return { ...wrote(await claude.messages.create({ messages, ...all })), thought };
}

async function caching() {
  const system = [
    { type: "text", text: "The rules.", cache_control: { type: "ephemeral", ttl: "1h" } },
    { type: "text", text: "The case.", cache_control: { type: "ephemeral" } },
  ];
  const counts = [];
  for (const text of ["cache: hello", "cached: hello"]) {
    const { usage } = await claude.messages.create({ model: "claude", max_tokens: 64, system, messages: asks(text) });
    counts.push([usage.cache_creation_input_tokens, usage.cache_creation.ephemeral_1h_input_tokens, usage.cache_read_input_tokens]);
  }
  return { counts };
}

// --- What is refused ---------------------------------------------------------------------------------------------------------

async function raised(call, { APIError }) {
  const began = Date.now();
  try {
    await call();
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const quick = Date.now() - began < 2000;
    return { raised: error.constructor.name, status: error.status ?? null, message: error.message, quick };
  }
  return { raised: null };
}

const of_openai = (model, text = "say: hello") => raised(() => gpt.chat.completions.create({ model, messages: user(text) }), OpenAI);
const of_responses = (model, text = "say: hello") => raised(() => gpt.responses.create({ model, input: text }), OpenAI);
const of_anthropic = (model, text = "say: hello") =>
  raised(() => claude.messages.create({ model, max_tokens: 4096, messages: asks(text) }), Anthropic);

async function broken_chat(model) {
  let before = "";
  const stream = async () => {
    for await (const chunk of await gpt.chat.completions.create({ model, messages: user("break: hello"), stream: true })) {
      before += chunk.choices.map((choice) => choice.delta.content ?? "").join("");
    }
  };
  return { ...(await raised(stream, OpenAI)), before };
}

/** The vendor's own event of an error is no exception to its SDK. */
async function broken_responses(model) {
  let before = "";
  const told = {};
  const stream = async () => {
    for await (const event of await gpt.responses.create({ model, input: "break: hello", stream: true })) {
      before += event.type === "response.output_text.delta" ? event.delta : "";
      if (event.type === "error") told.event = event.message;
    }
  };
  return { ...(await raised(stream, OpenAI)), ...told, before };
}

async function broken_message(model) {
  let before = "";
  const stream = async () => {
    const stream = claude.messages.stream({ model, max_tokens: 64, messages: asks("break: hello") });
    stream.on("text", (piece) => (before += piece));
    await stream.finalMessage();
  };
  return { ...(await raised(stream, Anthropic)), before };
}

const OWN = {
  chat, chat_stream, chat_stream_usage, chat_tools, chat_tools_stream, chat_parse, chat_image, responses, responses_stream,
  responses_tools, responses_tools_stream, responses_parse, message, message_stream, message_tools, message_tools_stream, message_image,
};
const FEATURES = {
  chat_unknown_fields, message_unknown_fields, embeddings, openai_models, anthropic_models, count_tokens, thinking, caching,
};
for (const [name, feature] of Object.entries(OWN)) {
  for (const model of ["gpt", "claude"]) FEATURES[`${name} on ${model}`] = () => feature(model);
}
for (const [kind, asked] of Object.entries({ chat: of_openai, responses: of_responses, message: of_anthropic })) {
  for (const name of ["nothing", "other", "priceless", "dear"]) FEATURES[`${kind} of ${name}`] = () => asked(name);
  for (const name of ["gpt", "claude"]) FEATURES[`${kind} refused by ${name}`] = () => asked(name, "refuse: this");
}
for (const [kind, breaks] of Object.entries({ chat: broken_chat, responses: broken_responses, message: broken_message })) {
  for (const name of ["brittle-gpt", "brittle-claude"]) FEATURES[`${kind} broken by ${name}`] = () => breaks(name);
}
FEATURES.speech = () => raised(() => gpt.audio.speech.create({ model: "gpt", voice: "alloy", input: "hello" }), OpenAI);
FEATURES.batches = () => raised(() => claude.messages.batches.list(), Anthropic);
// Whose key is of nothing.
FEATURES["no key"] = () => raised(() => gpt.withOptions({ apiKey: "wrong" }).models.list(), OpenAI);

const wanted = process.argv.slice(2);
for (const name of wanted.length ? wanted : Object.keys(FEATURES)) {
  let found;
  try {
    found = await FEATURES[name]();
  } catch (error) {
    found = { failed: `${error.constructor.name}: ${error.message}` };
  }
  console.log(JSON.stringify({ feature: name, ...found }));
}
