//! `OutputStream` over a vocabulary of single bytes, so that every character is cut at every place.

use proptest::prelude::*;
use tokio::sync::mpsc::unbounded_channel;

use super::super::handle::Command;
use super::*;

const STOP_TOKEN: u32 = 256;

/// Token i is byte i; 256 is the special token `<end>`.
fn byte_tokenizer() -> Tokenizer {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut beyond = 0x100..;
    let vocabulary: Vec<String> = (0..256)
        .map(|byte| {
            let character = if printable(byte) { Some(byte) } else { beyond.next() };
            let character = character.and_then(char::from_u32).unwrap();
            format!("{}: {byte}", serde_text(character))
        })
        .collect();
    let json = format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "added_tokens": [{{"id": 256, "content": "<end>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}}],
            "post_processor": null,
            "decoder": {{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}},
            "model": {{"type": "BPE", "vocab": {{{}}}, "merges": []}}}}"#,
        vocabulary.join(", ")
    );
    Tokenizer::from_json(json.as_bytes(), "byte_tokenizer.json".as_ref()).unwrap()
}

fn serde_text(character: char) -> String {
    match character {
        '"' | '\\' => format!("\"\\{character}\""),
        _ => format!("\"{character}\""),
    }
}

#[derive(Debug, PartialEq)]
struct Told {
    text: String,
    finished: Option<(FinishReason, Option<StopCause>, usize)>,
    cancelled: bool,
}

/// Sends the bytes as tokens, then `end`, and reads everything that comes out for choice 0. It must be the same when a
/// message holds one token and when it holds several, as it does after speculation.
fn tell(tokens: &[u32], end: FinishReason, options: &OutputOptions) -> Told {
    let told = tell_in_messages(tokens, end, options, 1);
    for tokens_a_message in [3, usize::MAX] {
        assert_eq!(tell_in_messages(tokens, end, options, tokens_a_message), told);
    }
    told
}

