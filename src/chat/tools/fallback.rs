//! Tools for a template that has no word of them: the definitions as a system text, calls and results as text.

use serde_json::{Map, Value, json};

use super::ToolFormat;

/// The messages with the tools told to the model in the format of Hermes: `system` text first, calls written out as the model is
/// to write them, results as a user's turn.
pub fn without_template_support(messages: &[Value], tools: &[Value]) -> Vec<Value> {
    let mut told: Vec<Value> = messages.iter().map(written_out).collect();
    if tools.is_empty() {
        return told;
    }
    let asks = definitions(tools);
    match told.first_mut().filter(|first| first["role"] == "system") {
        Some(own) => {
            let text = own["content"].as_str().unwrap_or_default();
            own["content"] = json!(format!("{text}\n\n{asks}"));
        }
        None => told.insert(0, json!({"role": "system", "content": asks})),
    }
    told
}

fn definitions(tools: &[Value]) -> String {
    let format = ToolFormat::Hermes;
    let (open, close) = (format.open(), format.close().unwrap_or_default());
    let listed: Vec<String> = tools.iter().map(|tool| tool["function"].to_string()).collect();
    format!(
        "You may call functions. These are there, a JSON object each, with the schema of their arguments:\n{}\n\nTo call one, write \
         its name and its arguments like this, once a call, and nothing after the last:\n\
         {open}\n{{\"name\": NAME, \"arguments\": {{ARGUMENTS}}}}\n{close}",
        listed.join("\n")
    )
}

fn written_out(message: &Value) -> Value {
    let text = message["content"].as_str().unwrap_or_default();
    if message["role"] == "tool" {
        return json!({"role": "user", "content": format!("<tool_response>\n{text}\n</tool_response>")});
    }
    let Some(calls) = message["tool_calls"].as_array() else { return message.clone() };
    let format = ToolFormat::Hermes;
    let call = |call: &Value| {
        let object = json!({"name": call["function"]["name"], "arguments": call["function"]["arguments"]});
        format!("{}\n{object}\n{}", format.open(), format.close().unwrap_or_default())
    };
    let written: Vec<String> = Some(text.to_owned())
        .filter(|text| !text.is_empty())
        .into_iter()
        .chain(calls.iter().map(call))
        .collect();
    let mut plain: Map<String, Value> = message.as_object().cloned().unwrap_or_default();
    plain.shift_remove("tool_calls");
    plain.insert("content".to_owned(), json!(written.join("\n")));
    Value::Object(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_becomes_text() {
        let tools =
            [json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}})];
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}});
        let messages = [
            json!({"role": "user", "content": "go"}),
            json!({"role": "assistant", "content": "", "tool_calls": [call]}),
            json!({"role": "tool", "content": "7", "tool_call_id": "c"}),
        ];
        let told = without_template_support(&messages, &tools);
        assert_eq!(told.len(), 4);
        let system = told[0]["content"].as_str().unwrap();
        assert!(system.contains(r#"{"name":"f","parameters":{"type":"object"}}"#), "{system}");
        let call = "<tool_call>\n{\"name\":\"f\",\"arguments\":{\"x\":1}}\n</tool_call>";
        assert_eq!(told[2], json!({"role": "assistant", "content": call}));
        assert_eq!(told[3], json!({"role": "user", "content": "<tool_response>\n7\n</tool_response>"}));
        let own = [json!({"role": "system", "content": "Be brief."})];
        let told = without_template_support(&own, &tools);
        assert!(told.len() == 1 && told[0]["content"].as_str().unwrap().starts_with("Be brief.\n\nYou may"));
    }
}
