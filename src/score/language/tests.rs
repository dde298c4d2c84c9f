//! One sentence a language, and traces that switch.

use super::*;

const SENTENCES: &[(Language, &str)] = &[
    (Language::Ar, "اشترى أحمد ثلاثة كتب وأعطى صديقه كتابا واحدا، فكم كتابا بقي معه؟"),
    (Language::Bn, "রহিমের কাছে পাঁচটি আম ছিল এবং সে দুটি আম তার বোনকে দিয়েছে।"),
    (Language::De, "Zuerst berechnen wir, wie viele Äpfel am Ende noch im Korb liegen."),
    (Language::En, "First we compute how many apples are left in the basket at the end."),
    (Language::Es, "Primero calculamos cuántas manzanas quedan al final en la cesta."),
    (Language::Fa, "ابتدا حساب می‌کنیم که در پایان چند سیب در سبد باقی مانده است."),
    (Language::Fr, "Calculons d'abord combien de pommes il reste à la fin dans le panier."),
    (Language::Hi, "पहले हम गिनते हैं कि अंत में टोकरी में कितने सेब बचे हैं।"),
    (Language::Id, "Pertama kita hitung berapa banyak apel yang tersisa di keranjang pada akhirnya."),
    (Language::It, "Per prima cosa calcoliamo quante mele rimangono alla fine nel cestino."),
    (Language::Ja, "まず、最後にかごの中にりんごがいくつ残っているかを計算します。"),
    (Language::Ko, "먼저 마지막에 바구니에 사과가 몇 개 남아 있는지 계산합니다."),
    (Language::Nl, "Eerst berekenen we hoeveel appels er aan het einde nog in de mand liggen."),
    (Language::Pl, "Najpierw obliczamy, ile jabłek zostało na końcu w koszyku."),
    (Language::Pt, "Primeiro calculamos quantas maçãs sobram no final dentro do cesto."),
    (Language::Ru, "Сначала посчитаем, сколько яблок осталось в корзине в конце дня."),
    (Language::Sw, "Kwanza tunahesabu ni matufaha mangapi yamebaki kwenye kikapu mwishoni."),
    (Language::Te, "మొదట చివరికి బుట్టలో ఎన్ని ఆపిల్స్ మిగిలి ఉన్నాయో లెక్కిద్దాం."),
    (Language::Th, "ก่อนอื่นเราคำนวณว่าสุดท้ายแล้วเหลือแอปเปิลในตะกร้ากี่ผล"),
    (Language::Tr, "Önce sonunda sepette kaç elma kaldığını hesaplıyoruz."),
    (Language::Uk, "Спочатку порахуємо, скільки яблук залишилося в кошику наприкінці дня."),
    (Language::Vi, "Trước tiên chúng ta tính xem cuối cùng còn lại bao nhiêu quả táo trong giỏ."),
    (Language::Zh, "首先我们计算最后篮子里还剩下多少个苹果。"),
];

fn sentence(language: Language) -> &'static str {
    SENTENCES.iter().find(|(known, _)| *known == language).expect("every language has a sentence").1
}

#[test]
fn each_language_is_its_own_and_no_other() {
    let scorer = LanguageScorer::with_all_languages();
    for (language, text) in SENTENCES {
        for target in Language::ALL {
            let expected = if language == target { 1.0 } else { 0.0 };
            let found = scorer.score_text(text, *target);
            assert_eq!(found.score, Some(expected), "{language} text, target {target}: {found:?}");
        }
    }
}

#[track_caller]
fn check(text: &str, target: Language, expected: Option<f64>) {
    let found = LanguageScorer::with_all_languages().score_text(text, target);
    match (found.score, expected) {
        (Some(score), Some(expected)) => {
            assert!((score - expected).abs() < 0.051, "{score}, expected {expected}: {found:?}");
        }
        (score, expected) => assert_eq!(score, expected, "{text}: {found:?}"),
    }
}

#[test]
fn neutral_text_is_undecidable() {
    check(r"\boxed{42}", Language::Sw, None);
    check("", Language::Ja, None);
    check("42 + 17 = 59", Language::Th, None);
    check("OK, fine", Language::Th, None);
    check(r"$$\text{the answer in words}$$", Language::Ja, None);
}

