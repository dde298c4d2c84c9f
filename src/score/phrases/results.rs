//! Words for "result" and "solution", in lower case. They name steps on the way too, so that they announce an answer only in the
//! last line, where no word for "answer" does.

use crate::language::Language;

pub(in crate::score) fn results(language: Language) -> &'static [&'static str] {
    match language {
        Language::Ar => &["النتيجة", "النتيجة النهائية", "الناتج", "الناتج النهائي", "الحل"],
        Language::Bn => &["ফলাফল", "ফল", "সমাধান"],
        Language::De => &["ergebnis", "endergebnis", "gesamtergebnis", "resultat", "lösung"],
        Language::En => &["result", "solution"],
        Language::Es => &["resultado", "resultado final", "solución"],
        Language::Fa => &["نتیجه", "نتیجه نهایی", "حاصل"],
        Language::Fr => &["résultat", "résultat final", "solution"],
        Language::Hi => &["परिणाम", "नतीजा", "हल"],
        Language::Id => &["hasil", "hasilnya", "hasil akhir", "hasil akhirnya", "solusi"],
        Language::It => &["risultato", "risultato finale", "soluzione"],
        Language::Ja => &["結果", "最終結果", "解"],
        Language::Ko => &["결과", "최종 결과", "결과값", "해"],
        Language::Nl => &["resultaat", "eindresultaat", "uitkomst", "oplossing"],
        Language::Pl => &["wynik", "wynikiem", "rozwiązanie", "rozwiązaniem"],
        Language::Pt => &["resultado", "resultado final", "solução"],
        Language::Ru => &["результат", "итог", "решение"],
        Language::Sw => &["matokeo", "tokeo", "suluhisho"],
        Language::Te => &["ఫలితం", "తుది ఫలితం"],
        Language::Th => &["ผลลัพธ์", "ผลลัพธ์สุดท้าย", "ผลลัพธ์ที่ได้"],
        Language::Tr => &["sonuç", "çözüm"],
        Language::Uk => &["результат", "підсумок", "розв'язок"],
        Language::Vi => &["kết quả", "kết quả cuối cùng"],
        Language::Zh => &["结果", "結果", "最终结果", "最終結果"],
    }
}

/// Beginnings of words that make it a result on the way, in lower case.
pub(in crate::score) const INTERIM: &[&str] = &[
    "intermedia",
    "interim",
    "partial",
    "first",
    "previous",
    "step",
    "zwischen",
    "intermédia",
    "partiel",
    "parcial",
    "parzial",
    "tussen",
    "pośredni",
    "częściow",
    "промежуточ",
    "проміжн",
    "ara sonu",
    "sementara",
    "tạm",
    "trung gian",
    "hatua",
    "中间",
    "中間",
    "途中",
    "중간",
    "ระหว่าง",
    "अंतरिम",
    "मध्यवर्ती",
    "অন্তর্বর্তী",
    "మధ్యంతర",
    "وسيط",
    "میانی",
];
