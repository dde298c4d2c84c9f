//! How an answer is announced, in every language we know: "The answer is", "答えは", "Jibu ni", "Ответ:".
//!
//! Data only, in lower case; `extract::phrase` reads it. The words that stand beside announcements and answers are in the
//! modules below, by what they say. A row names the words for "answer" and the words that may
//! stand between such a word and the answer. A colon may stand there in every language.

mod counted;
mod judgements;
mod limits;
mod measures;
mod quantities;
mod quotations;
mod results;
mod retractions;
mod sentences;

use crate::language::Language;

pub(super) use counted::counted;
pub(super) use judgements::{
    CORRECTIONS, DENIALS, FAULTS, NEGATIONS, NOT_BUT, RIGHTS, SUPPOSED, SUPPOSITIONS, WRONGS,
};
pub(super) use limits::{BOUNDS, CONDITIONS, HALVES, STEPWISE, UNKNOWN};
pub(super) use measures::measure;
pub(super) use quantities::{ARITHMETIC, COMPOUND_UNITS, MAGNITUDES};
pub(super) use quotations::{QUOTATIONS, QUOTATIONS_BEHIND, REFUSALS, REQUESTS, WRITING};
pub(super) use results::{LEADS, results};
pub(super) use retractions::{APOLOGIES, CONDITIONALS, CORRECTED_TO, NONE_OF_IT, RETRACTIONS, WITHOUT};
pub(super) use sentences::{COPULAS, OPTION_WORDS};

/// One language's way of announcing an answer.
pub(super) struct Phrases {
    /// "answer" and its inflected forms.
    pub nouns: &'static [&'static str],
    /// "is", "would be", "equals".
    pub links: &'static [&'static str],
    /// A number or a letter may follow the noun at once ("उत्तर 18 है", "Ответ Б").
    pub bare: bool,
}

pub(super) fn phrases(language: Language) -> Phrases {
    let (nouns, links, bare): (&[&str], &[&str], bool) = match language {
        Language::Ar => (
            &["الجواب", "جواب", "الإجابة", "الاجابة", "إجابة", "اجابة", "الجواب النهائي", "الإجابة النهائية"],
            &["هو", "هي", "يساوي", "تساوي", "يكون", "تكون"],
            true,
        ),
        Language::Bn => {
            (&["উত্তর", "উত্তরটি", "উত্তরঃ", "জবাব"], &["হল", "হলো", "হচ্ছে", "হবে", "হয়", "ঃ", "সমান"], true)
        }
        Language::De => (
            &["antwort", "endantwort", "lösung lautet"],
            &["ist", "lautet", "wäre", "beträgt", "heißt", "ist gleich"],
            false,
        ),
        Language::En => (
            &[
                "answer",
                "ans",
                "ans.",
                "answer choice",
                "correct option",
                "correct choice",
                "right option",
                "right choice",
            ],
            &[
                "is",
                "would be",
                "will be",
                "should be",
                "must be",
                "was",
                "equals",
                "comes out to",
                "becomes",
            ],
            false,
        ),
        Language::Es => (
            &["respuesta", "contestación"],
            &["es", "sería", "será", "debe ser", "es igual a", "equivale a"],
            false,
        ),
        Language::Fa => (
            &["پاسخ", "جواب", "پاسخ نهایی", "جواب نهایی"],
            &["برابر است با", "برابر با", "عبارت است از", "می‌شود", "میشود", "خواهد بود", "است"],
            true,
        ),
        Language::Fr => {
            (&["réponse", "reponse"], &["est", "serait", "sera", "vaut", "doit être", "est égale à"], false)
        }
        Language::Hi => {
            (&["उत्तर", "जवाब", "उत्तर है", "जवाब है"], &["है", "होगा", "हैं", "होता है", "बराबर है"], true)
        }
        Language::Id => (
            &["jawaban", "jawabannya", "jawabanku", "jawabanya"],
            &["adalah", "ialah", "yaitu", "yakni", "sama dengan"],
            true,
        ),
        Language::It => (&["risposta"], &["è", "e'", "sarà", "sarebbe", "è pari a", "deve essere"], false),
        Language::Ja => {
            (&["答え", "答", "解答", "回答", "正解", "こたえ", "アンサー"], &["は", "が", "=", "＝"], true)
        }
        Language::Ko => {
            (&["정답", "답", "해답", "답안", "답변", "최종 답"], &["은", "는", "이", "가"], false)
        }
        Language::Nl => {
            (&["antwoord", "eindantwoord"], &["is", "luidt", "bedraagt", "wordt", "zou zijn"], false)
        }
        Language::Pl => (
            &["odpowiedź", "odpowiedz", "odpowiedzią", "odp"],
            &["to", "jest", "brzmi", "wynosi", "jest równa", "równa się"],
            false,
        ),
        Language::Pt => (&["resposta"], &["é", "seria", "será", "deve ser", "é igual a"], false),
        Language::Ru => (
            &["ответ", "ответом"],
            &["это", "равен", "будет", "является", "составляет", "таков", "есть"],
            true,
        ),
        Language::Sw => (&["jibu"], &["ni", "litakuwa", "lake ni", "itakuwa", "litakuwa ni"], false),
        Language::Te => (&["సమాధానం", "జవాబు", "సమాధానము"], &["అనేది", "ఏమిటంటే", "అవుతుంది", "ఇది"], true),
        Language::Th => (&["คำตอบ", "ตอบ", "เฉลย"], &["คือ", "เท่ากับ", "เป็น", "ได้แก่", "จะเป็น", "ว่า"], true),
        Language::Tr => (
            &[
                "cevap",
                "cevabı",
                "cevabımız",
                "cevabim",
                "yanıt",
                "yanıtı",
                "yanıtımız",
                "sonuç olarak cevap",
            ],
            &["olarak", "olur", "şudur", "şu"],
            true,
        ),
        Language::Uk => {
            (&["відповідь", "відповіддю"], &["це", "дорівнює", "буде", "є", "становить", "така"], true)
        }
        Language::Vi => (
            &["đáp án", "câu trả lời", "đáp số", "trả lời", "đ/s"],
            &["là", "sẽ là", "bằng", "phải là"],
            false,
        ),
        Language::Zh => (
            &[
                "答案",
                "答",
                "最终答案",
                "答复",
                "答曰",
                "正确选项",
                "正確選項",
                "故选",
                "故選",
                "因此选",
                "因此選",
                "所以选",
                "所以選",
                "应选",
                "應選",
            ],
            &[
                "是",
                "为",
                "為",
                "等于",
                "等於",
                "应该是",
                "應該是",
                "应为",
                "應為",
                "就是",
                "即",
                "即为",
                "选",
                "選",
            ],
            true,
        ),
    };
    Phrases { nouns, links, bare }
}