fn tell_in_messages(
    tokens: &[u32],
    end: FinishReason,
    options: &OutputOptions,
    tokens_a_message: usize,
) -> Told {
    let (sender, receiver) = unbounded_channel();
    let (commands, received) = std::sync::mpsc::channel();
    let event = |&token| Event::Token { choice: 0, token, logprobs: None, weight_version: 0 };
    let mut events: Vec<Event> = tokens.iter().map(event).collect();
    events.push(Event::Finished { choice: 0, reason: end });
    while !events.is_empty() {
        // The end comes with the last token.
        let count =
            if events.len() <= tokens_a_message.saturating_add(1) { events.len() } else { tokens_a_message };
        sender.send(events.drain(..count).collect()).unwrap();
    }
    let mut stream =
        OutputStream::new(EventStream::new(receiver, commands, 0), byte_tokenizer(), options.clone());
    let mut told = Told { text: String::new(), finished: None, cancelled: false };
    let mut tokens = 0;
    while let Some(output) = stream.blocking_next() {
        match output {
            Output::Delta { text, tokens: gained, .. } => {
                told.text.push_str(&text);
                tokens += gained.len();
            }
            Output::Finished { reason, stop, completion_tokens, .. } => {
                assert_eq!(tokens, completion_tokens);
                told.finished = Some((reason, stop, completion_tokens));
            }
            other => panic!("{other:?}"),
        }
    }
    told.cancelled = received.try_iter().any(|command| matches!(command, Command::FinishChoice { .. }));
    told
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

fn check(text: &str, options: &OutputOptions, expected: &str, stop: Option<&str>, completion_tokens: usize) {
    let told = tell(&bytes(text), FinishReason::Length, options);
    let cause = stop.map(|stop| StopCause::Text(stop.to_owned()));
    let reason = if stop.is_some() { FinishReason::StopString } else { FinishReason::Length };
    assert_eq!(told.text, expected);
    assert_eq!(told.finished, Some((reason, cause, completion_tokens)));
}

fn stops(stop: &[&str]) -> OutputOptions {
    OutputOptions { stop: stop.iter().map(ToString::to_string).collect(), ..OutputOptions::default() }
}

#[test]
fn stop_strings_cut_the_text_and_cancel_the_choice() {
    check("abc", &stops(&[]), "abc", None, 3);
    check("答案是42。完", &stops(&["。"]), "答案是42", Some("。"), 14);
    check(
        "答案是42。完",
        &OutputOptions { include_stop: true, ..stops(&["。"]) },
        "答案是42。",
        Some("。"),
        14,
    );
    check("a. b. c", &OutputOptions { min_tokens: 3, ..stops(&["."]) }, "a. b", Some("."), 5);
    check("ends with #", &stops(&["##"]), "ends with #", None, 11);
    assert!(tell(&bytes("a.b"), FinishReason::Length, &stops(&["."])).cancelled);
    assert!(!tell(&bytes("a.b"), FinishReason::Length, &stops(&["!"])).cancelled);
}

#[test]
fn an_unfinished_character_comes_out_at_the_end() {
    let told = tell(&bytes("é")[..1], FinishReason::Length, &stops(&["x"]));
    assert_eq!(told.text, "\u{fffd}");
}

#[test]
fn the_text_of_a_stop_token_is_hidden_but_counted() {
    let tokens = [bytes("abc"), vec![u32::from(b'!')]].concat();
    let reason = FinishReason::StopToken(u32::from(b'!'));
    let told = tell(&tokens, reason, &stops(&["c#"]));
    assert_eq!(told.text, "abc");
    assert_eq!(told.finished, Some((reason, Some(StopCause::Token(u32::from(b'!'))), 4)));
    let shown = tell(&tokens, reason, &OutputOptions { include_stop: true, ..stops(&[]) });
    assert_eq!(shown.text, "abc!");
}

#[test]
fn special_tokens_are_skipped_when_asked() {
    let tokens = [bytes("a"), vec![STOP_TOKEN], bytes("b")].concat();
    for (skip_special_tokens, expected) in [(true, "ab"), (false, "a<end>b")] {
        let options = OutputOptions { skip_special_tokens, ..stops(&[]) };
        assert_eq!(tell(&tokens, FinishReason::Length, &options).text, expected);
    }
}

#[test]
fn a_closed_channel_is_a_failure() {
    let (sender, receiver) = unbounded_channel::<Vec<Event>>();
    drop(sender);
    let events = EventStream::new(receiver, std::sync::mpsc::channel().0, 0);
    let mut stream = OutputStream::new(events, byte_tokenizer(), stops(&[]));
    assert!(matches!(stream.blocking_next(), Some(Output::Failed { .. })));
    assert_eq!(stream.blocking_next(), None);
}

/// 16384 choices of sixteen stop strings of 1 KiB would be 256 MiB.
#[test]
fn choices_share_the_stop_strings() {
    let (_sender, receiver) = unbounded_channel();
    let options = OutputOptions { n: 100, ..stops(&["#"]) };
    let events = EventStream::new(receiver, std::sync::mpsc::channel().0, 0);
    let stream = OutputStream::new(events, byte_tokenizer(), options.clone());
    assert!(Arc::strong_count(&options.stop) > 100);
    drop(stream);
    assert_eq!(Arc::strong_count(&options.stop), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn stop_strings_over_single_bytes_equal_a_search_of_the_text(
        text in "[ab答案é🦀]{1,30}", stop in "[ab答案é🦀]{1,3}",
    ) {
        let told = tell(&bytes(&text), FinishReason::Length, &stops(&[&stop]));
        if let Some(start) = text.find(&stop) {
            prop_assert_eq!(told.text, &text[..start]);
            prop_assert_eq!(told.finished.map(|(_, _, tokens)| tokens), Some(start + stop.len()));
        } else {
            prop_assert_eq!(told.text, text);
        }
    }
}
