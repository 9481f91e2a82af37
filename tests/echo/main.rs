//! The `stentor` program as `tests/autobahn` runs it: built with the feature `echo-route`, under a name of its own, so
//! that a build for the tests never takes the place of the real program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    stentor::cli::main()
}
