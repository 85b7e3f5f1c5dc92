//! The stack binary.
fn main() {}