#[test]
fn chinese_and_japanese_are_told_apart() {
    check("这个答案是四十二，因为苹果不够。", Language::Ja, Some(0.0));
    check("合計三百円", Language::Ja, Some(1.0));
    check("合計三百円です。", Language::Zh, Some(0.0));
    check("答案是四十二。", Language::Zh, Some(1.0));
}

#[test]
fn mathematics_does_not_change_the_language() {
    let text = format!(
        "{} $x_1 + \\text{{apples}} = 3$ \\frac{{a}}{{b}} `print(total)` https://example.com/the/answer GCD(4, 6) kWh",
        sentence(Language::Th)
    );
    check(&text, Language::Th, Some(1.0));
}

#[test]
fn code_switching_is_measured_by_its_share() {
    let scorer = LanguageScorer::with_all_languages();
    for target in [Language::De, Language::Ja, Language::Th, Language::Ru, Language::Sw] {
        for english in 0..=7 {
            let own = format!("{}\n", sentence(target)).repeat(10 - english);
            let other = format!("{}\n", sentence(Language::En)).repeat(english);
            let weight = |text: &str| script::Counts::of(&strip::strip(text)).weight();
            let expected = weight(&own) / (weight(&own) + weight(&other));
            let found = scorer.score_text(&format!("{own}{other}"), target);
            assert!((found.score.unwrap() - expected).abs() < 0.05, "{target}, {english} of 10: {found:?}");
            assert_eq!(found.switches, usize::from(english > 0));
        }
    }
}

#[test]
fn a_sentence_that_switches_in_the_middle_is_split() {
    let text = "ก่อนอื่นเราคำนวณ then we add all the numbers together และได้คำตอบสุดท้าย";
    let found = LanguageScorer::with_all_languages().score_text(text, Language::Th);
    assert_eq!(found.switches, 2, "{found:?}");
    assert_eq!(found.off_target[0].0, "en");
    let switched =
        found.segments.iter().find(|segment| segment.verdict == Verdict::Language(Language::En)).unwrap();
    assert_eq!(&text[switched.span.clone()], "then we add all the numbers together");
}

#[test]
fn a_sentence_that_switches_within_its_script_is_split() {
    let scorer = LanguageScorer::with_all_languages();
    let check = |text: &str, target: Language, expected: &[(&str, &str)]| {
        let found = scorer.score_text(text, target);
        let parts: Vec<(&str, &str)> =
            found.segments.iter().map(|one| (one.verdict.name(), &text[one.span.clone()])).collect();
        assert_eq!(parts, expected);
    };
    check(
        "Zuerst berechnen wir the total number of eggs und dann multiplizieren wir by the price of each egg.",
        Language::De,
        &[
            ("de", "Zuerst berechnen wir"),
            ("en", "the total number of eggs"),
            ("de", "und dann multiplizieren wir"),
            ("en", "by the price of each egg."),
        ],
    );
    check(
        "Kwanza tunahesabu mayai yote then we multiply by the price of each egg",
        Language::Sw,
        &[("sw", "Kwanza tunahesabu mayai yote"), ("en", "then we multiply by the price of each egg")],
    );
    // Names and terms of a few words are no change.
    let text = "Hay muchos libros en la serie Crazy Silly School que todavía no has leído.";
    check(text, Language::Es, &[("es", text)]);
}

/// Thirty pieces of five words, without marks between them, of which a known share is English.
#[test]
fn switching_within_a_script_is_measured_by_its_share() {
    let scorer = LanguageScorer::with_all_languages();
    let mut random = crate::score::statistics::SplitMix::new(1);
    let english: Vec<&str> = include_str!("../../cli/bench/quality/en.txt").lines().collect();
    for target in [Language::It, Language::Nl, Language::Pt, Language::Id, Language::Pl, Language::Vi] {
        let own = shipped(target.code());
        let mut errors = Vec::new();
        for tenths in [0, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6] {
            let (mut text, mut weights) = (String::new(), [0.0, 0.0]);
            for _ in 0..30 {
                let is_english = random.below(10) < tenths;
                let source = if is_english { &english } else { &own };
                let words: Vec<&str> = source[random.below(source.len())].split_whitespace().collect();
                let start = random.below(words.len().saturating_sub(4).max(1));
                let piece = words[start..].iter().take(5).copied().collect::<Vec<_>>().join(" ");
                let piece = piece.replace(['.', ',', '?', '!', ':', ';'], "");
                weights[usize::from(is_english)] += script::Counts::of(&piece).weight();
                text = text + " " + &piece;
            }
            let expected = weights[0] / (weights[0] + weights[1]);
            errors.push((scorer.score_text(&text, target).score.unwrap() - expected).abs());
        }
        let (mean, most) =
            (errors.iter().sum::<f64>() / errors.len() as f64, errors.iter().copied().fold(0.0, f64::max));
        assert!(mean < 0.05 && most < 0.2, "{target}: {mean} on average, {most} at most");
    }
}

