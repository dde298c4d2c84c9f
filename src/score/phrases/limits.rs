//! Words that limit or put off what they stand beside: bounds, conditions, halves, "step by step", "no answer". Data only, in
//! lower case.

/// Words between a phrase and a number after which the number is a bound, a part, or something else.
pub(in crate::score) const BOUNDS: &[&str] = &[
    "than", "least", "most", "between", "twice", "half", "double", "triple", "step", "either", "unless",
    "depends", "unknown", "unclear", "ne",
];

/// Words that state that there is no answer.
pub(in crate::score) const UNKNOWN: &[&str] = &[
    "unknown",
    "unclear",
    "undetermined",
    "uncertain",
    "unbekannt",
    "desconocida",
    "desconocido",
    "inconnue",
    "неизвестен",
    "неизвестно",
    "未知",
    "不明",
    "不详",
];

/// After a value: it holds in some cases only.
pub(in crate::score) const CONDITIONS: &[&str] = &[
    "if",
    "unless",
    "otherwise",
    "except",
    "wenn",
    "falls",
    "sofern",
    "если",
    "якщо",
    "jika",
    "eğer",
    "jeśli",
    "nếu",
    "tenzij",
    "indien",
    "kama",
];

/// After a value: half a unit more.
pub(in crate::score) const HALVES: &[&str] = &[
    "and a half",
    "and one half",
    "and half",
    "einhalb",
    "und ein halb",
    "et demi",
    "y medi",
    "e mezz",
    "e mei",
    "с половин",
    "и половин",
    "з половин",
    "半",
    "ครึ่ง",
    "rưỡi",
    "buçuk",
    "i pół",
    "setengah",
    "و نیم",
    "ونصف",
    "و نصف",
    "en een half",
    "na nusu",
    "반",
];

/// Beside the word for "answer": the steps follow, and not the answer.
pub(in crate::score) const STEPWISE: &[&str] = &[
    "step by step",
    "step-by-step",
    "schritt für schritt",
    "schritt-für-schritt",
    "paso a paso",
    "étape par étape",
    "passo a passo",
    "passo passo",
    "пошаг",
    "поэтап",
    "шаг за шагом",
    "покроков",
    "крок за кроком",
    "krok po kroku",
    "stap voor stap",
    "stapsgewij",
    "adım adım",
    "từng bước",
    "langkah demi langkah",
    "hatua kwa hatua",
    "خطوة بخطوة",
    "گام به گام",
    "مرحله به مرحله",
    "ধাপে ধাপে",
    "దశలవారీ",
    "दर चरण",
    "चरणबद्ध",
    "ทีละขั้น",
    "逐步",
    "一步一步",
    "ステップごと",
    "ステップバイステップ",
    "단계별",
];
