//! Phrases of every language, and what only looks like one.

use super::*;

/// The text after each phrase.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found: Vec<_> = anchors(text).into_iter().map(|at| &text[at..]).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn every_language_announces_its_answers() {
    for phrase in [
        "The answer is",
        "The final answer is:",
        "Answer:",
        "**Answer:**",
        "Final Answer:",
        "### Final Answer\n\n",
        "Ans:",
        "The answer to the problem is",
        "The correct answer would be",
        "ANSWER:",
        "The answer (in dollars):",
        "####",
        "الجواب هو",
        "الجواب:",
        "الإجابة النهائية هي",
        "إذن الجواب هو:",
        "فالجواب هو",
        "الإجابة:",
        "উত্তর হল",
        "উত্তর:",
        "উত্তরঃ",
        "চূড়ান্ত উত্তর হলো",
        "সঠিক উত্তরটি হল",
        "উত্তর",
        "Die Antwort ist",
        "Die Antwort lautet",
        "Antwort:",
        "Die endgültige Antwort lautet:",
        "Endantwort:",
        "La respuesta es",
        "Respuesta:",
        "La respuesta final es",
        "La respuesta correcta es",
        "پاسخ:",
        "پاسخ برابر است با",
        "جواب نهایی:",
        "پاسخ",
        "La réponse est",
        "Réponse :",
        "Réponse\u{a0}:",
        "La réponse finale est :",
        "La re\u{301}ponse est",
        "उत्तर",
        "उत्तर:",
        "अंतिम उत्तर है:",
        "जवाब है",
        "उत्तर होगा",
        "Jawabannya adalah",
        "Jawaban:",
        "Jawabannya",
        "Jadi, jawaban akhirnya adalah",
        "La risposta è",
        "Risposta:",
        "La risposta finale è",
        "答えは",
        "答え：",
        "答え:",
        "最終的な答えは、",
        "正解は",
        "答えは：",
        "**答え**：",
        "정답은",
        "답은",
        "답:",
        "정답:",
        "최종 답은",
        "Het antwoord is",
        "Antwoord:",
        "Het eindantwoord is",
        "Odpowiedź:",
        "Odpowiedź to",
        "Ostateczna odpowiedź to",
        "Odpowiedzią jest",
        "A resposta é",
        "Resposta:",
        "A resposta final é",
        "Ответ:",
        "Ответ —",
        "Ответ",
        "Окончательный ответ:",
        "Правильный ответ: ",
        "Ответом является",
        "Jibu ni",
        "Jibu:",
        "Jibu la mwisho ni",
        "Jibu sahihi ni:",
        "సమాధానం",
        "సమాధానం:",
        "సరైన సమాధానం:",
        "คำตอบคือ",
        "คำตอบ:",
        "ตอบ",
        "คำตอบสุดท้ายคือ",
        "ดังนั้นคำตอบที่ถูกต้องคือ",
        "คำตอบคือ:",
        "Cevap:",
        "Cevap",
        "Doğru cevap:",
        "Yanıt:",
        "Відповідь:",
        "Відповідь —",
        "Правильна відповідь:",
        "Đáp án là",
        "Đáp án:",
        "Câu trả lời là",
        "Đáp số:",
        "Vậy đáp án cuối cùng là",
        "Đa\u{301}p a\u{301}n la\u{300}",
        "答案是",
        "答案：",
        "答案:",
        "最终答案是",
        "答：",
        "答案为",
        "因此，答案是：",
        "正確答案是",
        "**答案：**",
    ] {
        let text = format!("{phrase} 18.");
        assert!(anchors(&text).contains(&(text.len() - 3)), "{text}: {:?}", anchors(&text));
    }
}

#[test]
fn what_announces_nothing() {
    for text in [
        "Answer",
        "the answers are many",
        "answering: 5",
        "If the answer is 5, we are done",
        "The answer is unclear",
        "Wenn die Antwort 5 ist",
        "He answered: 5",
        "The answer. Is 5 right?",
        "回答问题 5",
        "大答案",
        "Step 5 answers 6",
        "如果答案是 5",
        "答案不是 5",
        "La respuesta no es 5",
        "Die Antwort kann nicht sein: 5",
        "#### Step 5",
        "##### 5",
    ] {
        let found = anchors(text);
        let values: Vec<_> = found.iter().filter(|at| text[**at..].starts_with('5')).collect();
        assert!(values.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn all_phrases_are_found_in_order() {
    check("Answer: 5. No, the answer is 6", &["5. No, the answer is 6", "6"]);
    check("#### 18", &["18"]);
    check("<answer> 18</answer>", &["18</answer>"]);
    check("So\n#### $18\n", &["$18\n"]);
}

#[test]
fn nouns_are_written_in_lower_case() {
    for language in Language::ALL {
        for noun in phrases(*language).nouns.iter().chain(phrases(*language).links) {
            assert_eq!(noun.to_lowercase(), **noun, "{language}");
            assert!(!noun.trim().is_empty());
        }
    }
}