#[test]
fn wrong_script_characters_are_counted() {
    let scorer = LanguageScorer::with_all_languages();
    assert_eq!(scorer.score_text("คำตอบคือ 答案 α", Language::Th).wrong_script_characters, 2);
    assert_eq!(scorer.score_text("the answer is ответ", Language::En).wrong_script_characters, 5);
    assert_eq!(scorer.score_text("答えは10円", Language::Ja).wrong_script_characters, 0);
}

#[test]
fn following_needs_trace_and_answer() {
    let scorer = LanguageScorer::with_all_languages();
    let (own, other) = (sentence(Language::Fr), sentence(Language::En));
    let following = |text: String| scorer.score_completion(&text, Language::Fr);
    assert!(following(format!("<think>{own}</think>{own}")).following);
    assert!(!following(format!("<think>{other}</think>{own}")).following);
    assert!(!following(format!("<think>{own}</think>{other}")).following);
    let bare = following(format!("<think>{own}</think>\\boxed{{3}}"));
    assert!(bare.following && bare.undecidable);
    assert_eq!(following(own.to_owned()).trace, None);
    for nothing in ["", " \n", "<think>\n\n</think>\n"] {
        let silent = following(nothing.to_owned());
        assert!(!silent.following && silent.undecidable, "{nothing:?}");
    }
    assert!(following("\\boxed{3}".to_owned()).following);
    assert!(following(format!("<think>{own}</think>")).following);
}

/// The sentences that `bench language` ships.
fn shipped(code: &str) -> Vec<&'static str> {
    macro_rules! file {
        ($($name:literal),+) => {
            match code {
                $($name => include_str!(concat!("../../cli/bench/language/sentences/", $name, ".txt")),)+
                _ => "",
            }
        };
    }
    file!("ar", "fa", "hi", "id", "it", "ko", "nl", "pl", "pt", "tr", "uk", "vi").lines().collect()
}

#[test]
fn shipped_sentences_are_in_their_own_language_and_no_other() {
    let scorer = LanguageScorer::with_all_languages();
    let mut sentences = 0;
    for language in Language::ALL {
        for text in shipped(language.code()) {
            sentences += 1;
            for target in Language::ALL {
                let expected = if language == target { 1.0 } else { 0.0 };
                let found = scorer.score_text(text, *target);
                assert_eq!(
                    found.score,
                    Some(expected),
                    "{language} text, target {target}: {text}, {found:?}"
                );
            }
        }
    }
    assert_eq!(sentences, 12 * 40);
}

#[test]
fn a_scorer_of_few_languages_names_no_other() {
    let scorer = LanguageScorer::new(&[Language::Sw, Language::Ja]);
    let top = |text: &str, target| scorer.score_text(text, target).top.map(Verdict::name);
    assert_eq!(top(sentence(Language::Sw), Language::Ja), Some("sw"));
    // English is always thought of, German never unless it is asked for.
    assert_eq!(top(sentence(Language::En), Language::Ja), Some("en"));
    assert_eq!(top(sentence(Language::De), Language::De), Some("de"));
    assert_ne!(top(sentence(Language::De), Language::Ja), Some("de"));
}

