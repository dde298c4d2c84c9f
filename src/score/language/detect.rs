//! Which language a text is in, where nothing says which it should be in. Everywhere else a target is verified; this is for
//! an encoder that has to be told the language of what a user wrote.

use super::script::{Counts, Group};
use super::strip::strip;
use super::{LanguageScorer, Verdict};
use crate::language::Language;

/// Nothing leans towards this target: no other language has its script.
const NOBODY: Language = Language::Th;

impl LanguageScorer {
    /// The candidate with the largest share of the text, by the profile's default; of a few Latin words their likeliest
    /// language. `None` for a text without words, or in a script of no known language.
    pub fn detect(&self, text: &str) -> Option<Language> {
        match self.by_share(text, NOBODY).top {
            Some(Verdict::Language(language)) => Some(language),
            Some(Verdict::Script(_)) => None,
            // Too little to hold against a target, but there is none.
            Some(Verdict::Neutral) | None => {
                let stripped = strip(text);
                let has_words = Counts::of(&stripped).latin_words > 0;
                has_words.then(|| self.identifier.identify(&stripped, Group::Latin, NOBODY))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart_without_a_target() {
        let scorer = LanguageScorer::with_all_languages();
        let check =
            |text: &str, expected: Option<Language>| assert_eq!(scorer.detect(text), expected, "{text}");
        check("What is the sum of three and four?", Some(Language::En));
        check("Wie viele Äpfel hat Anna noch, wenn sie drei isst?", Some(Language::De));
        check("¿Cuántas manzanas quedan en la cesta?", Some(Language::Es));
        check("Je, ni tufaha ngapi zimebaki kwenye kikapu?", Some(Language::Sw));
        check("りんごはいくつ残っていますか。", Some(Language::Ja));
        check("篮子里还剩几个苹果？", Some(Language::Zh));
        check("ตะกร้ามีแอปเปิลกี่ผล", Some(Language::Th));
        check("Сколько яблок осталось в корзине?", Some(Language::Ru));
        check("ঝুড়িতে কয়টি আপেল আছে?", Some(Language::Bn));
        check("బుట్టలో ఎన్ని ఆపిల్స్ ఉన్నాయి?", Some(Language::Te));
        // Names and numbers do not outweigh the words around them.
        check("Google は 1998 年に Larry Page が創業した会社です。", Some(Language::Ja));
        // Two words are enough to guess.
        check("guten Morgen", Some(Language::De));
        check("1 + 1 = 2", None);
        check("x = 3", None);
        check("", None);
    }
}
