//! x
pub fn a() {}
