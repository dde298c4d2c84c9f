//! `xenoglot chat`: a conversation in the terminal, with the model in this process.
//!
//! The answer streams to stdout, everything else goes to stderr. Ctrl-C stops an answer, and at the prompt ends
//! the conversation. Without a terminal on stdin, each line of it is one message.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::chat::{ReasoningSplitter, RenderOptions, opens_reasoning};
use crate::engine::output::{Output, OutputOptions, OutputStream};
use crate::engine::{Request, SamplingParams, SoftPrefix};
use crate::model::augmented::AugmentedPrompt;
use crate::registry::ServedModel;

use super::failure::Failure;
use super::options::{GlobalOptions, ModelOptions, settings};
use super::start;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A Hugging Face directory, a GGUF file, a name below the models directory or a hub name (org/name)
    /// [default: SmolLM2-135M-Instruct]
    model: Option<String>,
    /// Instructions that stand before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// 0 always takes the likeliest token [default: the model's own, else 0.7]
    #[arg(allow_negative_numbers = true, long)]
    temperature: Option<f32>,
    /// Keep the likeliest tokens that reach this probability together
    #[arg(allow_negative_numbers = true, long)]
    top_p: Option<f32>,
    /// Keep this many of the likeliest tokens; 0 keeps all
    #[arg(allow_negative_numbers = true, long)]
    top_k: Option<u32>,
    /// Longest answer, in tokens [default: what the context leaves]
    #[arg(allow_negative_numbers = true, long, value_name = "TOKENS")]
    max_tokens: Option<usize>,
    /// The same seed gives the same answers
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    model_options: ModelOptions,
}

const HELP: &str = "/exit ends, /clear forgets the conversation, /help shows this; Ctrl-C stops an answer";

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let mut flags = arguments.model_options.overrides();
    // One conversation needs no room for a hundred.
    flags.max_num_seqs = flags.max_num_seqs.or(Some(1));
    let settings = settings(global, flags)?;
    start::logging(&settings, true)?;
    let registry = start::registry(&settings, start::workers(&settings)?);
    let model = start::load(&registry, arguments.model.as_deref(), &settings)?;
    if model.template.is_none() && model.augmented.is_none() {
        let why = model.template_problem.clone().unwrap_or_else(|| "it has no chat template".to_owned());
        return Err(Failure::new(format!("{} cannot chat: {why}", model.name))
            .hint("an instruction-tuned model has a template; base models only continue text")
            .into());
    }
    if model.augmented.is_some() {
        eprintln!("{} is a MindMerger model: it answers each message by itself", model.name);
        if arguments.system.is_some() {
            return Err(Failure::usage(format!("--system: {} has no place for instructions", model.name))
                .hint("what it reads beside the question is `prompt_template` in its xenoglot.json")
                .into());
        }
    }
    start::runtime()?.block_on(converse(&model, arguments))
}

