//! The chat template of the output: that which most models have, a well-known one by name, or a literal one.

use serde_json::Value;

use super::super::config::{ConfigError, Place};
use super::super::error::MergeError;
use super::super::inputs::InputModel;
use super::model_files::{is_gguf_model, read_object, read_text};
use crate::weights::Checkpoint;

/// In characters. What is shorter is a misspelt name.
const LENGTH_MIN: usize = 20;

/// `said` of a configuration's `chat_template`. `auto` is the template that most models have, among equals the base's,
/// then that of the first model; none where no model has one.
///
/// # Errors
/// `Config` for a text that is neither a name nor a template, `Weights` where a model's template cannot be read.
pub fn chat_template(
    said: &str,
    models: &[InputModel],
    base: Option<usize>,
) -> Result<Option<String>, MergeError> {
    if said == "auto" {
        let templates: Vec<Option<String>> = models.iter().map(template_of).collect::<Result<_, _>>()?;
        return Ok(most_frequent(&templates, base));
    }
    let template = match said {
        "alpaca" => ALPACA,
        "chatml" => CHATML,
        "exaone" => EXAONE,
        "llama3" => LLAMA3,
        "mistral" => MISTRAL,
        literal if literal.contains('{') && literal.chars().count() >= LENGTH_MIN => literal,
        other => {
            return Err(ConfigError::Value {
                place: Place::new("chat_template", 1),
                what: format!("{other:?} is neither the name of a chat template nor one"),
                way_out: "write auto, alpaca, chatml, exaone, llama3, mistral or a Jinja template".to_owned(),
            }
            .into());
        }
    };
    Ok(Some(template.to_owned()))
}

fn most_frequent(templates: &[Option<String>], base: Option<usize>) -> Option<String> {
    let said: Vec<&str> = templates.iter().flatten().map(|template| template.trim()).collect();
    let votes = |template: &str| said.iter().filter(|other| **other == template).count();
    let most = said.iter().map(|template| votes(template)).max()?;
    let of_base = base.and_then(|base| templates[base].as_deref()).map(str::trim);
    let mut by_preference = of_base.into_iter().chain(said.iter().copied());
    by_preference.find(|template| votes(template) == most).map(str::to_owned)
}

/// Of chat_template.jinja, else of tokenizer_config.json (where several are named, `default`), else of the older
/// chat_template.json, or of a GGUF file.
fn template_of(model: &InputModel) -> Result<Option<String>, MergeError> {
    if is_gguf_model(&model.path) {
        return Ok(Checkpoint::open(&model.path)?.chat_template);
    }
    let file = model.path.join("chat_template.jinja");
    if file.is_file() {
        return read_text(&file).map(Some);
    }
    let config = read_object(&model.path.join("tokenizer_config.json"))?.unwrap_or_default();
    match &config["chat_template"] {
        Value::String(template) => Ok(Some(template.clone())),
        Value::Array(named) => {
            let default = named.iter().find(|template| template["name"] == "default").or(named.first());
            Ok(default.and_then(|template| template["template"].as_str()).map(str::to_owned))
        }
        _ => {
            let older = read_object(&model.path.join("chat_template.json"))?.unwrap_or_default();
            Ok(older["chat_template"].as_str().map(str::to_owned))
        }
    }
}

/// Turns between `<|im_start|>` and `<|im_end|>`, the role in the first line.
const CHATML: &str = "\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}";

