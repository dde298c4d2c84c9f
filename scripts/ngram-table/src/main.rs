//! Makes `src/score/language/ngrams.bin` out of lingua's language models (Apache-2.0, by Peter M. Stahl).
//!
//! lingua keeps, for each language, the probability of a letter after up to four others. Of all sequences of up to four
//! letters those are kept that are frequent in some language and that change the odds between languages most against
//! what the sequence without its first letter says already. The row of a sequence is the negative log-probability of its
//! last letter in each language, backing off to shorter sequences at a cost. `src/score/language/ngrams.rs` describes
//! the file and reads it.
//!
//! ```text
//! cargo run --release --manifest-path scripts/ngram-table/Cargo.toml > src/score/language/ngrams.bin
//! ```

use std::collections::HashMap;
use std::io::Write;

use fst::{Map, Streamer};

type Models = &'static [(&'static str, &'static [u8])];
type Sequence = Vec<char>;

macro_rules! models {
    ($($code:literal: $name:ident :: $directory:ident),+) => {
        vec![$(($code, $name::$directory.get_file("ngrams.fst").expect("lingua's layout").contents())),+]
    };
}

const LENGTH_MAX: usize = 4;
/// What it costs to back off to a sequence that is one letter shorter, in nats.
const BACKOFF: f32 = 0.5;
/// What a letter costs that a language does not have, in nats.
const UNKNOWN: f32 = 15.0;
const STEPS_A_NAT: f32 = 16.0;
const KEPT_LATIN: usize = 50_000;
const KEPT_OTHER: usize = 12_000;

fn main() {
    let latin = models!(
        "de": lingua_german_language_model::GERMAN_MODELS_DIRECTORY,
        "en": lingua_english_language_model::ENGLISH_MODELS_DIRECTORY,
        "es": lingua_spanish_language_model::SPANISH_MODELS_DIRECTORY,
        "fr": lingua_french_language_model::FRENCH_MODELS_DIRECTORY,
        "id": lingua_indonesian_language_model::INDONESIAN_MODELS_DIRECTORY,
        "it": lingua_italian_language_model::ITALIAN_MODELS_DIRECTORY,
        "nl": lingua_dutch_language_model::DUTCH_MODELS_DIRECTORY,
        "pl": lingua_polish_language_model::POLISH_MODELS_DIRECTORY,
        "pt": lingua_portuguese_language_model::PORTUGUESE_MODELS_DIRECTORY,
        "sw": lingua_swahili_language_model::SWAHILI_MODELS_DIRECTORY,
        "tr": lingua_turkish_language_model::TURKISH_MODELS_DIRECTORY,
        "vi": lingua_vietnamese_language_model::VIETNAMESE_MODELS_DIRECTORY
    );
    let cyrillic = models!(
        "ru": lingua_russian_language_model::RUSSIAN_MODELS_DIRECTORY,
        "uk": lingua_ukrainian_language_model::UKRAINIAN_MODELS_DIRECTORY
    );
    let arabic = models!(
        "ar": lingua_arabic_language_model::ARABIC_MODELS_DIRECTORY,
        "fa": lingua_persian_language_model::PERSIAN_MODELS_DIRECTORY
    );
    let mut file = Vec::new();
    for (models, kept) in [(latin, KEPT_LATIN), (cyrillic, KEPT_OTHER), (arabic, KEPT_OTHER)] {
        group(models.leak(), kept, &mut file);
    }
    std::io::stdout().write_all(&file).expect("stdout takes the table");
}

fn group(models: Models, kept: usize, file: &mut Vec<u8>) {
    let mut sequences = HashMap::new();
    let languages: Vec<Model> = models.iter().map(|(_, bytes)| Model::load(bytes, &mut sequences)).collect();
    let row = |sequence: &[char]| -> Vec<f32> { languages.iter().map(|model| model.log(sequence)).collect() };
    let mut ranked: Vec<(f32, Sequence)> =
        sequences.into_values().map(|sequence| (gain(&languages, &sequence, &row), sequence)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    ranked.truncate(kept);

    let slots = (kept * 5 / 4).next_power_of_two();
    let width = 2 + models.len();
    let mut table = vec![0; slots * width];
    for (_, sequence) in &ranked {
        let hash = mix(pack(sequence));
        let mut at = (hash >> 32) as usize & (slots - 1);
        while table[at * width..at * width + 2] != [0, 0] {
            at = (at + 1) & (slots - 1);
        }
        let slot = &mut table[at * width..(at + 1) * width];
        slot[..2].copy_from_slice(&(hash as u16).max(1).to_le_bytes());
        for (cost, log) in slot[2..].iter_mut().zip(row(sequence)) {
            *cost = (-log * STEPS_A_NAT).round().clamp(0.0, 255.0) as u8;
        }
    }
    file.push(models.len() as u8);
    file.extend(models.iter().flat_map(|(code, _)| code.bytes()));
    file.extend((slots as u32).to_le_bytes());
    file.extend(table);
}

/// How much a sequence changes the odds between languages, times how frequent it is.
fn gain(languages: &[Model], sequence: &[char], row: &dyn Fn(&[char]) -> Vec<f32>) -> f32 {
    let joint = languages.iter().map(|model| model.joint(sequence)).fold(f32::NEG_INFINITY, f32::max).exp();
    if sequence.len() == 1 {
        // Always kept, if it occurs at all: the last resort.
        return 100.0 * joint;
    }
    let capped = |log: f32| log.max(-255.0 / STEPS_A_NAT);
    let changes: Vec<f32> = row(sequence)
        .iter()
        .zip(row(&sequence[1..]))
        .map(|(longer, shorter)| capped(*longer) - capped(shorter))
        .collect();
    let mean = changes.iter().sum::<f32>() / changes.len() as f32;
    joint * changes.iter().map(|change| (change - mean).abs()).fold(0.0, f32::max)
}

struct Model {
    logs: HashMap<u64, f32>,
}

impl Model {
    fn load(bytes: &[u8], sequences: &mut HashMap<u64, Sequence>) -> Self {
        let map = Map::new(bytes).expect("lingua's models are FST maps");
        let mut logs = HashMap::new();
        let mut stream = map.stream();
        while let Some((key, value)) = stream.next() {
            let sequence: Sequence = std::str::from_utf8(key).expect("keys are text").chars().collect();
            if sequence.len() <= LENGTH_MAX && sequence.iter().all(|c| u32::from(*c) <= 0xffff) {
                logs.insert(pack(&sequence), f64::from_bits(value) as f32);
                sequences.entry(pack(&sequence)).or_insert(sequence);
            }
        }
        Self { logs }
    }

    /// The log-probability of the last letter after the others.
    fn log(&self, sequence: &[char]) -> f32 {
        let known =
            (0..sequence.len()).find_map(|from| Some((from, *self.logs.get(&pack(&sequence[from..]))?)));
        known.map_or(-UNKNOWN - BACKOFF * sequence.len() as f32, |(from, log)| log - BACKOFF * from as f32)
    }

    /// The log-probability of the whole sequence.
    fn joint(&self, sequence: &[char]) -> f32 {
        (1..=sequence.len())
            .map(|to| self.logs.get(&pack(&sequence[..to])).copied().unwrap_or(f32::NEG_INFINITY))
            .sum()
    }
}

fn pack(sequence: &[char]) -> u64 {
    sequence.iter().fold(0, |key, c| key << 16 | u64::from(u32::from(*c)))
}

/// As in `src/score/language/ngrams.rs`.
fn mix(key: u64) -> u64 {
    let key = (key ^ key >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ key >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ key >> 31
}
