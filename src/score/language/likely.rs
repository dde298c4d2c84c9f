//! The target's share of a text where no sentence is all or nothing: each counts by the probability that it is in the target.
//!
//! The probability is that of the table's letters and function words (`ngrams`) among the candidates, all of them as likely before; the
//! lenience of verdicts is left out. What the script decides is certain. It moves where verdicts jump: between Spanish and Portuguese, or in a
//! sentence that is half English. Letters are not independent, as it takes them to be, so that most sentences come out near 0 or 1.

use super::script::Decision;
use super::{LanguageScorer, segment, strip};
use crate::language::Language;

/// How much of a text, by weight, is likely in the target.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LikelyShare {
    on_target: f64,
    /// Of all that is not neutral.
    total: f64,
}

impl LikelyShare {
    /// From 0 to 1; `None` if nothing tells a language.
    pub fn share(self) -> Option<f64> {
        (self.total > 0.0).then(|| (self.on_target / self.total).clamp(0.0, 1.0))
    }

    /// Both texts as one.
    #[must_use]
    pub fn and(self, next: Self) -> Self {
        Self { on_target: self.on_target + next.on_target, total: self.total + next.total }
    }
}

impl LanguageScorer {
    /// By the default's segments and script gate, whatever the profile.
    pub fn likely_share(&self, text: &str, target: Language) -> LikelyShare {
        let stripped = strip::strip(text);
        let mut sum = LikelyShare::default();
        for unit in segment::units(&stripped, target) {
            let probability = match unit.counts.class(target) {
                Decision::Neutral => continue,
                Decision::Language(language) => f64::from(u8::from(language == target)),
                Decision::Other(_) => 0.0,
                Decision::Among(group) => {
                    self.identifier.probability(&stripped[unit.span.clone()], group, target)
                }
            };
            let weight = unit.counts.weight();
            sum = sum.and(LikelyShare { on_target: probability * weight, total: weight });
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str, target: Language) -> Option<f64> {
        LanguageScorer::with_all_languages().likely_share(text, target).share()
    }

    #[test]
    fn what_is_clear_is_near_certain() {
        let clear = |text: &str, target, expected: f64| {
            let found = share(text, target).unwrap();
            assert!((found - expected).abs() < 0.01, "{text}: {found}");
        };
        let english = "First we compute how many apples are left in the basket at the end.";
        clear(english, Language::En, 1.0);
        clear(english, Language::De, 0.0);
        clear(english, Language::Th, 0.0);
        clear("Kwanza tunahesabu ni matufaha mangapi yamebaki kwenye kikapu mwishoni.", Language::Sw, 1.0);
        clear("ก่อนอื่นเราคำนวณว่าสุดท้ายแล้วเหลือแอปเปิลในตะกร้ากี่ผล", Language::Th, 1.0);
        clear("まず、最後にかごの中にりんごがいくつ残っているかを計算します。", Language::Ja, 1.0);
        clear("首先我们计算最后篮子里还剩下多少个苹果。", Language::Ja, 0.0);
        clear("Сначала посчитаем, сколько яблок осталось в корзине в конце дня.", Language::Ru, 1.0);
        assert_eq!(share(r"\boxed{42}", Language::Sw), None);
        assert_eq!(share("", Language::Sw), None);
    }

    #[test]
    fn all_candidates_share_one() {
        let scorer = LanguageScorer::with_all_languages();
        for text in ["uma casa grande no centro da cidade", "the house of the senator", "quatro casas más"] {
            let of = |target: &Language| scorer.likely_share(text, *target).share().unwrap_or_default();
            let sum: f64 = Language::ALL.iter().map(of).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{text}: {sum}");
        }
    }

    #[test]
    fn two_texts_are_joined_by_weight() {
        let scorer = LanguageScorer::with_all_languages();
        let own = scorer.likely_share("ก่อนอื่นเราคำนวณ", Language::Th);
        let other = scorer.likely_share("因为苹果不够，所以答案是四。", Language::Th);
        let expected = own.total / (own.total + other.total);
        assert_eq!(own.and(other).share(), Some(expected));
        assert_eq!(own.and(LikelyShare::default()), own);
    }
}
