//! Tokens of a cleaned answer. Numbers are read here, because their separators depend on the language.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::super::budget::Obstacle;
use super::super::number::Convention;
use super::super::plain;
use super::clean::{ROW, SET_CLOSE, SET_OPEN, WORD_CLOSE, WORD_OPEN, clean};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Token {
    pub kind: Kind,
    /// Whether a space stands before it.
    pub spaced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// Digits without separators and how many of them are decimal places.
    Number {
        digits: String,
        places: usize,
    },
    /// A run of Latin letters, or one letter of another alphabet that formulas use.
    Letters(String),
    /// Words: the argument of \text, or a run of letters of any other script.
    Words(String),
    Command(String),
    Symbol(char),
    Begin(String),
    End(String),
    Row,
}

impl Token {
    pub fn is(&self, symbol: char) -> bool {
        self.kind == Kind::Symbol(symbol)
    }

    pub fn is_command(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Command(own) if own == name)
    }
}

pub(in super::super) fn value(digits: &str, places: usize) -> BigRational {
    let digits = digits.parse::<BigInt>().unwrap_or_default();
    if places == 0 {
        BigRational::from_integer(digits)
    } else {
        BigRational::new(digits, BigInt::from(10).pow(places as u32))
    }
}

const STOPS: &[char] = &['.', '\u{3002}', '\u{ff61}', '\u{964}', '\u{965}', '\u{6d4}', '\u{589}', '\u{17d4}'];
const QUOTES: &str = "\"\u{201c}\u{201d}\u{ab}\u{bb}\u{300c}\u{300d}\u{300e}\u{300f}\u{300a}\u{300b}";
const CURRENCIES: &str = "€£¥₹฿₩₽₺₫₴₦₱₪৳₸¢";

pub(in super::super) fn tokens(answer: &str, convention: Convention) -> Result<Vec<Token>, Obstacle> {
    let text = clean(answer)?;
    // Bold around everything is typography, two stars inside are a power.
    let text = text.trim();
    let text = text.strip_prefix("**").and_then(|inner| inner.strip_suffix("**")).unwrap_or(text);
    let text = text.replace("**", "^");
    let text = text.trim();
    // Three dots say that digits are missing.
    if text.ends_with("..") {
        return Err(Obstacle::Unread);
    }
    let text = text.trim_end_matches(STOPS).trim_end();
    let mut reader = Reader { rest: text, spaced: false, out: Vec::new(), convention };
    while let Some(c) = reader.rest.chars().next() {
        reader.next(c)?;
        if reader.out.len() > super::TOKENS_MAX {
            return Err(Obstacle::TooLarge);
        }
    }
    Ok(reader.out)
}

struct Reader<'a> {
    rest: &'a str,
    spaced: bool,
    out: Vec<Token>,
    convention: Convention,
}

impl<'a> Reader<'a> {
    fn push(&mut self, kind: Kind) {
        self.out.push(Token { kind, spaced: std::mem::take(&mut self.spaced) });
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let length = self.rest.find(|c: char| !fits(c)).unwrap_or(self.rest.len());
        self.take(length)
    }

