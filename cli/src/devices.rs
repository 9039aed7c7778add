//! `softadapt devices`: the adapters of this machine.

use crate::backend;
use crate::error::Error;
use crate::output::Output;

/// Runs the command.
///
/// # Errors
/// Built without GPU support, or standard output cannot be written.
pub(crate) fn run() -> Result<(), Error> {
    let adapters = backend::describe_adapters()?;
    Output::Stdout.write(|out| {
        for adapter in &adapters {
            writeln!(out, "{adapter}\n")?;
        }
        if adapters.is_empty() {
            writeln!(out, "no graphics adapter found\n")?;
        }
        writeln!(out, "CPU path: {} threads", rayon::current_num_threads())
    })
}
