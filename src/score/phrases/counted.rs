//! What is counted, measured and paid with, in the languages we know: the words that may stand behind a power ten. Behind
//! "3 thousand" any other word may be the rest the number ("two hundred"), which no list holds in all its forms.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Words in lower case, a language a line.
const COUNTED: &[&str] = &[
    "دولار دولارات بيضة بيض ساعات ساعة دقيقة دقائق شخص أشخاص متر مترا كيلوغرام كيلومتر يوم أيام سنة سنوات صفحة كتب تفاحة تفاحات طالبًا ميل درجة سم كم لتر قطعة قلم سنتيمتر كلمة",
    "টাকা ডলার ডিম টি ঘণ্টা মিনিট জন মিটার বর্গ বর্গমিটার কেজি কিলোমিটার দিন বছর পৃষ্ঠা খানা আপেল মাইল ডিগ্রি সেমি লিটার ঘন",
    "dollar euro eier stunden minuten personen leute meter quadratmeter kilogramm kilometer tage jahre seiten bücher äpfel schüler meilen grad cm liter stück stifte kubikzentimeter prozent fuß unzen pfund cent punkte karten mädchen menschen einwohner",
    "dollars eggs hours minutes people meters square kilograms kilometers days years pages books apples students degrees cm liters pieces pens cubic percent feet ounces pounds cents points cards girls gallons slices weeks cups inches quarts yards bolts ways units sq mph acres dollar person men women children kids euros yen rupees inhabitants residents usd eur gbp tl zł kr rs lira inwoners mieszkańców осіб жителей jiwa نسمة habitantes habitants abitanti dân निवासी kuruş pesos peso reais real inr won franken francs",
    "dólares euros huevos horas minutos personas metros kilogramos kilómetros días años páginas libros manzanas estudiantes millas grados cm litros piezas bolígrafos centímetros pies onzas libras centavos puntos tarjetas niñas galones semanas tazas pulgadas",
    "دلار تومان تخم ساعت دقیقه نفر متر کیلوگرم کیلومتر روز سال صفحه کتاب سیب دانش مایل درجه سانتی‌متر لیتر عدد مداد درصد",
    "dollars euros œufs heures minutes personnes mètres kilogrammes kilomètres jours ans pages livres pommes élèves degrés cm litres pièces stylos centimètres pieds onces points cartes filles gallons semaines tasses pouces",
    "रुपये डॉलर अंडे घंटे मिनट लोग मीटर वर्ग किलोग्राम किलोमीटर दिन साल वर्ष पृष्ठ किताबें सेब छात्र मील डिग्री सेमी लीटर प्रतिशत घन फीट पाउंड अंक कार्ड लड़कियाँ टुकड़े रुपए रुपया लोगों छात्रों",
    "dolar rupiah telur jam menit orang meter kilogram kilometer hari tahun halaman buku apel siswa derajat cm liter buah pena sentimeter persen kaki ons poin kartu minggu potong",
    "dollari euro uova ore minuti persone metri chilogrammi chilometri giorni anni pagine libri mele studenti miglia gradi cm litri pezzi penne centimetri piedi once punti carte ragazze galloni settimane tazze pollici",
    "dollar euro eieren uur minuten mensen meter vierkante kilogram kilometer dagen jaar boeken appels leerlingen mijl graden cm liter stuks pennen kubieke procent voet ons pond punten kaarten meisjes weken kopjes inch",
    "dolarów dolary złotych jajek jajka godzin minut osób metrów kilogramów kilometrów dni lat stron książek jabłek uczniów stopni cm litrów sztuk długopisów centymetrów procent stóp uncji funtów punktów kart dziewcząt tygodni cali",
    "dólares reais ovos horas minutos pessoas metros quilogramas quilômetros dias anos páginas livros maçãs alunos milhas graus cm litros peças canetas centímetros pés onças libras centavos pontos cartas meninas galões semanas xícaras polegadas",
    "долларов доллара рублей яиц яйца часов часа минут человек метров квадратных килограммов километров дней дня лет года страниц книг яблок учеников миль градусов см литров штук ручек кубических процентов футов унций фунтов центов очков карточек девочек недель дюймов кв рубля рубль евро людей",
    "dola shilingi mayai saa dakika watu mita kilo kilogramu kilomita siku miaka kurasa vitabu matufaha wanafunzi maili digrii sm lita vipande kalamu asilimia futi pointi kadi wasichana wiki vikombe",
    "డాలర్లు రూపాయలు గుడ్లు గంటలు నిమిషాలు మంది మీటర్లు చదరపు కిలోగ్రాములు కిలోమీటర్లు రోజులు సంవత్సరాలు పేజీలు పుస్తకాలు ఆపిల్స్ విద్యార్థులు మైళ్ళు డిగ్రీలు లీటర్లు శాతం అడుగులు పాయింట్లు కార్డులు",
    "dolar lira yumurta saat dakika kişi metre metrekare kilogram kilometre gün yıl yaşında sayfa kitap elma öğrenci derece cm litre adet kalem santimetreküp yüzde fit ons puan kart kız hafta bardak inç tane",
    "доларів долара гривень яєць годин години хвилин людей метрів квадратних кілограмів кілометрів днів дні років роки сторінок книг яблук учнів миль градусів см літрів штук ручок кубічних відсотків футів унцій фунтів центів очок карток дівчат тижнів дюймів гривні євро",
    "đô đồng quả trứng giờ phút người mét kilôgam kg kilômét ngày năm tuổi trang quyển học dặm độ cm lít cái cây xăng-ti-mét feet ounce pound điểm thẻ cô tuần cốc inch",
];

