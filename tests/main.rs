//! All integration tests, one program: linking is what costs time. `make test TESTS=adapters` runs a part.
//!
//! [`support`] finds the real servers and runs the program; a missing server fails its tests, it never skips them.

mod adapters;
mod architecture;
mod cli;
mod docs;
mod durability;
mod faults;
mod fuzz;
mod recovery;
mod secrets;
mod support;
mod terminal;
mod trigger;

/// The crash tests need the kill points; a build without them would prove nothing.
#[cfg(not(feature = "failpoints"))]
#[test]
fn the_program_is_built_with_its_kill_points() {
    panic!("run the tests by `make test`: it builds the program with its kill points");
}
