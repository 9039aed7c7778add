//! Command line of `softadapt`: adaptive loss weights for logs of training runs.
//!
//! A library only so that tests and fuzz targets reach it; its interface is the command.

mod args;
mod backend;
mod bench;
mod check;
mod definition;
mod devices;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod input;
mod interrupt;
mod output;
mod panics;
mod plot;
mod progress;
mod random;
mod replay;
mod runs;
mod stream;
mod summary;
mod sweep;
mod view;
mod weigh;

use args::{Arguments, Command};
use clap::Parser;
use error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// The command, with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Also how help and version arrive. A closed pipe leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(&arguments) {
        Err(error) if !error.is_closed_pipe() => {
            let _ = writeln!(io::stderr().lock(), "softadapt: {error}");
            ExitCode::from(error.exit_status())
        }
        _ => ExitCode::SUCCESS,
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    match &arguments.command {
        Command::Weigh(arguments) => weigh::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Plot(arguments) => plot::run(arguments),
        Command::View(arguments) => view::run(arguments),
        Command::Sweep(arguments) => sweep::run(arguments),
        Command::Devices => devices::run(),
        Command::Check(arguments) => check::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Completions { shell } => definition::completions(*shell),
        Command::Man { folder } => definition::man(folder),
    }
}
