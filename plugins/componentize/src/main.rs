//! Makes a component from the core module of a guest.
//!
//! A guest that was compiled for `wasm32-unknown-unknown` is a core module with the description of its world in a
//! custom section. This tool is a few lines around the crate that does the work, so that `plugins/build` needs no
//! tool installed on the machine and its version is pinned by `Cargo.lock` like everything else.

use std::env;
use std::error::Error;
use std::fs;
use std::process::ExitCode;

use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a command line tool says what went wrong there")]
            {
                eprintln!("componentize: {error}");
                let mut source = error.source();
                while let Some(cause) = source {
                    eprintln!("  because: {cause}");
                    source = cause.source();
                }
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let (Some(input), Some(output), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: componentize CORE.wasm COMPONENT.wasm".into());
    };
    let core = fs::read(&input).map_err(|error| format!("cannot read {}: {error}", input.display()))?;
    // `validate` runs the finished component through the same validator that the server's engine uses.
    let component = ComponentEncoder::default().validate(true).module(&core)?.encode()?;
    fs::write(&output, component).map_err(|error| format!("cannot write {}: {error}", output.display()))?;
    Ok(())
}
