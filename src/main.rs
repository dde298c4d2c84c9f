//! Parse the arguments, call `cli`.

fn main() {}