/// The same where no blank need stand before or behind.
const UNSPACED: &[&str] = &[
    "吨 居民 美元 元 个鸡蛋 枚鸡蛋 小时 分钟 人 米 平方米 千克 公斤 公里 千米 天 年 岁 页 本书 个苹果 名学生 英里 厘米 升 块 支笔 立方厘米 英尺 盎司 磅 美分 张 辆 杯 周 个月 英寸 箱 种方法 公顷 加仑 毫升 立方米 平方厘米 朵花 位客人 人民币 棵树 个 本 只 名 位 件 条 平方 日元 欧元 次",
    "ドル 円 個 個の卵 時間 人 メートル 平方メートル キログラム キロメートル 年 歳 ページ 冊 個のリンゴ 人の生徒 マイル cm リットル 枚 本 立方センチメートル パーセント フィート オンス ポンド セント 匹 台 杯 週間 か月 ヶ月 インチ 箱 ガロン キロ グラム 名 件 世帯",
    "달러 원 개 개의 계란 시간 분 명 미터 제곱미터 킬로그램 킬로미터 일 년 페이지 마일 cm 리터 세제곱센티미터 퍼센트 피트 온스 파운드 센트 마리 개월 인치 상자 조각 갤런 켤레 권 장 대 유로 번 살",
    "ดอลลาร์ บาท ฟอง ชั่วโมง นาที คน เมตร ตารางเมตร กิโลกรัม กิโลเมตร วัน ปี หน้า เล่ม ผล ไมล์ องศา ซม ลิตร ชิ้น ด้าม ลูกบาศก์เซนติเมตร เปอร์เซ็นต์ ฟุต ออนซ์ ปอนด์ คะแนน ใบ ตัว คัน แก้ว สัปดาห์ เดือน นิ้ว กล่อง ลูก แห่ง วิธี",
];

static WORDS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| COUNTED.iter().flat_map(|line| line.split(' ')).collect());

/// The bytes of such a word at the start of a text.
pub(in crate::score) fn counted(text: &str) -> Option<usize> {
    let unspaced = UNSPACED.iter().flat_map(|line| line.split(' '));
    if let Some(length) = unspaced.filter(|word| text.starts_with(word)).map(str::len).max() {
        return Some(length);
    }
    let length = text.find(|c| !is_letter(c)).unwrap_or(text.len());
    (length > 0 && WORDS.contains(text[..length].to_lowercase().as_str())).then_some(length)
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || c == '\u{200c}' || unicode_normalization::char::is_combining_mark(c)
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    #[test]
    fn a_word_of_a_list_is_taken_whole() {
        let check = |text: &str, expected: &str| {
            assert_eq!(&text[..counted(text).unwrap_or_default()], expected, "{text}");
        };
        check("dollars a day", "dollars");
        check("Dollars", "Dollars");
        check("dollarsign", "");
        check("円です", "円");
        check("बर्गर", "");
        check("टाका", "");
        check("টাকা", "টাকা");
        check("two hundred", "");
        check("duecento", "");
        check("", "");
    }

    #[test]
    fn the_words_are_in_the_form_answers_are_compared_in() {
        for word in COUNTED.iter().chain(UNSPACED).flat_map(|line| line.split(' ')) {
            assert_eq!(word.to_lowercase().nfc().collect::<String>(), word, "{word}");
        }
    }
}
