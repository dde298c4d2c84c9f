//! The moment at which a key ends, as RFC 3339 writes it: with a time and an offset, so that it means one moment.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use toml::value::{Datetime, Offset};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expiry {
    written: Datetime,
    /// Since 1970.
    seconds: i64,
}

impl Expiry {
    pub fn is_over(&self, now_ms: u64) -> bool {
        (now_ms / 1000) as i64 >= self.seconds
    }
}

impl TryFrom<Datetime> for Expiry {
    type Error = String;

    fn try_from(written: Datetime) -> Result<Self, String> {
        let (Some(date), Some(time), Some(offset)) = (written.date, written.time, written.offset) else {
            return Err(format!(
                "`{written}` is no moment: write date, time and offset, as in 2030-01-31T00:00:00Z"
            ));
        };
        let offset_minutes = match offset {
            Offset::Z => 0,
            Offset::Custom { minutes } => i64::from(minutes),
        };
        let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
        let seconds = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second);
        Ok(Self { written, seconds: days * 86_400 + seconds - offset_minutes * 60 })
    }
}

/// Of the Gregorian calendar; years begin with March, so that a leap day is their last (Hinnant, "chrono-compatible
/// low-level date algorithms", `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let moment: Datetime = text.trim().parse().map_err(|error| format!("`{text}`: {error}"))?;
        moment.try_into()
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

/// A date of TOML's, or its text in quotes.
impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Moment;
        impl<'de> Visitor<'de> for Moment {
            type Value = Expiry;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a moment such as 2030-01-31T00:00:00Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expiry, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expiry, A::Error> {
                let moment = Datetime::deserialize(MapAccessDeserializer::new(map))?;
                moment.try_into().map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_seconds_since_1970() {
        // `date -u -d MOMENT +%s`
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(text.parse::<Expiry>().ok().map(|expiry| expiry.seconds), expected, "{text}");
        };
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-02-29T23:59:59Z", Some(951_868_799));
        check("2030-01-31T00:00:00Z", Some(1_896_048_000));
        check("2030-01-31T02:30:00+02:30", Some(1_896_048_000));
        check("2030-01-30T19:00:00-05:00", Some(1_896_048_000));
        check("2100-03-01T00:00:00Z", Some(4_107_542_400));
        check("2030-01-31", None);
        check("2030-01-31T00:00:00", None);
        check("2030-02-30T00:00:00Z", None);
        check("tomorrow", None);
        check("", None);
    }

    #[test]
    fn a_key_ends_with_its_second() {
        let expiry: Expiry = "1970-01-01T00:00:10Z".parse().unwrap();
        assert!(!expiry.is_over(9_999));
        assert!(expiry.is_over(10_000));
    }
}
