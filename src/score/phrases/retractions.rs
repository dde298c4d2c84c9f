//! Words with which a writer takes back what was just said, in the languages we know: mistakes, apologies, corrections. Data only, in
//! lower case: beginnings of words where they take endings.

/// In a short sentence behind an answer.
pub(in crate::score) const RETRACTIONS: &[&str] = &[
    // en
    "not sure",
    "i'd guess",
    "recheck",
    "re-check",
    "miscount",
    "miscalculat",
    "my mistake",
    "my bad",
    "a mistake",
    "an error",
    "was wrong",
    "that's wrong",
    "that is wrong",
    "this is wrong",
    "is incorrect",
    "can't be right",
    "cannot be right",
    "isn't right",
    "is not right",
    "second thought",
    "correction",
    "corrected",
    "edit:",
    "scratch that",
    // de
    "geirrt",
    "vertan",
    "mein fehler",
    "fehler:",
    "verrechnet",
    "korrektur",
    "korrigier",
    "richtig wäre",
    "das ist falsch",
    // fr
    "trompé",
    "erreur",
    "rectifi",
    "ce n'est pas juste",
    "c'est faux",
    // es
    "equivocado",
    "equivocada",
    "me equivoqu",
    "corrección",
    "corrijo",
    "es incorrecto",
    "está mal",
    // pt
    "enganei",
    "errei",
    "correção",
    "corrigi",
    "está errado",
    // it
    "sbagliat",
    "correzione",
    // nl
    "klopt niet",
    "vergist",
    "correctie",
    "fout gemaakt",
    "verrekend",
    // pl
    "pomyłka",
    "pomyli",
    "korekta",
    "poprawka",
    // ru
    "на самом деле",
    "ошиб",
    "исправ",
    "поправка",
    // uk
    "помил",
    "виправл",
    "поправка",
    // tr
    "yanlış hesap",
    "hata yapt",
    "düzelt",
    "hatalı",
    // id
    "koreksi",
    "ralat",
    "saya salah",
    // vi
    "nhầm",
    "tính sai",
    "sửa lại",
    "đính chính",
    // sw
    "nimekosea",
    "nilikosea",
    "marekebisho",
    "masahihisho",
    // ar
    "أخطأت",
    "تصحيح",
    "تصويب",
    // fa
    "اشتباه",
    "تصحیح",
    "اصلاح",
    // hi
    "गलती",
    "ग़लती",
    "सुधार",
    "भूल",
    // bn
    "ভুল",
    "সংশোধন",
    // te
    "పొరపాటు",
    "తప్పు",
    "సవరణ",
    // th
    "คำนวณผิด",
    "ผิดพลาด",
    "แก้ไข",
    "แก้เป็น",
    // zh
    "算错",
    "算錯",
    "更正",
    "纠正",
    "修正",
    "不对",
    "不對",
    "改为",
    "改為",
    // ja
    "間違え",
    "間違い",
    "訂正",
    "計算ミス",
    // ko
    "실수",
    "정정",
    "잘못 계산",
    "틀렸",
];

/// The same, where a number follows in the sentence: what it should have been.
pub(in crate::score) const CORRECTED_TO: &[&str] = &[
    // en
    "it should be",
    "(should be",
    "should have been",
    // es
    "debería ser",
    // pt
    "deveria ser",
    // it
    "dovrebbe essere",
    // nl
    "moet zijn",
    // pl
    "powinno być",
    // ru
    "должно быть",
    // uk
    "має бути",
    // id
    "seharusnya",
    // th
    "ต้องเป็น",
    // zh
    "应该是",
    "應該是",
    "应为",
    "應為",
    // ja
    "正しくは",
];

/// The same, where the sentence has a number, or hardly another word.
pub(in crate::score) const APOLOGIES: &[&str] = &[
    // en
    "apolog",
    "sorry",
    // de
    "entschuldig",
    "verzeih",
    // fr
    "pardon",
    "désolé",
    // es
    "perdón",
    "disculp",
    "lo siento",
    // pt
    "desculp",
    "perdão",
    // it
    "scus",
    "mi dispiace",
    // nl
    "excuses",
    // pl
    "przepraszam",
    // ru
    "извин",
    "прошу прощения",
    // uk
    "вибач",
    "перепрош",
    // tr
    "özür",
    // id
    "maaf",
    // vi
    "xin lỗi",
    // sw
    "samahani",
    // ar
    "عذر",
    "آسف",
    "أعتذر",
    // fa
    "صبر کن",
    "ببخشید",
    "متأسف",
    // hi
    "रुक",
    "क्षमा",
    "माफ़",
    "माफ",
    // bn
    "অপেক্ষা",
    "দুঃখিত",
    "ক্ষমা",
    // te
    "క్షమించ",
    "ఆగండి",
    // th
    "ขอโทษ",
    "ขออภัย",
    // zh
    "抱歉",
    "对不起",
    "對不起",
    // ja
    "すみません",
    "すいません",
    "申し訳",
    "失礼しました",
    // ko
    "죄송",
    "미안",
];

/// "if": a sentence with one of these supposes a mistake and owns to none.
pub(in crate::score) const CONDITIONALS: &[&str] = &[
    "if",
    "wenn",
    "falls",
    "si",
    "если",
    "якщо",
    "jika",
    "jeśli",
    "eğer",
    "nếu",
    "ikiwa",
    "indien",
    "إذا",
    "اگر",
    "अगर",
    "यदि",
    "যদি",
    "ถ้า",
    "หาก",
    "如果",
    "若",
    "もし",
    "만약",
];

/// Before a word of a mistake, beside the words for "not": there is none.
pub(in crate::score) const WITHOUT: &[&str] = &[
    "without",
    "any",
    "don't",
    "didn't",
    "sans",
    "ohne",
    "sin",
    "ningún",
    "ninguna",
    "senza",
    "nessun",
    "sem",
    "nenhum",
    "zonder",
    "нет",
    "нету",
    "без",
    "bez",
    "hakuna",
    "bila",
    "ไม่มี",
    "ไม่ได้",
    "没有",
    "沒有",
    "没",
    "沒",
    "无",
    "無",
    "不会",
    "不會",
];

/// Behind it, the same.
pub(in crate::score) const NONE_OF_IT: &[&str] = &[
    "нет",
    "нету",
    "немає",
    "нема",
    "नहीं",
    "নেই",
    "নাই",
    "లేదు",
    "లేవు",
    "نیست",
    "yok",
    "없",
    "ありません",
    "ない",
    "なく",
    "なし",
    "はない",
    "がない",
    "はありません",
    "がありません",
];
