//! `softadapt weigh`: logs in, weights out.

use crate::args::WeighArguments;
use crate::backend::{Answer, Backend};
use crate::error::Error;
use crate::input::{self, InputError};
use crate::output::{self, Output};
use crate::runs::{Log, Runs};
use crate::summary::Summary;
use softadapt::{Plan, Shape, ShapeError};
use std::io;
use std::time::Instant;

/// Runs the command.
///
/// # Errors
/// Options that make no sense, bad data, or a read or write that fails; then nothing is written under the output's name.
pub(crate) fn run(arguments: &WeighArguments) -> Result<(), Error> {
    let start = Instant::now();
    // Everything that can be refused is refused before the first byte is read.
    let config = arguments.config.config()?;
    let nothing = Shape::ragged(vec![0], arguments.config.window).map_err(|error| window_error(&error))?;
    Plan::new(config.clone(), nothing)?;
    let sources = input::sources(&arguments.input.files)?;
    let output = Output::new(arguments.output.output.as_deref())?;
    let backend = Backend::open(&arguments.backend)?;
    let opened = Instant::now();

    let mut log = Log::new(arguments.config.window, arguments.input.on_duplicate);
    input::read_noted(&sources, &arguments.input.options(), !arguments.input.quiet, &mut log)?;
    let runs = log.into_runs().map_err(|duplicate| InputError::duplicate(&sources, *duplicate))?;
    let plan = Plan::new(config, shape(&runs)?)?;
    let read = Instant::now();

    let answer = backend.weigh(&plan, runs.losses(), runs.points(), None)?;
    let weighed = Instant::now();

    output.write(|out| match &answer {
        Answer::Single(weights) => output::write_weights(out, arguments.output.format(), &runs, weights),
        Answer::Double(weights) => output::write_weights(out, arguments.output.format(), &runs, weights),
    })?;

    if !arguments.input.quiet {
        let status = match &answer {
            Answer::Single(weights) => &weights.status,
            Answer::Double(weights) => &weights.status,
        };
        let summary = Summary {
            runs: &runs,
            plan: &plan,
            status,
            sources: sources.len(),
            backend: &backend,
            reading: read - opened,
            weighing: weighed - read,
            total: start.elapsed(),
        };
        // Nothing depends on it: a closed standard error is no reason to fail.
        let _ = summary.write(&mut io::stderr().lock());
    }
    Ok(())
}

/// Without data, a shape can only be refused for its window.
pub(crate) fn window_error(error: &ShapeError) -> Error {
    Error::Window { reason: error.to_string() }
}

fn shape(runs: &Runs) -> Result<Shape, Error> {
    runs.shape().map_err(|error| match error {
        ShapeError::Components { group: Some(run), components } => {
            Error::Components { run: runs.name(run).to_owned(), components }
        }
        error => Error::TooLarge { reason: error.to_string() },
    })
}
