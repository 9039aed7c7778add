//! `softadapt sweep`: many settings at once, over every step of every run.
//!
//! Settings that differ in beta only are groups of one batch; variants, slopes, orders and windows are batches of their own
//! over the same steps. Steps stream through in chunks.

mod heat_map;
mod summary;

use crate::args::SweepArguments;
use crate::backend::{Answer, Backend};
use crate::error::{Error, Failure};
use crate::input;
use crate::output::{Cell, Kind, Output, Table};
use crate::plot::Picture;
use crate::runs::{Catalog, RunId};
use crate::stream::{self, Consumer, Step};
use crate::weigh::window_error;
use softadapt::{Config, Plan, Shape, ShapeError, Status};
use std::io::{self, Write};
use std::time::Instant;
use summary::Tally;

/// Losses in the windows of a chunk, about 8 MiB.
const CHUNK: usize = 1 << 20;

/// A combination of the options.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Words that tell it from the others.
    pub(crate) name: String,
    pub(crate) variant: &'static str,
    pub(crate) slope: &'static str,
    /// The one that is used; 0 of a slope without one.
    pub(crate) order: u32,
    pub(crate) window: usize,
    pub(crate) beta: f64,
}

/// Settings that differ in beta only.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) config: Config,
    pub(crate) window: usize,
    pub(crate) settings: Vec<Setting>,
}

