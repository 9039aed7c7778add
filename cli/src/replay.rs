//! `softadapt replay`: the weights that a trainer would have had, update by update.

use crate::args::ReplayArguments;
use crate::error::{Error, Failure};
use crate::input;
use crate::output::{Cell, Kind, Output, Table};
use crate::stream::{self, Consumer, Step};
use crate::summary::count;
use crate::weigh::window_error;
use softadapt::{BalancerConfig, BalancerPlan, Shape, ShapeError, Status, cpu};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

/// Runs the command.
///
/// # Errors
/// Options that make no sense, bad data, or a read or write that fails; then nothing is written under the output's name.
pub(crate) fn run(arguments: &ReplayArguments) -> Result<(), Error> {
    let start = Instant::now();
    let config = arguments.updates.balancer(&arguments.config)?;
    // What can be refused is refused before the first byte is read.
    let plan =
        BalancerPlan::new(config.clone(), Shape::new(1, 1, arguments.updates.window).map_err(|e| window_error(&e))?)?;
    let warnings = plan.warnings();
    let trainers = Trainers::new(config, arguments.updates.window)?;
    let sources = input::sources(&arguments.input.files)?;
    let output = Output::new(arguments.output.output.as_deref())?;
    let mut told = (0, 0, Counts::default());
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
        let replay = Replay {
            trainers,
            all_steps: arguments.all_steps,
            table: Table::new(out, arguments.output.format(), columns)?,
            counts: Counts::default(),
        };
        let (replay, runs, rows) = stream::run(&arguments.input, &sources, arguments.sort, !arguments.quiet, replay)?;
        told = (runs, rows, replay.counts);
        Ok(replay.table.finish()?)
    })?;
    if !arguments.quiet {
        let (runs, rows, counts) = told;
        let mut err = io::stderr().lock();
        // Nothing depends on it: a closed standard error is no reason to fail.
        let _ = writeln!(
            err,
            "{}, {}, {}; {} read from {}",
            count(runs as u64, "run"),
            count(counts.steps, "step"),
            count(counts.updates, "update"),
            count(rows, "row"),
            count(sources.len() as u64, "source")
        );
        for warning in warnings {
            let _ = writeln!(err, "warning: {warning}");
        }
        let _ = writeln!(
            err,
            "{} not ready, {} flagged; {:.2} s in all, CPU path",
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

/// A balancer for every run.
pub(crate) struct Trainers {
    config: BalancerConfig,
    window: usize,
    /// By number of components.
    plans: BTreeMap<usize, BalancerPlan>,
    /// By run, with the number of pushes.
    balancers: Vec<Option<(cpu::Balancer, u64)>>,
    /// One step's losses.
    losses: Vec<f32>,
}

impl Trainers {
    /// # Errors
    /// A configuration that makes no sense, as far as that can be told before there are components.
    pub(crate) fn new(config: BalancerConfig, window: usize) -> Result<Self, Error> {
        BalancerPlan::new(config.clone(), Shape::new(1, 1, window).map_err(|error| window_error(&error))?)?;
        Ok(Self { config, window, plans: BTreeMap::new(), balancers: Vec::new(), losses: Vec::new() })
    }

    fn plan(&mut self, step: &Step<'_>) -> Result<&BalancerPlan, Error> {
        let components = step.components.len();
        if !self.plans.contains_key(&components) {
            let shape = Shape::new(1, components, self.window).map_err(|error| match error {
                ShapeError::Components { components, .. } => {
                    Error::Components { run: step.run_name.to_owned(), components }
                }
                error => Error::TooLarge { reason: error.to_string() },
            })?;
            self.plans.insert(components, BalancerPlan::new(self.config.clone(), shape)?);
        }
        Ok(&self.plans[&components])
    }

    /// Pushes a step to the balancer of its run. Returns that, the losses as it was given them, and whether there was an
    /// update.
    ///
    /// # Errors
    /// More components than the library takes.
    pub(crate) fn push(&mut self, step: &Step<'_>) -> Result<(&cpu::Balancer, &[f32], bool), Error> {
        let run = step.run.0 as usize;
        if self.balancers.len() <= run {
            self.balancers.resize_with(run + 1, || None);
        }
        if self.balancers[run].is_none() {
            let balancer = cpu::Balancer::new(self.plan(step)?);
            self.balancers[run] = Some((balancer, 0));
        }
        self.losses.clear();
        self.losses.extend(step.losses.iter().map(|&loss| loss as f32));
        let (first, every) = (u64::from(self.config.first_update()), u64::from(self.config.every));
        let (balancer, pushes) =
            self.balancers[run].as_mut().ok_or_else(|| Error::TooLarge { reason: "a run got lost".to_owned() })?;
        balancer.push(&self.losses).map_err(|error| Error::Backend(error.into()))?;
        *pushes += 1;
        let update = pushes.checked_sub(first).is_some_and(|later| later.is_multiple_of(every));
        Ok((balancer, &self.losses, update))
    }
}

/// Writes what the trainers have.
struct Replay<'w> {
    trainers: Trainers,
    all_steps: bool,
    table: Table<'w>,
    counts: Counts,
}

impl Consumer for Replay<'_> {
    fn take(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        let (balancer, losses, update) = self.trainers.push(step)?;
        self.counts.steps += 1;
        if !update && !self.all_steps {
            return Ok(());
        }
        let status = balancer.status()[0];
        if update {
            self.counts.updates += 1;
            if status.contains(Status::NOT_READY) {
                self.counts.not_ready += 1;
            } else if !status.is_ok() {
                self.counts.flagged += 1;
            }
        }
        let words;
        let status = if status.is_ok() {
            "ok"
        } else {
            words = status.to_string();
            &words
        };
        for ((id, &loss), &weight) in step.components.iter().zip(losses).zip(balancer.weights()) {
            self.table.row(&[
                Cell::Text(step.run_name),
                Cell::Integer(step.step),
                Cell::Text(step.component_names.name(id.0)),
                Cell::Single(loss),
                Cell::Single(weight),
                Cell::Text(status),
            ])?;
        }
        Ok(())
    }
}