async fn converse(model: &Arc<ServedModel>, arguments: &Arguments) -> anyhow::Result<()> {
    let interactive = std::io::stdin().is_terminal();
    if interactive {
        eprintln!("{} ({} tokens of context). {HELP}", model.name, model.max_model_len);
    }
    let opening: Vec<Value> =
        arguments.system.iter().map(|text| json!({"role": "system", "content": text})).collect();
    let mut messages = opening.clone();
    let mut lines = lines();
    loop {
        if interactive {
            eprint!("> ");
        }
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(line) = line else { break };
        match line?.trim() {
            "" => {}
            "/exit" | "/quit" => break,
            "/help" => eprintln!("{HELP}"),
            "/clear" => messages.clone_from(&opening),
            text if text.starts_with('/') && interactive => eprintln!("there is no command `{text}`. {HELP}"),
            text => {
                messages.push(json!({"role": "user", "content": text}));
                match answer(model, arguments, &messages).await {
                    Ok(content) => messages.push(json!({"role": "assistant", "content": content})),
                    Err(error) if interactive => {
                        messages.pop();
                        eprintln!("error: {error:#}");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}

/// Lines of stdin from a thread of their own, since reading them blocks.
fn lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

async fn answer(model: &ServedModel, arguments: &Arguments, messages: &[Value]) -> anyhow::Result<String> {
    let Prompt { text: prompt, ids, soft_prefix } = read(model, messages)?;
    let taken = ids.len() + soft_prefix.as_ref().map_or(0, SoftPrefix::positions);
    let room = model.max_model_len.saturating_sub(taken);
    if room == 0 {
        bail!("the conversation fills the context of {} tokens: /clear begins anew", model.max_model_len);
    }
    let request = Request {
        id: "chat".to_owned(),
        prompt: ids,
        sampling: sampling(model, arguments, room),
        adapter: model.request_adapter(),
        soft_prefix,
        guidance: None,
        cache_salt: None,
        priority: 0,
    };
    let events = model.handle.generate(request)?;
    let mut outputs = OutputStream::new(events, model.tokenizer.clone(), OutputOptions::default());
    let mut screen = Screen::new(opens_reasoning(&prompt));
    loop {
        let output = tokio::select! {
            output = outputs.next() => output,
            // Dropping the stream cancels what still runs.
            _ = tokio::signal::ctrl_c() => None,
        };
        match output {
            Some(Output::Delta { text, .. }) => screen.show(&text)?,
            Some(Output::Failed { message, .. }) => bail!(message),
            Some(Output::Scheduled { .. } | Output::Finished { .. }) => {}
            None => break,
        }
    }
    screen.finish()
}

struct Prompt {
    text: String,
    ids: Vec<u32>,
    soft_prefix: Option<SoftPrefix>,
}

/// A MindMerger model answers the last message alone.
fn read(model: &ServedModel, messages: &[Value]) -> anyhow::Result<Prompt> {
    let Some(prompts) = &model.augmented else {
        let text = render(model, messages)?;
        let ids = model.tokenizer.encode(&text, false)?;
        return Ok(Prompt { text, ids, soft_prefix: None });
    };
    let question = messages.last().and_then(|message| message["content"].as_str()).unwrap_or_default();
    let AugmentedPrompt { ids, encoder_ids } = prompts.read(question, None, "")?;
    Ok(Prompt { text: prompts.text(question), ids, soft_prefix: Some(SoftPrefix::Text { encoder_ids }) })
}

fn render(model: &ServedModel, messages: &[Value]) -> anyhow::Result<String> {
    let template = model.template.as_ref().context("the model has no chat template")?;
    let messages = Value::from(messages.to_vec());
    Ok(template.render(&RenderOptions {
        messages: &messages,
        tools: None,
        add_generation_prompt: true,
        continue_final_message: false,
        kwargs: &Map::new(),
    })?)
}

fn sampling(model: &ServedModel, arguments: &Arguments, room: usize) -> SamplingParams {
    let defaults = model.generation_defaults;
    SamplingParams {
        temperature: arguments.temperature.or(defaults.temperature).unwrap_or(0.7),
        top_p: arguments.top_p.or(defaults.top_p).unwrap_or(1.0),
        top_k: arguments.top_k.or(defaults.top_k).unwrap_or(0),
        min_p: defaults.min_p.unwrap_or(0.0),
        repetition_penalty: defaults.repetition_penalty.unwrap_or(1.0),
        seed: arguments.seed,
        max_tokens: arguments.max_tokens.unwrap_or(room).min(room),
        ..SamplingParams::default()
    }
}

/// Reasoning dimmed on stderr, the answer on stdout.
struct Screen {
    splitter: ReasoningSplitter,
    content: String,
    dimmed: bool,
}

impl Screen {
    fn new(opened: bool) -> Self {
        Self { splitter: ReasoningSplitter::new(opened), content: String::new(), dimmed: false }
    }

    fn show(&mut self, text: &str) -> anyhow::Result<()> {
        let (reasoning, content) = self.splitter.push(text);
        self.write(&reasoning, &content)
    }

    fn write(&mut self, reasoning: &str, content: &str) -> anyhow::Result<()> {
        if !reasoning.is_empty() {
            let colours = std::io::stderr().is_terminal();
            self.dimmed = true;
            if colours { eprint!("\u{1b}[2m{reasoning}\u{1b}[0m") } else { eprint!("{reasoning}") }
        }
        if !content.is_empty() {
            if std::mem::take(&mut self.dimmed) {
                eprintln!();
            }
            let mut out = std::io::stdout();
            out.write_all(content.as_bytes())?;
            out.flush()?;
            self.content.push_str(content);
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<String> {
        let (reasoning, content) = self.splitter.finish();
        self.write(&reasoning, &content)?;
        writeln!(std::io::stdout())?;
        Ok(self.content)
    }
}
