//! `softadapt replay`: the weights that a trainer would have had, update by update.

use crate::args::ReplayArguments;
use crate::backend::Backend;
use crate::error::{Error, Failure};
use crate::input;
use crate::output::{Cell, Kind, Output, Table};
use crate::runs::Catalog;
use crate::stream::{self, Consumer, Step};
use crate::summary::count;
use crate::trainers::{Pushed, Trainers};
use crate::weigh::window_error;
use softadapt::{BalancerPlan, Shape, Status};
use std::io::{self, Write};
use std::time::Instant;

/// Runs the command.
///
/// # Errors
/// Options that make no sense, bad data, or a read or write that fails; then nothing is written under the output's name.
pub(crate) fn run(arguments: &ReplayArguments) -> Result<(), Error> {
    let start = Instant::now();
    let (config, window) = arguments.trainer.balancer()?;
    // What can be refused is refused before the first byte is read.
    let plan = BalancerPlan::new(config.clone(), Shape::new(1, 1, window).map_err(|error| window_error(&error))?)?;
    let warnings = plan.warnings();
    let sources = input::sources(&arguments.log.input.files)?;
    let output = Output::new(arguments.output.output.as_deref())?;
    let backend = Backend::open(&arguments.backend)?;
    let trainers = Trainers::new(config, window, backend.single().ok_or(Error::NoReference)?)?;
    let mut told = (Catalog::default(), Counts::default());
    output.write_from(|out| {
        let columns = [
            ("run", Kind::Text),
            ("step", Kind::Integer),
            ("component", Kind::Text),
            ("loss", Kind::Single),
            ("weight", Kind::Single),
            ("status", Kind::Text),
        ];
        let columns = columns.map(|(name, kind)| (name.to_owned(), kind)).into();
        let lines = Lines {
            all_steps: arguments.all_steps,
            table: Table::new(out, arguments.output.format(), columns)?,
            counts: Counts::default(),
        };
        let (mut replay, catalog) = stream::run(&arguments.log, &sources, Replay { trainers, lines })?;
        replay.flush(&catalog)?;
        told = (catalog, replay.lines.counts);
        Ok(replay.lines.table.finish()?)
    })?;
    if !arguments.log.input.quiet {
        let (catalog, counts) = told;
        let mut err = io::stderr().lock();
        // Nothing depends on it: a closed standard error is no reason to fail.
        let _ = writeln!(
            err,
            "{}, {}, {}; {} read from {}",
            count(catalog.runs() as u64, "run"),
            count(counts.steps, "step"),
            count(counts.updates, "update"),
            count(catalog.rows(), "row"),
            count(sources.len() as u64, "source")
        );
        for warning in warnings {
            let _ = writeln!(err, "warning: {warning}");
        }
        let _ = writeln!(
            err,
            "{} not ready, {} flagged; {:.2} s in all, {backend}",
            count(counts.not_ready, "update"),
            count(counts.flagged, "update"),
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    steps: u64,
    updates: u64,
    not_ready: u64,
    flagged: u64,
}

struct Replay<'p, 'w> {
    trainers: Trainers<'p>,
    lines: Lines<'w>,
}

impl Replay<'_, '_> {
    fn flush(&mut self, catalog: &Catalog) -> Result<(), Failure> {
        self.trainers.flush(|pushed| self.lines.write(pushed, catalog))
    }
}

impl Consumer for Replay<'_, '_> {
    fn take(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        if self.trainers.push(step)? { self.flush(step.catalog) } else { Ok(()) }
    }
}

/// Writes what the trainers have.
struct Lines<'w> {
    all_steps: bool,
    table: Table<'w>,
    counts: Counts,
}

impl Lines<'_> {
    fn write(&mut self, pushed: &Pushed<'_>, catalog: &Catalog) -> Result<(), Failure> {
        let &Pushed { run, step, losses, weights, status, is_update } = pushed;
        self.counts.steps += 1;
        if is_update {
            self.counts.updates += 1;
            if status.contains(Status::NOT_READY) {
                self.counts.not_ready += 1;
            } else if !status.is_ok() {
                self.counts.flagged += 1;
            }
        } else if !self.all_steps {
            return Ok(());
        }
        let words;
        let status = if status.is_ok() {
            "ok"
        } else {
            words = status.to_string();
            &words
        };
        let run_name = catalog.run_name(run);
        for ((&component, &loss), &weight) in catalog.components(run).iter().zip(losses).zip(weights) {
            self.table.row(&[
                Cell::Text(run_name),
                Cell::Integer(step),
                Cell::Text(catalog.component_name(component)),
                Cell::Single(loss),
                Cell::Single(weight),
                Cell::Text(status),
            ])?;
        }
        Ok(())
    }
}