#[test]
fn stances() {
    let pinyin = "Shouxian women jisuan zuihou lanzi li hai sheng duoshao ge pingguo";
    let romaji = "Mazu saigo ni kago no naka ni ringo ga ikutsu nokotte iru ka keisan shimasu";
    let hinglish = "Pehle hum ginte hain ki ant mein tokri mein kitne seb bache hain";
    check(pinyin, Language::Zh, Some(0.0));
    check(romaji, Language::Ja, Some(0.0));
    check(hinglish, Language::Hi, Some(0.0));
    // Serbian, in either script, is nobody's target: Cyrillic is taken for the closest known language.
    check("Прво рачунамо колико је јабука остало у корпи.", Language::En, Some(0.0));
    // Both forms of Chinese are Chinese.
    check("我們計算最後還剩下多少個蘋果。", Language::Zh, Some(1.0));
    check("我们计算最后还剩下多少个苹果。", Language::Zh, Some(1.0));
    // Names and terms of two words stay with their sentence; a sentence of English does not.
    check("ฉันใช้ Google Maps เพื่อหาทาง", Language::Th, Some(1.0));
    // Two parts in three, by weight.
    check("ก่อนอื่นเราคำนวณว่าเหลือกี่ผล\nWe add them up", Language::Th, Some(0.7));
}

#[test]
fn profiles_judge_by_their_own_rules() {
    let own = sentence(Language::De);
    let mixed = format!("{own} {own} {own} {own} {}", sentence(Language::En));
    let score =
        |profile, text: &str| LanguageScorer::with_profile(profile).score_text(text, Language::De).score;
    assert!(score(LanguageProfile::Default, &mixed).is_some_and(|score| score > 0.75 && score < 0.85));
    assert_eq!(score(LanguageProfile::Polymath, &mixed), Some(0.0));
    assert_eq!(score(LanguageProfile::Polymath, &format!("{own} $x = 3$")), Some(1.0));
    assert_eq!(score(LanguageProfile::LegacyPassk, &mixed), Some(1.0));
    assert_eq!(score(LanguageProfile::LegacyPassk, sentence(Language::En)), Some(0.0));

    // The legacy rule looks at the trace alone, and reads Kanji as Chinese.
    let legacy = LanguageScorer::with_profile(LanguageProfile::LegacyPassk);
    let completion = format!("<think>{own}</think>{}", sentence(Language::En));
    assert!(legacy.score_completion(&completion, Language::De).following);
    assert!(!LanguageScorer::with_all_languages().score_completion(&completion, Language::De).following);
    assert_eq!(legacy.score_text("合計金額", Language::Ja).top, Some(Verdict::Language(Language::Zh)));
}

#[test]
fn spans_of_a_completion_are_of_the_completion() {
    let text = format!("<think>{}</think>{}", sentence(Language::Ja), sentence(Language::En));
    let scorer = LanguageScorer::with_all_languages();
    let found = scorer.score_completion(&text, Language::Ja);
    let of = |part: &TextScore| text[part.segments[0].span.clone()].to_owned();
    assert_eq!(found.trace.as_ref().map(of).as_deref(), Some(sentence(Language::Ja)));
    assert_eq!(of(&found.answer), sentence(Language::En));
    let whole = scorer.whole(&found, Language::Ja);
    assert_eq!((whole.segments.len(), whole.switches), (2, 1));
}

proptest::proptest! {
    #[test]
    fn any_completion_gets_segments_in_order(
        text in r"(<think>|</think>|\\boxed\{|\}|\$|`|\(|A|bc|é|ก|漢|か|한|ا|я|\.|。|\n| |1|=|one two three ){0,60}",
        target in proptest::sample::select(Language::ALL),
        profile in proptest::sample::select(&[LanguageProfile::Default, LanguageProfile::Polymath][..]),
    ) {
        let found = LanguageScorer::with_profile(profile).score_completion(&text, target);
        let mut end = 0;
        for segment in found.trace.iter().chain([&found.answer]).flat_map(|part| &part.segments) {
            proptest::prop_assert!(segment.span.start >= end && text.get(segment.span.clone()).is_some());
            end = segment.span.end;
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_text_gets_a_share(text in proptest::prelude::any::<String>()) {
        let scorer = LanguageScorer::new(&[Language::Th, Language::Ja]);
        let found = scorer.score_text(&text, Language::Th);
        proptest::prop_assert!(found.score.is_none_or(|score| (0.0..=1.0).contains(&score)));
    }
}
