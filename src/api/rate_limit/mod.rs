//! How much a key has used of what it may use. Knows no HTTP.
//!
//! Requests and tokens a minute are token buckets, tokens a day are counted from midnight to midnight (UTC). A request's
//! tokens are taken at its admission, all that it could have, and what it did not use comes back when it ends. Kept in
//! memory: a process that starts again has used nothing.

mod bucket;
mod day;
mod usage;

pub use usage::{KeyUsage, LimitError, Place, Reservation, Standing};
