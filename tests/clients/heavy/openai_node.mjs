// openai-node as a black box: chat, a stream, a form, a tool, responses. Usage: node openai_node.mjs URL MODEL
import assert from "node:assert";
import OpenAI from "openai";

const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France? Answer in one sentence." }];
const ask = { model, messages, max_tokens: 24, temperature: 0 };

const whole = await client.chat.completions.create(ask);
assert.match(whole.choices[0].message.content, /Paris/);

let text = "";
let usage = null;
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

const schema = {
  type: "object",
  properties: { city: { type: "string", maxLength: 20 }, inhabitants: { type: "integer" } },
  required: ["city", "inhabitants"],
  additionalProperties: false,
};
const formed = await client.chat.completions.create({
  ...ask,
  max_tokens: 120,
  response_format: { type: "json_schema", json_schema: { name: "city", strict: true, schema } },
});
assert.deepEqual(Object.keys(JSON.parse(formed.choices[0].message.content)), ["city", "inhabitants"]);

const tools = [{ type: "function", function: { name: "lookup", parameters: schema } }];
const called = await client.chat.completions.create({ ...ask, max_tokens: 120, tools, tool_choice: "required", parallel_tool_calls: false });
assert.equal(called.choices[0].finish_reason, "tool_calls");
assert.equal(called.choices[0].message.tool_calls[0].function.name, "lookup");

const response = await client.responses.create({ model, input: "What is the capital of France? Answer in one sentence.", max_output_tokens: 24, temperature: 0 });
assert.match(response.output_text, /Paris/);
let streamed = "";
for await (const event of await client.responses.create({ model, input: "What is the capital of France? Answer in one sentence.", max_output_tokens: 24, temperature: 0, stream: true })) {
  if (event.type === "response.output_text.delta") streamed += event.delta;
}
assert.equal(streamed, response.output_text);

await assert.rejects(client.chat.completions.create({ ...ask, temprature: 1 }), (error) => error.status === 400 && error.param === "temprature");
console.log(`openai-node ${(await import("openai/version")).VERSION}: chat, stream, form, tool, responses, error: ok`);
