//! One line a case: the kind, its arguments, a response, and whether it follows.

use serde_json::{Value, json};
use unicode_script::UnicodeScript;

use super::*;
use Followed::{No, Undecided, Yes};

/// The script's share stands in for language models here; `eval::scoring` tests with those.
fn share(text: &str, language: Language) -> Option<f64> {
    let letters: Vec<char> = text.chars().filter(|c| c.is_alphabetic()).collect();
    let own = letters.iter().filter(|c| language.scripts().contains(&c.script())).count();
    (letters.len() > 5).then(|| own as f64 / letters.len() as f64)
}

fn judge(id: &str, kwargs: &Value, response: &str, language: Language) -> (Followed, Followed) {
    let instructions =
        Instructions::parse(&json!([id]), &json!([kwargs])).expect("a well-formed instruction");
    let score = instructions.judge(response, Context { language, share: &share });
    (score.strict[0], score.loose[0])
}

#[track_caller]
fn check(id: &str, kwargs: Value, response: &str, expected: Followed) {
    check_in(Language::En, id, kwargs, response, expected);
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a case is one line")]
fn check_in(language: Language, id: &str, kwargs: Value, response: &str, expected: Followed) {
    assert_eq!(judge(id, &kwargs, response, language).0, expected, "{id} {kwargs} {response:?}");
}

#[test]
fn keywords() {
    let id = "keywords:existence";
    check(id, json!({"keywords": ["cat"]}), "A Cat sat.", Yes);
    check(id, json!({"keywords": ["cat"]}), "They concatenate.", Yes);
    check(id, json!({"keywords": ["cat", "dog"]}), "A cat sat.", No);
    check(id, json!({"keywords": ["cat", "dog"], "frequency": null}), "Dog and cat.", Yes);
    check(id, json!({"keywords": ["a.b"]}), "axb", No);
    check(id, json!({"keywords": ["ÉCOLE"]}), "une école", Yes);
    check(id, json!({"keywords": ["คณิตศาสตร์"]}), "ฉันเรียนคณิตศาสตร์ทุกวัน", Yes);
    check(id, json!({"keywords": ["数学"]}), "他学物理", No);
    let id = "keywords:frequency";
    check(id, json!({"keyword": "ha", "frequency": 3, "relation": "at least"}), "ha Ha HA", Yes);
    check(id, json!({"keyword": "ha", "frequency": 3, "relation": "at least"}), "haha", No);
    check(id, json!({"keyword": "ha", "frequency": 2, "relation": "less than"}), "ha", Yes);
    check(id, json!({"keyword": "ha", "frequency": 2, "relation": "less than"}), "haha", No);
    check(id, json!({"keyword": "aa", "frequency": 2, "relation": "at least"}), "aaa", No);
    check(id, json!({"keyword": "私", "frequency": 2, "relation": "at least"}), "私は私だ", Yes);
    let id = "keywords:forbidden_words";
    check(id, json!({"forbidden_words": ["cat"]}), "They concatenate.", Yes);
    check(id, json!({"forbidden_words": ["cat"]}), "The CAT!", No);
    check(id, json!({"forbidden_words": ["cat"]}), "cat_food", Yes);
    check(id, json!({"forbidden_words": ["cat"]}), "cat-food", No);
    check(id, json!({"forbidden_words": ["dog", "cat"]}), "a cat", No);
    check(id, json!({"forbidden_words": ["été"]}), "répété", Yes);
    check(id, json!({"forbidden_words": ["แมว"]}), "ฉันมีแมวสองตัว", No);
    check(id, json!({"forbidden_words": ["猫"]}), "这只猫很大", No);
    check(id, json!({"forbidden_words": ["AI"]}), "这是AI模型", No);
    check(id, json!({"forbidden_words": ["AI"]}), "the aim", Yes);
    check(id, json!({"forbidden_words": ["кот"]}), "который час", Yes);
    let id = "keywords:letter_frequency";
    check(id, json!({"letter": "e", "let_frequency": 3, "let_relation": "at least"}), "Eerie", Yes);
    check(id, json!({"letter": "E", "let_frequency": 4, "let_relation": "at least"}), "Eerie", No);
    check(id, json!({"letter": "z", "let_frequency": 1, "let_relation": "less than"}), "none", Yes);
    check(id, json!({"letter": "z", "let_frequency": 1, "let_relation": "less than"}), "Zone", No);
    check(id, json!({"letter": "#", "let_frequency": 2, "let_relation": "at least"}), "# a #b", Yes);
    check(id, json!({"letter": "ñ", "let_frequency": 1, "let_relation": "at least"}), "ESPAÑA", Yes);
}

#[test]
fn language() {
    let id = "language:response_language";
    check(id, json!({"language": "th"}), "สวัสดีครับ ผมชื่อสมชาย", Yes);
    check(id, json!({"language": "th"}), "Hello, I am Somchai", No);
    check(id, json!({"language": "ru"}), "Привет, как дела?", Yes);
    check(id, json!({"language": "hi"}), "42", Undecided);
    check(id, json!({"language": "ta"}), "வணக்கம் நண்பர்களே", Yes);
    check(id, json!({"language": "ta"}), "Hello friends", No);
    check(id, json!({"language": "mr"}), "नमस्कार मित्रांनो", Undecided);
    check(id, json!({"language": "mr"}), "Hello friends", No);
    check(id, json!({"language": "fi"}), "Привет, как дела?", No);
}

#[test]
fn sentences() {
    let id = "length_constraints:number_sentences";
    let least = |n: usize| json!({"num_sentences": n, "relation": "at least"});
    let less = |n: usize| json!({"num_sentences": n, "relation": "less than"});
    check(id, least(2), "One. Two.", Yes);
    check(id, least(3), "One. Two.", No);
    check(id, less(2), "One. Two.", No);
    check(id, less(3), "One. Two!", Yes);
    check(id, least(2), "It costs 3.14 dollars", No);
    check(id, less(2), "See example.org now.", Yes);
    check(id, least(3), "Really?! Yes... No", Yes);
    check(id, less(2), "I met Dr. Smith.", Undecided);
    check(id, less(3), "I met Dr. Smith.", Yes);
    check(id, least(2), "We ate, e.g. apples.", No);
    check(id, least(2), "He said \"Stop.\" Then he left.", Yes);
    check(id, least(2), "1. First thing", No);
    check(id, least(2), "A heading\nA sentence.", Undecided);
    check(id, less(4), "A heading\nA sentence.", Yes);
    check(id, least(2), "Wait... what", Undecided);
    check(id, least(1), "***", No);
    check(id, less(1), "...", Yes);
    check_in(Language::Zh, id, least(3), "今天下雨。我在家！你呢？", Yes);
    check_in(Language::Zh, id, less(3), "今天下雨。我在家！你呢？", No);
    check_in(Language::Ja, id, least(2), "雨です。「はい。」と言った", Yes);
    check_in(Language::Hi, id, least(2), "यह है। वह था।", Yes);
    check_in(Language::Ar, id, least(2), "كيف حالك؟ أنا بخير.", Yes);
    check_in(Language::Th, id, least(2), "วันนี้ฝนตก ฉันอยู่บ้าน", Undecided);
    check_in(Language::Th, id, least(3), "วันนี้ฝนตก ฉันอยู่บ้าน", No);
    check_in(Language::Th, id, least(2), "วันนี้ฝนตก\nฉันอยู่บ้าน", Yes);
    check_in(Language::Th, id, less(2), "ฉันอยู่บ้าน", Yes);
    check_in(Language::De, id, least(2), "Das ist z.B. gut.", No);
}

#[test]
fn words() {
    let id = "length_constraints:number_words";
    let counts = |language, text: &str, count: usize| {
        check_in(language, id, json!({"num_words": count, "relation": "at least"}), text, Yes);
        check_in(language, id, json!({"num_words": count, "relation": "less than"}), text, No);
        check_in(language, id, json!({"num_words": count + 1, "relation": "less than"}), text, Yes);
    };
    counts(Language::En, "One two three.", 3);
    counts(Language::En, "well-known, don't", 4);
    counts(Language::En, "snake_case 3.14", 3);
    counts(Language::En, " -- ... ", 0);
    counts(Language::De, "Schöne Grüße", 2);
    counts(Language::De, "e\u{301}te\u{301}", 1);
    counts(Language::Hi, "यह हिन्दी है", 3);
    counts(Language::Zh, "我们今天学习。", 6);
    counts(Language::Ja, "コーヒーを飲む", 7);
    counts(Language::Ja, "AIは便利", 4);
    counts(Language::Ko, "안녕하세요 친구 여러분", 3);
    counts(Language::Th, "ผมชื่อสมชาย และผมเป็นคนไทย", 8);
    counts(Language::Th, "ผมใช้ AI", 3);
    counts(Language::Fa, "می\u{200c}خواهم کتاب", 2);
    counts(Language::Ar, "السَّلام عليكم", 2);
}

#[test]
fn paragraphs() {
    let id = "length_constraints:number_paragraphs";
    check(id, json!({"num_paragraphs": 2}), "One\n***\nTwo", Yes);
    check(id, json!({"num_paragraphs": 2}), "One\n\nTwo", No);
    check(id, json!({"num_paragraphs": 2}), "***\nOne\n***\nTwo\n***", Yes);
    check(id, json!({"num_paragraphs": 2}), "One\n***\n\n***\nTwo", No);
    check(id, json!({"num_paragraphs": 3}), "One***Two", No);
    check(id, json!({"num_paragraphs": 1}), "One", Yes);
    let id = "length_constraints:nth_paragraph_first_word";
    let nth = |paragraphs: usize, nth: usize, word: &str| json!({"num_paragraphs": paragraphs, "nth_paragraph": nth, "first_word": word});
    check(id, nth(2, 2, "two"), "One\n\nTwo, three", Yes);
    check(id, nth(2, 2, "TWO"), "One\n\n\"Two\" three", Yes);
    check(id, nth(2, 2, "two"), "One\n\nTwofold", No);
    check(id, nth(2, 2, "two"), "One\nTwo", No);
    check(id, nth(2, 2, "two"), "One\n\nTwo\n\nThree", No);
    check(id, nth(2, 3, "two"), "One\n\nTwo", No);
    check(id, nth(2, 1, "one"), "'One' was\n\nTwo", Yes);
    check_in(Language::Th, id, nth(1, 1, "สวัสดี"), "สวัสดีครับทุกคน", Yes);
    check_in(Language::Th, id, nth(1, 1, "ครับ"), "สวัสดีครับทุกคน", No);
    check_in(Language::Ja, id, nth(1, 1, "今日"), "「今日は", Yes);
}

#[test]
fn content() {
    let id = "detectable_content:number_placeholders";
    check(id, json!({"num_placeholders": 2}), "Dear [name], at [place]", Yes);
    check(id, json!({"num_placeholders": 2}), "Dear [name]", No);
    check(id, json!({"num_placeholders": 1}), "Dear [name", No);
    check(id, json!({"num_placeholders": 1}), "Dear [na\nme]", No);
    check(id, json!({"num_placeholders": 2}), "[[a]]", No);
    check(id, json!({"num_placeholders": 1}), "[]", Yes);
    let id = "detectable_content:postscript";
    check(id, json!({"postscript_marker": "P.S."}), "Bye\nP.S. more", Yes);
    check(id, json!({"postscript_marker": "P.S."}), "Bye\np. s. more", Yes);
    check(id, json!({"postscript_marker": "P.S."}), "Bye\nPS: more", No);
    check(id, json!({"postscript_marker": "P.P.S"}), "P.P.S more", Yes);
    check(id, json!({"postscript_marker": "P.P.S"}), "P.S. more", No);
    check(id, json!({"postscript_marker": "P.S."}), "P.P.S. more", Yes);
    check(id, json!({"postscript_marker": "ปล."}), "ลาก่อน\nปล. เพิ่ม", Yes);
}

#[test]
fn formats() {
    let id = "detectable_format:number_bullet_lists";
    check(id, json!({"num_bullets": 2}), "* a\n* b", Yes);
    check(id, json!({"num_bullets": 2}), "* a\n- b", Yes);
    check(id, json!({"num_bullets": 2}), "* a\n* b\n* c", No);
    check(id, json!({"num_bullets": 1}), "**bold**", No);
    check(id, json!({"num_bullets": 1}), "  *a", Yes);
    check(id, json!({"num_bullets": 1}), "1. a", No);
    check(id, json!({"num_bullets": 2}), "- a\n---", Yes);
    let id = "detectable_format:constrained_response";
    check(id, json!({}), "My answer is yes.", Yes);
    check(id, json!({}), "I think: My answer is maybe. Sorry.", Yes);
    check(id, json!({}), "My answer is yes", No);
    check(id, json!({}), "my answer is no.", No);
    check(id, json!({"responses": ["คำตอบคือใช่", "คำตอบคือไม่"]}), "คำตอบคือไม่", Yes);
    check(id, json!({"responses": ["Oui."]}), "My answer is yes.", No);
    let id = "detectable_format:number_highlighted_sections";
    check(id, json!({"num_highlights": 2}), "*a b* and *c*", Yes);
    check(id, json!({"num_highlights": 2}), "**a** and *c*", Yes);
    check(id, json!({"num_highlights": 2}), "**a** and c", No);
    check(id, json!({"num_highlights": 1}), "*a\nb*", No);
    check(id, json!({"num_highlights": 1}), "* *", No);
    check(id, json!({"num_highlights": 1}), "**  **", No);
    check(id, json!({"num_highlights": 1}), "****", No);
    let id = "detectable_format:multiple_sections";
    let kwargs = |n: usize| json!({"section_spliter": "SECTION", "num_sections": n});
    check(id, kwargs(2), "SECTION 1\na\nSECTION 2\nb", Yes);
    check(id, kwargs(2), "Section 1\na\nSection 2\nb", No);
    check(id, kwargs(3), "SECTION 1\na\nSECTION 2\nb", No);
    check(id, kwargs(1), "SECTION one", No);
    check(id, kwargs(1), "SECTION1", Yes);
    check(id, kwargs(1), "SECTION  1", No);
    check(id, json!({"section_spliter": "ส่วนที่", "num_sections": 2.0}), "ส่วนที่ ๑ ก ส่วนที่ ๒ ข", Yes);
    let id = "detectable_format:json_format";
    check(id, json!({}), r#"{"a": [1, 2]}"#, Yes);
    check(id, json!({}), "```json\n{\"a\": 1}\n```", Yes);
    check(id, json!({}), "```\n[1]\n```", Yes);
    check(id, json!({}), r#"{"a": 1,}"#, No);
    check(id, json!({}), "Here: {\"a\": 1}", No);
    check(id, json!({}), "{'a': 1}", No);
    let id = "detectable_format:title";
    check(id, json!({}), "<<A title>>\ntext", Yes);
    check(id, json!({}), "<A title>", No);
    check(id, json!({}), "<< >>", No);
    check(id, json!({}), "<<A\ntitle>>", No);
    check(id, json!({}), "a << b and c >> d", Yes);
}

#[test]
fn combinations() {
    let id = "combination:two_responses";
    check(id, json!({}), "One\n******\nTwo", Yes);
    check(id, json!({}), "One\n******\nOne", No);
    check(id, json!({}), "One\n*****\nTwo", No);
    check(id, json!({}), "One\n******\nTwo\n******\nThree", No);
    check(id, json!({}), "******\nOne\n******\nTwo\n******", Yes);
    check(id, json!({}), "One\n******\n\n******\nTwo", No);
    check(id, json!({}), "One", No);
    let id = "combination:repeat_prompt";
    check(id, json!({"prompt_to_repeat": "Say hi."}), "say hi. Hi!", Yes);
    check(id, json!({"prompt_to_repeat": "Say hi."}), "Sure: say hi. Hi!", No);
    check(id, json!({"prompt_to_repeat": "Say hi."}), "Say hi", No);
    check(id, json!({"prompt_to_repeat": " พูดว่าสวัสดี"}), "\nพูดว่าสวัสดี สวัสดี", Yes);
}

#[test]
fn starts_and_ends() {
    let id = "startend:end_checker";
    check(id, json!({"end_phrase": "The end."}), "So it goes. THE END.", Yes);
    check(id, json!({"end_phrase": "The end."}), "\"So it goes. The end.\"\n", Yes);
    check(id, json!({"end_phrase": "The end."}), "The end. Really.", No);
    check(id, json!({"end_phrase": "The end."}), "The end", No);
    check(id, json!({"end_phrase": "จบแล้ว"}), "เรื่องนี้จบแล้ว", Yes);
    let id = "startend:quotation";
    check(id, json!({}), "\"All of it\"", Yes);
    check(id, json!({}), "\"All\" of it", No);
    check(id, json!({}), "\"", No);
    check(id, json!({}), "“All of it”", No);
    check_in(Language::De, id, json!({}), "„Alles“", Yes);
    check_in(Language::De, id, json!({}), "\"Alles\"", Yes);
    check_in(Language::Ja, id, json!({}), "「全部」", Yes);
    check_in(Language::Ja, id, json!({}), "「全部", No);
    check_in(Language::Fr, id, json!({}), "« tout »", Yes);
}

#[test]
fn letter_case() {
    let id = "change_case:english_capital";
    check(id, json!({}), "ALL OF IT IS LOUD 42!", Yes);
    check(id, json!({}), "ALL OF IT IS LOUd", No);
    check(id, json!({}), "42 + 42", No);
    check(id, json!({}), "ВСЁ БОЛЬШИМИ БУКВАМИ", No);
    check(id, json!({"language": "ru"}), "ВСЁ БОЛЬШИМИ БУКВАМИ", Yes);
    check(id, json!({}), "สวัสดีครับทุกคน", No);
    check(id, json!({}), "OK", Undecided);
    let id = "change_case:english_lowercase";
    check(id, json!({}), "all of it is quiet.", Yes);
    check(id, json!({}), "All of it is quiet.", No);
    check(id, json!({}), "สวัสดีครับทุกคน", No);
    let id = "change_case:capital_word_frequency";
    let least = |n: usize| json!({"capital_frequency": n, "capital_relation": "at least"});
    check(id, least(2), "NASA and ESA fly", Yes);
    check(id, least(2), "NASA and Esa fly", No);
    check(id, least(1), "I am", Yes);
    check(id, least(2), "DON'T", Yes);
    check(id, least(2), "I'm", No);
    check(id, least(1), "**LOUD**", Yes);
    check(id, least(2), "X-RAY", No);
    check(id, least(2), "A,B", Yes);
    check(id, least(1), "42", No);
    check(id, json!({"capital_frequency": 1, "capital_relation": "less than"}), "quiet", Yes);
    check(id, json!({"capital_frequency": 1, "capital_relation": "less than"}), "LOUD", No);
}

#[test]
fn commas() {
    let id = "punctuation:no_comma";
    check(id, json!({}), "No comma here.", Yes);
    check(id, json!({}), "One, two", No);
    check(id, json!({}), "1,000", No);
    check(id, json!({}), "semi; colon", Yes);
    check_in(Language::Zh, id, json!({}), "一，二", No);
    check_in(Language::Zh, id, json!({}), "一、二", No);
    check_in(Language::Ja, id, json!({}), "はい、そうです", No);
    check_in(Language::Ja, id, json!({}), "はい。", Yes);
    check_in(Language::Ar, id, json!({}), "نعم، لا", No);
    check_in(Language::Ar, id, json!({}), "نعم لا", Yes);
    check_in(Language::En, id, json!({}), "the mark 、 of Chinese", Yes);
    check_in(Language::Th, id, json!({}), "หนึ่ง, สอง", No);
}

#[test]
fn loosely() {
    let check = |id: &str, kwargs: Value, response: &str, strict: Followed, loose: Followed| {
        assert_eq!(judge(id, &kwargs, response, Language::En), (strict, loose), "{id} {response:?}");
    };
    check("startend:quotation", json!({}), "Sure, here it is:\n\"All of it\"", No, Yes);
    check("startend:quotation", json!({}), "\"All of it\"\nHope this helps", No, Yes);
    check("startend:quotation", json!({}), "Sure:\n\"All of it\"\nHope this helps", No, Yes);
    check("startend:quotation", json!({}), "**\"All of it\"**", No, Yes);
    check("startend:quotation", json!({}), "Sure:\nreally:\n\"All of it\"", No, No);
    check("punctuation:no_comma", json!({}), "Sure, here it is:", No, No);
    check("punctuation:no_comma", json!({}), "\n\n", No, No);
    check("punctuation:no_comma", json!({}), "", No, No);
    check("startend:end_checker", json!({"end_phrase": "bye"}), "*bye*", No, Yes);
}

#[test]
fn a_prompt_is_followed_if_all_its_instructions_are() {
    let ids = json!(["punctuation:no_comma", "startend:quotation", "language:response_language"]);
    let kwargs = json!([{}, {}, {"language": "th"}]);
    let instructions = Instructions::parse(&ids, &kwargs).unwrap();
    let check = |response: &str, all: Followed, count: usize| {
        let strict = instructions.judge(response, Context { language: Language::En, share: &share }).strict;
        assert_eq!(
            (InstructionScore::all(&strict), InstructionScore::count(&strict)),
            (all, count),
            "{response}"
        );
    };
    check("\"สวัสดีครับ\"", Yes, 3);
    check("\"สวัสดี, ครับ\"", No, 2);
    check("\"42\"", Undecided, 2);
    check("42, 43", No, 0);
}

#[test]
fn mistakes_are_named() {
    #[expect(clippy::needless_pass_by_value, reason = "a case is one line")]
    fn check(ids: Value, kwargs: Value, expected: &[&str]) {
        let message = Instructions::parse(&ids, &kwargs).unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{message}: no {part}");
        }
    }
    check(json!("x"), json!([]), &["instruction_id_list must be a list"]);
    check(json!(["punctuation:no_comma"]), Value::Null, &["kwargs must be a list"]);
    check(json!([]), json!([]), &["holds 0 names"]);
    check(json!(["punctuation:no_comma"]), json!([{}, {}]), &["1 names but kwargs 2"]);
    check(json!([1]), json!([{}]), &["instruction_id_list[0] must be a string"]);
    check(json!(["punctuation:no_coma"]), json!([{}]), &["[0]", "no_coma", "punctuation:no_comma"]);
    check(json!(["punctuation:no_comma"]), json!([3]), &["kwargs[0] must be an object"]);
    let one = |id: &str, kwargs: Value, expected: &[&str]| check(json!([id]), json!([kwargs]), expected);
    one("keywords:existence", json!({}), &["kwargs[0].keywords", "is missing"]);
    one("keywords:existence", json!({"keywords": null}), &["keywords", "is missing"]);
    one("keywords:existence", json!({"keywords": []}), &["keywords", "list of strings"]);
    one("keywords:existence", json!({"keywords": ["a", 1]}), &["keywords", "list of strings"]);
    one("keywords:existence", json!({"keywords": ["a"], "num_words": 3}), &["num_words", "no argument"]);
    one("length_constraints:number_words", json!({"num_words": "3"}), &["num_words", "whole number"]);
    one("length_constraints:number_words", json!({"num_words": 1.5}), &["num_words", "whole number"]);
    one("length_constraints:number_words", json!({"num_words": -1}), &["num_words", "whole number"]);
    one("length_constraints:number_words", json!({"num_words": 3}), &["relation", "is missing"]);
    one(
        "length_constraints:number_words",
        json!({"num_words": 3, "relation": "over"}),
        &["relation", "at least"],
    );
    one("keywords:letter_frequency", json!({"letter": "ab"}), &["letter", "one character"]);
    one("language:response_language", json!({"language": "tlh"}), &["language", "\"tlh\""]);
    one("change_case:english_capital", json!({"language": "th"}), &["language", "capital letters"]);
    one("startend:end_checker", json!({"end_phrase": " "}), &["end_phrase", "not blank"]);
}