/// Runs the command.
///
/// # Errors
/// Options that make no sense, bad data, or a read or write that fails; then nothing is written under the output's name.
pub(crate) fn run(arguments: &SweepArguments) -> Result<(), Error> {
    let start = Instant::now();
    let families = arguments.settings.families()?;
    // What can be refused is refused before the first byte is read.
    for family in &families {
        let nothing = Shape::ragged(vec![0], family.window).map_err(|error| window_error(&error))?;
        for setting in &family.settings {
            Plan::new(family.config.clone().with_beta(setting.beta), nothing.clone())
                .map_err(|error| Error::Setting { name: setting.name.clone(), error: Box::new(error.into()) })?;
        }
    }
    let sources = input::sources(&arguments.log.input.files)?;
    let output = Output::new(arguments.output.output.as_deref())?;
    let summary = arguments.summary.as_deref().map(|path| Output::new(Some(path))).transpose()?;
    let heat_map = arguments.heat_map.as_deref().map(Picture::new).transpose()?;
    let backend = Backend::open(&arguments.backend)?;
    let mut told = None;
    output.write_from(|out| {
        let kind = if matches!(backend, Backend::Reference) { Kind::Double } else { Kind::Single };
        let settings: Vec<&Setting> = families.iter().flat_map(|family| &family.settings).collect();
        let mut columns = vec![("run".to_owned(), Kind::Text)];
        if arguments.every_step {
            columns.push(("step".to_owned(), Kind::Integer));
        }
        columns.push(("component".to_owned(), Kind::Text));
        columns.extend(settings.iter().map(|setting| (setting.name.clone(), kind)));
        let sweep = Sweep {
            window: families.iter().map(|family| family.window).max().unwrap_or_default(),
            tallies: settings.iter().map(|_| Tally::default()).collect(),
            families: &families,
            backend: &backend,
            kind,
            every_step: arguments.every_step,
            table: Table::new(out, arguments.output.format(), columns)?,
            runs: Vec::new(),
            pending: Vec::new(),
            recent: Vec::new(),
            rows: 0,
        };
        let (mut sweep, catalog) = stream::run(&arguments.log, &sources, sweep)?;
        sweep.flush(&catalog)?;
        if !arguments.every_step {
            sweep.write_last(&catalog)?;
        }
        told = Some((sweep.tallies, catalog));
        Ok(sweep.table.finish()?)
    })?;
    let Some((tallies, catalog)) = told else { return Ok(()) };
    let lines: Vec<(&Setting, &Tally)> = families.iter().flat_map(|family| &family.settings).zip(&tallies).collect();
    if let Some(output) = summary {
        output.write(|out| summary::write(out, arguments.summary_format(), &lines))?;
    }
    if let Some(picture) = heat_map {
        let settings = families.iter().map(|family| family.settings.len());
        heat_map::draw(&picture, &lines, &settings.collect::<Vec<_>>())?;
    }
    if !arguments.log.input.quiet {
        let mut err = io::stderr().lock();
        // Nothing depends on it: a closed standard error is no reason to fail.
        let _ = summary::print(&mut err, &lines);
        let counted = [(catalog.runs() as u64, "run"), (catalog.rows(), "row"), (sources.len() as u64, "source")];
        let [runs, rows, sources] = counted.map(|(number, noun)| crate::summary::count(number, noun));
        let _ = writeln!(
            err,
            "{runs}; {rows} read from {sources}; {:.2} s in all, {backend}",
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// What is known of a run so far.
#[derive(Debug)]
struct Run {
    components: usize,
    /// The newest losses, `[step][component]`, at times some older ones.
    losses: Vec<f64>,
    /// The newest weights, `[setting][component]`, and whether they are of a window that was long enough.
    weights: Vec<f64>,
    ready: Vec<bool>,
}

/// A step that has not been weighed yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    run: RunId,
    step: i64,
    /// Steps of its run up to it, as far as any setting looks.
    points: usize,
    /// Where its losses start in `Sweep::recent`.
    start: usize,
}

struct Sweep<'a, 'w> {
    families: &'a [Family],
    backend: &'a Backend,
    /// The longest one.
    window: usize,
    kind: Kind,
    every_step: bool,
    table: Table<'w>,
    runs: Vec<Option<Run>>,
    pending: Vec<Pending>,
    /// Losses of the pending steps' windows, `[step][point][component]`.
    recent: Vec<f64>,
    /// Components of all pending steps together.
    rows: usize,
    tallies: Vec<Tally>,
}

impl Consumer for Sweep<'_, '_> {
    fn take(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        let number = step.run.number();
        if self.runs.len() <= number {
            self.runs.resize_with(number + 1, || None);
        }
        let components = step.losses.len();
        let settings = self.tallies.len();
        let run = self.runs[number].get_or_insert_with(|| Run {
            components,
            losses: Vec::new(),
            weights: vec![f64::NAN; settings * components],
            ready: vec![false; settings],
        });
        run.losses.extend(step.losses);
        let keep = self.window * components;
        if run.losses.len() >= 2 * keep.max(1) {
            run.losses.drain(..run.losses.len() - keep);
        }
        let newest = &run.losses[run.losses.len().saturating_sub(keep)..];
        let points = newest.len().checked_div(components).unwrap_or_default();
        self.pending.push(Pending { run: step.run, step: step.step, points, start: self.recent.len() });
        self.recent.extend(newest);
        self.rows += components;
        // A batch holds every window in full, and for every beta.
        let widest = self.families.iter().map(|family| family.window * family.settings.len()).max().unwrap_or(1);
        if self.rows.saturating_mul(widest) >= CHUNK {
            self.flush(step.catalog)?;
        }
        Ok(())
    }
}

impl Sweep<'_, '_> {
    /// Weighs the pending steps under all settings.
    fn flush(&mut self, catalog: &Catalog) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut answers = Vec::with_capacity(self.families.len());
        for family in self.families {
            answers.push(self.weigh(family, catalog)?);
        }
        // Weights of a batch lie as its groups do: beta by beta, step by step.
        let mut row = 0;
        for pending in &self.pending {
            let Some(run) = &mut self.runs[pending.run.number()] else { continue };
            let n = run.components;
            let mut setting = 0;
            for (family, (weights, status)) in self.families.iter().zip(&answers) {
                for beta in 0..family.settings.len() {
                    let start = beta * self.rows + row;
                    let step = beta * self.pending.len() + status.position;
                    let new = &weights[start..start + n];
                    let old = &mut run.weights[setting * n..(setting + 1) * n];
                    let ready = self.tallies[setting].add(status.words[step], new, old, run.ready[setting]);
                    run.ready[setting] = ready;
                    old.copy_from_slice(new);
                    setting += 1;
                }
            }
            if self.every_step {
                write_run(&mut self.table, catalog, pending.run, run, Some(pending.step), self.kind)?;
            }
            for (_, status) in &mut answers {
                status.position += 1;
            }
            row += n;
        }
        self.pending.clear();
        self.recent.clear();
        self.rows = 0;
        Ok(())
    }

    /// Weights of the pending steps for all betas of a family.
    fn weigh(&self, family: &Family, catalog: &Catalog) -> Result<(Vec<f64>, Statuses), Error> {
        let window = family.window;
        let betas = family.settings.len();
        let mut offsets: Vec<u32> = vec![0];
        let mut points = Vec::with_capacity(betas * self.pending.len());
        let mut losses = Vec::with_capacity(betas * self.rows * window);
        for pending in &self.pending {
            let Some(run) = &self.runs[pending.run.number()] else { continue };
            let n = run.components;
            let used = pending.points.min(window);
            // From [step][component] to [component][step], the newest at the end.
            let newest = &self.recent[pending.start + (pending.points - used) * n..][..used * n];
            for component in 0..n {
                losses.resize(losses.len() + window - used, f64::NAN);
                losses.extend((0..used).map(|point| newest[point * n + component]));
            }
            points.push(used as u32);
        }
        let (once, groups) = (losses.len(), points.len());
        for _ in 1..betas {
            losses.extend_from_within(..once);
            points.extend_from_within(..groups);
        }
        for _ in 0..betas {
            for pending in &self.pending {
                let n = self.runs[pending.run.number()].as_ref().map_or(0, |run| run.components);
                offsets.push(offsets.last().copied().unwrap_or_default() + n as u32);
            }
        }
        let each: Vec<f64> =
            family.settings.iter().flat_map(|setting| std::iter::repeat_n(setting.beta, groups)).collect();
        let shape = Shape::ragged(offsets, window).map_err(|error| match error {
            ShapeError::Components { group: Some(group), components } => {
                let pending = self.pending.get(group % groups.max(1));
                let name = pending.map_or("", |pending| catalog.run_name(pending.run));
                Error::Components { run: name.to_owned(), components }
            }
            error => Error::TooLarge { reason: error.to_string() },
        })?;
        let plan = Plan::new(family.config.clone(), shape)?;
        let (weights, words) = match self.backend.weigh(&plan, &losses, &points, Some(&each))? {
            Answer::Single(answer) => (answer.weights.into_iter().map(f64::from).collect(), answer.status),
            Answer::Double(answer) => (answer.weights, answer.status),
        };
        Ok((weights, Statuses { words, position: 0 }))
    }

    /// Writes the weights after the last step of every run.
    fn write_last(&mut self, catalog: &Catalog) -> Result<(), Failure> {
        for (number, run) in self.runs.iter().enumerate() {
            if let Some(run) = run {
                write_run(&mut self.table, catalog, RunId::new(number), run, None, self.kind)?;
            }
        }
        Ok(())
    }
}

/// Status words of a batch, and which step of it is looked at.
struct Statuses {
    words: Vec<Status>,
    position: usize,
}

/// Writes the newest weights of a run, a line a component.
fn write_run(
    table: &mut Table<'_>,
    catalog: &Catalog,
    id: RunId,
    run: &Run,
    step: Option<i64>,
    kind: Kind,
) -> io::Result<()> {
    let mut cells = Vec::with_capacity(3 + run.ready.len());
    for (component, &name) in catalog.components(id).iter().enumerate() {
        cells.clear();
        cells.push(Cell::Text(catalog.run_name(id)));
        cells.extend(step.map(Cell::Integer));
        cells.push(Cell::Text(catalog.component_name(name)));
        cells.extend(run.weights.iter().skip(component).step_by(run.components).map(|&weight| match kind {
            Kind::Double => Cell::Double(weight),
            // It was one before.
            _ => Cell::Single(weight as f32),
        }));
        table.row(&cells)?;
    }
    Ok(())
}