    fn next(&mut self, c: char) -> Result<(), Obstacle> {
        let starts_number =
            c.is_ascii_digit() || (c == '.' && self.rest[1..].starts_with(|c: char| c.is_ascii_digit()));
        if starts_number {
            return self.number();
        }
        match c {
            c if c.is_whitespace() => {
                self.take(c.len_utf8());
                self.spaced = true;
            }
            '\\' => self.command()?,
            WORD_OPEN => {
                self.take(1);
                let words = self.take_while(|c| c != WORD_CLOSE);
                self.push(Kind::Words(words.split_whitespace().collect::<Vec<_>>().join(" ")));
                self.take(self.rest.chars().next().map_or(0, char::len_utf8));
            }
            ROW => {
                self.take(1);
                self.push(Kind::Row);
            }
            c if c.is_ascii_alphabetic() => {
                let letters = self.take_while(|c| c.is_ascii_alphabetic());
                if self.rest.starts_with(is_word_letter) {
                    // "größe": the run goes on in another part of the alphabet.
                    let more = self.take_while(|c| c.is_alphabetic() || is_mark(c));
                    self.push(Kind::Words(format!("{letters}{more}")));
                } else {
                    self.push(Kind::Letters(letters.to_owned()));
                }
            }
            c if is_greek(c) => {
                self.take(c.len_utf8());
                self.push(Kind::Letters(c.to_string()));
            }
            c if is_word_letter(c) => {
                let words = self.take_while(|c| c.is_alphabetic() || is_mark(c));
                self.push(Kind::Words(words.to_owned()));
            }
            c if QUOTES.contains(c) || CURRENCIES.contains(c) => {
                self.take(c.len_utf8());
                self.spaced = true;
            }
            c => {
                self.take(c.len_utf8());
                self.push(Kind::Symbol(c));
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<(), Obstacle> {
        self.take(1);
        let name = self.take_while(|c| c.is_ascii_alphabetic());
        if name.is_empty() {
            return Err(Obstacle::Unread);
        }
        if name == "begin" || name == "end" {
            let argument = self.rest.trim_start().strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (environment, rest) = argument.ok_or(Obstacle::Unread)?;
            self.rest = rest;
            let environment = environment.trim().to_owned();
            self.push(if name == "begin" { Kind::Begin(environment) } else { Kind::End(environment) });
            return Ok(());
        }
        let kind = match name {
            "lbrace" => Kind::Symbol(SET_OPEN),
            "rbrace" => Kind::Symbol(SET_CLOSE),
            "fence" => Kind::Symbol('|'),
            "cdot" => Kind::Symbol('*'),
            "div" => Kind::Symbol('/'),
            "less" => Kind::Symbol('<'),
            "greater" => Kind::Symbol('>'),
            "and" => Kind::Letters("and".to_owned()),
            name => match GREEK.iter().find(|(own, _)| *own == name) {
                Some((_, letter)) => Kind::Letters((*letter).to_owned()),
                None => Kind::Command(name.to_owned()),
            },
        };
        self.push(kind);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Obstacle> {
        let run = &self.rest[..number_length(self.rest)];
        self.rest = &self.rest[run.len()..];
        if run.bytes().filter(u8::is_ascii_digit).count() > super::super::DIGITS_MAX {
            return Err(Obstacle::TooLarge);
        }
        if let Some(readings) = plain::parse(run, self.convention) {
            let plain = readings.primary;
            let (digits, places) = self.scaled(plain.digits, plain.places)?;
            self.push(Kind::Number { digits, places });
            return Ok(());
        }
        // No number as a whole: a list whose commas have no space after them.
        for (i, part) in run.split(',').enumerate() {
            let readings = plain::parse(part, Convention::Canonical).ok_or(Obstacle::Ambiguous)?;
            if i > 0 {
                self.push(Kind::Symbol(','));
            }
            self.push(Kind::Number { digits: readings.primary.digits, places: readings.primary.places });
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// The power of ten after an "e": 3.2e5.
    fn scaled(&mut self, mut digits: String, mut places: usize) -> Result<(String, usize), Obstacle> {
        let Some(after) = self.rest.strip_prefix(['e', 'E']) else { return Ok((digits, places)) };
        let unsigned = after.strip_prefix(['-', '+']).unwrap_or(after);
        let length = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
        let letter_follows = unsigned[length..].starts_with(|c: char| c.is_alphabetic() || c == '.');
        if length == 0 || letter_follows {
            return Ok((digits, places));
        }
        let shift: usize = unsigned[..length].parse().map_err(|_| Obstacle::TooLarge)?;
        if shift > super::super::DIGITS_MAX {
            return Err(Obstacle::TooLarge);
        }
        self.rest = &unsigned[length..];
        if after.starts_with('-') {
            places += shift;
        } else {
            digits.push_str(&"0".repeat(shift.saturating_sub(places)));
            places = places.saturating_sub(shift);
        }
        Ok((digits, places))
    }
}

/// Digits and the separators between them; a space separates only before exactly three digits.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    let mut head = true;
    while at < bytes.len() {
        if digit(at) {
            at += 1;
            continue;
        }
        let Some(c) = text[at..].chars().next() else { break };
        let next = at + c.len_utf8();
        if !plain::is_separator(c) || !digit(next) {
            break;
        }
        if c == ' ' {
            let three = digit(next + 1) && digit(next + 2) && !digit(next + 3);
            if !three || (head && at > 3) {
                break;
            }
        }
        head = false;
        at = next;
    }
    at
}

fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

fn is_greek(c: char) -> bool {
    ('\u{391}'..='\u{3c9}').contains(&c)
}

fn is_word_letter(c: char) -> bool {
    c.is_alphabetic() && !c.is_ascii() && !is_greek(c)
}

pub(super) const GREEK: &[(&str, &str)] = &[
    ("alpha", "α"),
    ("beta", "β"),
    ("gamma", "γ"),
    ("delta", "δ"),
    ("epsilon", "ε"),
    ("zeta", "ζ"),
    ("eta", "η"),
    ("theta", "θ"),
    ("iota", "ι"),
    ("kappa", "κ"),
    ("lambda", "λ"),
    ("mu", "μ"),
    ("nu", "ν"),
    ("xi", "ξ"),
    ("rho", "ρ"),
    ("sigma", "σ"),
    ("tau", "τ"),
    ("phi", "φ"),
    ("chi", "χ"),
    ("psi", "ψ"),
    ("omega", "ω"),
    ("Gamma", "Γ"),
    ("Delta", "Δ"),
    ("Theta", "Θ"),
    ("Lambda", "Λ"),
    ("Phi", "Φ"),
    ("Psi", "Ψ"),
    ("Omega", "Ω"),
    ("Sigma", "Σ"),
    ("ell", "ℓ"),
];
