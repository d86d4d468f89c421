//! The program: see the library crate of the same name.

fn main() {}