/// Headings in plain text. There is one system text, in front.
const ALPACA: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{{ message.content + '\\n\\n' }}
{%- elif message.role == 'user' -%}
{{ '### Instruction:\\n' + message.content + '\\n\\n' }}
{%- else -%}
{{ '### Response:\\n' + message.content }}{{ eos_token }}{{ '\\n\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '### Response:\\n' }}
{%- endif -%}";

/// The role in brackets; every turn but the user's has an end of its own.
const EXAONE: &str = "\
{%- if messages[0].role != 'system' -%}
{{ '[|system|][|endofturn|]\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '[|' + message.role + '|]' + message.content }}
{%- if message.role == 'user' -%}
{{ '\\n' }}
{%- else -%}
{{ '[|endofturn|]\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '[|assistant|]' }}
{%- endif -%}";

/// A header with the role, an empty line, the text without space around it.
const LLAMA3: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif -%}";

/// Instructions in brackets; a system text is put before the first of them. The end of an instruction is where an answer
/// begins, so there is nothing to add for one.
const MISTRAL: &str = "\
{{- bos_token -}}
{%- set turns = messages -%}
{%- set system = '' -%}
{%- if messages[0].role == 'system' -%}
{%- set turns = messages[1:] -%}
{%- set system = messages[0].content + '\\n\\n' -%}
{%- endif -%}
{%- for message in turns -%}
{%- if message.role == 'user' -%}
{{ '[INST] ' }}{% if loop.first %}{{ system }}{% endif %}{{ message.content + ' [/INST]' }}
{%- else -%}
{{ ' ' + message.content | trim }}{{ eos_token }}
{%- endif -%}
{%- endfor -%}";

#[cfg(test)]
mod tests {
    use super::super::fixture::Folder;
    use super::*;

    #[test]
    fn names_and_literals() {
        let check =
            |said: &str, expected: Result<&str, &str>| match (chat_template(said, &[], None), expected) {
                (Ok(Some(found)), Ok(part)) => assert!(found.contains(part), "{said}: {found}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{said}: {error}"),
                (found, _) => panic!("{said}: {found:?}"),
            };
        check("alpaca", Ok("### Response:"));
        check("chatml", Ok("<|im_start|>"));
        check("exaone", Ok("[|endofturn|]"));
        check("llama3", Ok("<|eot_id|>"));
        check("mistral", Ok("[/INST]"));
        check("{{ messages[0].content }}", Ok("{{ messages[0].content }}"));
        check("{{ messages }}", Err("chat_template: \"{{ messages }}\" is neither the name"));
        check("chatlm", Err("write auto, alpaca"));
        check("a long text without any brace", Err("neither"));
    }

    #[test]
    fn auto_is_what_most_have() {
        let check = |templates: &[Option<&str>], base: Option<usize>, expected: Option<&str>| {
            let templates: Vec<Option<String>> =
                templates.iter().map(|template| template.map(str::to_owned)).collect();
            assert_eq!(most_frequent(&templates, base).as_deref(), expected, "{templates:?} {base:?}");
        };
        check(&[], None, None);
        check(&[None, None], Some(0), None);
        check(&[Some("x"), Some(" y\n"), Some("y")], Some(0), Some("y"));
        check(&[Some("x"), Some("y")], None, Some("x"));
        check(&[Some("x"), Some("y")], Some(1), Some("y"));
        check(&[None, Some("x"), Some("y")], Some(0), Some("x"));
        check(&[Some("x"), Some("y"), Some("y"), Some("z"), Some("z")], Some(0), Some("y"));
    }

    #[test]
    fn templates_are_found_where_models_keep_them() {
        let check = |file: &str, text: &str, expected: Option<&str>| {
            let folder = Folder::new(2).file(file, text);
            let found = chat_template("auto", &[folder.open()], None).expect(text);
            assert_eq!(found.as_deref(), expected, "{file}");
        };
        check("chat_template.jinja", "{{ a }}\n", Some("{{ a }}"));
        check("tokenizer_config.json", r#"{"chat_template": "{{ b }}"}"#, Some("{{ b }}"));
        let named =
            r#"{"chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]}"#;
        check("tokenizer_config.json", named, Some("d"));
        check("chat_template.json", r#"{"chat_template": "{{ c }}"}"#, Some("{{ c }}"));
        check("tokenizer_config.json", "{}", None);
    }
}
