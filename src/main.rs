//! The `stentor` program. Everything it does is in the library.

use std::process::ExitCode;

/// Gives memory back after a storm of connections and tells how much is in use, which the system's allocator does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    stentor::cli::main()
}
