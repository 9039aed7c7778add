//! From rows of a log to a batch: run -> components -> points, whatever the order in which they arrive.

use softadapt::{Shape, ShapeError};
use std::collections::HashMap;

/// Where a value stands: number of the source and line in it, in one word, because there is one for every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

impl Place {
    /// Lines get 40 bits, sources 24: more than can be read.
    const LINE_BITS: u32 = 40;

    pub(crate) fn new(source: usize, line: u64) -> Self {
        Self((source as u64) << Self::LINE_BITS | line & ((1 << Self::LINE_BITS) - 1))
    }

    /// Number of the source, in the order of the command line.
    pub(crate) fn source(self) -> usize {
        (self.0 >> Self::LINE_BITS) as usize
    }

    /// Line, from 1.
    pub(crate) fn line(self) -> u64 {
        self.0 & ((1 << Self::LINE_BITS) - 1)
    }
}

/// What happens if a component of a run has two values for one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnDuplicate {
    /// Stop and name both lines
    Error,
    /// Take the value read last
    Last,
    /// Take the value read first
    First,
}

/// Two values for one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) run: String,
    pub(crate) component: String,
    pub(crate) step: i64,
    pub(crate) first: Place,
    pub(crate) second: Place,
}

/// Handle of a run of a [`Log`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RunId(u32);

/// Handle of a component's name of a [`Log`]; runs share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ComponentId(u32);

#[derive(Clone, Copy, Debug)]
struct Point {
    step: i64,
    value: f64,
    place: Place,
}

/// One component of one run.
#[derive(Debug)]
struct Series {
    component: ComponentId,
    /// Whether the log says that the run has this component: a row in long form, a filled field in wide form. A column
    /// of a wide form that is empty in all rows of a run belongs to other runs.
    named: bool,
    points: Vec<Point>,
}

#[derive(Debug)]
struct Run {
    name: Box<str>,
    /// Positions in `Log::series`, in order of appearance.
    series: Vec<u32>,
}

/// Everything read so far. Readers of all formats fill one of these.
#[derive(Debug, Default)]
pub(crate) struct Log {
    runs: Vec<Run>,
    run_ids: HashMap<Box<str>, RunId>,
    components: Vec<Box<str>>,
    component_ids: HashMap<Box<str>, ComponentId>,
    series: Vec<Series>,
    series_ids: HashMap<(RunId, ComponentId), u32>,
    /// Rows without the header's and blank ones.
    pub(crate) rows: u64,
}

impl Log {
    /// The run of this name, made if it is new.
    pub(crate) fn run(&mut self, name: &str) -> RunId {
        if let Some(&id) = self.run_ids.get(name) {
            return id;
        }
        let id = RunId(self.runs.len() as u32);
        self.runs.push(Run { name: name.into(), series: Vec::new() });
        self.run_ids.insert(name.into(), id);
        id
    }

    /// The component of this name, made if it is new.
    pub(crate) fn component(&mut self, name: &str) -> ComponentId {
        if let Some(&id) = self.component_ids.get(name) {
            return id;
        }
        let id = ComponentId(self.components.len() as u32);
        self.components.push(name.into());
        self.component_ids.insert(name.into(), id);
        id
    }

    /// Adds one value. `named`: the run certainly has this component (see [`Series::named`]).
    pub(crate) fn push(
        &mut self,
        run: RunId,
        component: ComponentId,
        step: i64,
        value: f64,
        place: Place,
        named: bool,
    ) {
        let series = *self.series_ids.entry((run, component)).or_insert_with(|| {
            let id = self.series.len() as u32;
            self.series.push(Series { component, named: false, points: Vec::new() });
            self.runs[run.0 as usize].series.push(id);
            id
        });
        let series = &mut self.series[series as usize];
        series.named |= named;
        series.points.push(Point { step, value, place });
    }

    /// The newest `window` steps of every run.
    ///
    /// A step counts for a run as soon as one of its components appears there; components without a value at it are
    /// missing (NaN).
    ///
    /// # Errors
    /// The duplicate that was read first, unless the policy says which value to take.
    pub(crate) fn into_runs(mut self, window: usize, policy: OnDuplicate) -> Result<Runs, Box<Duplicate>> {
        self.sort(policy)?;
        let mut runs = Runs {
            window,
            names: Vec::with_capacity(self.runs.len()),
            offsets: vec![0],
            components: Vec::with_capacity(self.series.len()),
            component_names: self.components,
            points: Vec::with_capacity(self.runs.len()),
            losses: Vec::new(),
            rows_read: self.rows,
        };
        let mut steps: Vec<i64> = Vec::new();
        for run in self.runs {
            let mut series: Vec<&Series> = run.series.iter().map(|&id| &self.series[id as usize]).collect();
            // A run whose fields are all empty keeps its columns: it must not vanish.
            if series.iter().any(|s| s.named) {
                series.retain(|s| s.named);
            }
            steps.clear();
            // Also those of columns that belong to other runs: a row with empty fields only is a step of its run.
            for &id in &run.series {
                let points = &self.series[id as usize].points;
                steps.extend(points[points.len().saturating_sub(window)..].iter().map(|point| point.step));
            }
            steps.sort_unstable();
            steps.dedup();
            steps.drain(..steps.len().saturating_sub(window));
            for series in series {
                runs.components.push(series.component);
                let start = runs.losses.len();
                // Places before the run's first step are never read.
                runs.losses.resize(start + window, f64::NAN);
                let places = start + window - steps.len();
                let first = series.points.partition_point(|point| Some(&point.step) < steps.first());
                let mut at = 0;
                for point in &series.points[first..] {
                    // Both are sorted, and every point's step is among the steps.
                    while steps[at] != point.step {
                        at += 1;
                    }
                    runs.losses[places + at] = point.value;
                }
            }
            runs.offsets.push(runs.components.len() as u32);
            runs.points.push(steps.len() as u32);
            runs.names.push(run.name);
        }
        Ok(runs)
    }

    /// Sorts the points of every series by step and leaves one for each.
    fn sort(&mut self, policy: OnDuplicate) -> Result<(), Box<Duplicate>> {
        let mut earliest: Option<(u32, Point, (Place, bool))> = None;
        for (id, series) in self.series.iter_mut().enumerate() {
            let points = &mut series.points;
            if points.is_sorted_by(|a, b| a.step < b.step) {
                continue;
            }
            // Stable: values of one step stay in the order in which they were read.
            points.sort_by_key(|point| point.step);
            match policy {
                OnDuplicate::Error => {
                    for pair in points.windows(2).filter(|pair| pair[0].step == pair[1].step) {
                        // Of a line with several, a column that is certainly the run's own says most.
                        let order = (pair[1].place, !series.named);
                        if earliest.is_none_or(|(_, _, least)| order < least) {
                            earliest = Some((id as u32, pair[0], order));
                        }
                    }
                }
                OnDuplicate::First => points.dedup_by_key(|point| point.step),
                OnDuplicate::Last => {
                    points.dedup_by(|later, kept| {
                        let same = later.step == kept.step;
                        if same {
                            *kept = *later;
                        }
                        same
                    });
                }
            }
        }
        let Some((id, first, (second, _))) = earliest else { return Ok(()) };
        let owner = self.runs.iter().find(|run| run.series.contains(&id));
        Err(Box::new(Duplicate {
            run: owner.map(|run| run.name.to_string()).unwrap_or_default(),
            component: self.components[self.series[id as usize].component.0 as usize].to_string(),
            step: first.step,
            first: first.place,
            second,
        }))
    }
}

/// The windows of all runs, as a batch wants them.
#[derive(Debug)]
pub(crate) struct Runs {
    window: usize,
    names: Vec<Box<str>>,
    offsets: Vec<u32>,
    components: Vec<ComponentId>,
    component_names: Vec<Box<str>>,
    points: Vec<u32>,
    losses: Vec<f64>,
    rows_read: u64,
}

impl Runs {
    /// Number of runs.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Number of components of all runs together.
    pub(crate) fn rows(&self) -> usize {
        self.components.len()
    }

    /// Rows of the log.
    pub(crate) fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// Name of a run.
    pub(crate) fn name(&self, run: usize) -> &str {
        &self.names[run]
    }

    /// Names of a run's components, in order of appearance.
    pub(crate) fn components(&self, run: usize) -> impl Iterator<Item = &str> {
        let rows = self.offsets[run] as usize..self.offsets[run + 1] as usize;
        self.components[rows].iter().map(|id| &*self.component_names[id.0 as usize])
    }

    /// Steps of each run within the window.
    pub(crate) fn points(&self) -> &[u32] {
        &self.points
    }

    /// Losses `[run][component][step]`, the newest step last.
    pub(crate) fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// The ragged shape of the batch.
    ///
    /// # Errors
    /// A run with more components than the library takes.
    pub(crate) fn shape(&self) -> Result<Shape, ShapeError> {
        Shape::ragged(self.offsets.clone(), self.window)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// Values `(run, component, step, value)` in the order given; line numbers from 2.
    fn log(values: &[(&str, &str, i64, f64)]) -> Log {
        let mut log = Log::default();
        for (line, &(run, component, step, value)) in values.iter().enumerate() {
            let (run, component) = (log.run(run), log.component(component));
            log.push(run, component, step, value, Place::new(0, line as u64 + 2), true);
        }
        log
    }

    /// NaN as -1, so that windows can be compared.
    fn losses(runs: &Runs) -> Vec<f64> {
        runs.losses().iter().map(|x| if x.is_nan() { -1.0 } else { *x }).collect()
    }

    #[test]
    fn windows_end_at_the_newest_step_of_their_run() {
        let values = [
            ("r", "a", 10, 3.0),
            ("r", "b", 10, 30.0),
            ("s", "c", 7, 5.0),
            ("r", "a", -4, 2.0),
            ("r", "b", 2, 20.0),
            ("r", "a", -9, 1.0),
        ];
        let runs = log(&values).into_runs(3, OnDuplicate::Error).unwrap();
        assert_eq!((runs.len(), runs.rows()), (2, 3));
        assert_eq!(runs.components(0).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(runs.components(1).collect::<Vec<_>>(), ["c"]);
        // Steps -4, 2, 10 of r: a has none at 2, b none at -4; s has one step, at the end of its window.
        assert_eq!(losses(&runs), [2.0, -1.0, 3.0, -1.0, 20.0, 30.0, -1.0, -1.0, 5.0]);
        assert_eq!(runs.points(), [3, 1]);
        assert_eq!(runs.shape().unwrap().offsets(), Some(&[0, 2, 3][..]));
    }

    #[test]
    fn a_component_that_ended_long_ago_is_missing_in_the_window() {
        let values = [("r", "a", 0, 1.0), ("r", "b", 5, 2.0), ("r", "b", 6, 3.0)];
        let runs = log(&values).into_runs(2, OnDuplicate::Error).unwrap();
        assert_eq!(losses(&runs), [-1.0, -1.0, 2.0, 3.0]);
    }

    #[test]
    fn duplicates_follow_the_policy() {
        let values =
            [("r", "a", 1, 1.0), ("r", "b", 0, 9.0), ("r", "a", 0, 2.0), ("r", "a", 1, 3.0), ("r", "b", 0, 8.0)];
        let error = log(&values).into_runs(2, OnDuplicate::Error).unwrap_err();
        assert_eq!((error.run.as_str(), error.component.as_str(), error.step), ("r", "a", 1));
        assert_eq!((error.first.line(), error.second.line()), (2, 5));
        let first = log(&values).into_runs(2, OnDuplicate::First).unwrap();
        assert_eq!(losses(&first), [2.0, 1.0, 9.0, -1.0]);
        let last = log(&values).into_runs(2, OnDuplicate::Last).unwrap();
        assert_eq!(losses(&last), [2.0, 3.0, 8.0, -1.0]);
    }

    #[test]
    fn columns_of_other_runs_are_no_components_but_their_rows_are_steps() {
        let mut log = Log::default();
        let (r, s) = (log.run("r"), log.run("s"));
        let (a, b) = (log.component("a"), log.component("b"));
        for (run, component, step, value, named) in [
            (r, a, 0, 1.0, true),
            (r, b, 0, f64::NAN, false),
            (r, a, 1, f64::NAN, false),
            (r, b, 1, f64::NAN, false),
            (s, a, 0, f64::NAN, false),
            (s, b, 0, f64::NAN, false),
        ] {
            log.push(run, component, step, value, Place::new(0, 2), named);
        }
        let runs = log.into_runs(3, OnDuplicate::Error).unwrap();
        assert_eq!(runs.components(0).collect::<Vec<_>>(), ["a"]);
        assert_eq!(runs.components(1).collect::<Vec<_>>(), ["a", "b"], "an empty run keeps its columns");
        assert_eq!(runs.points(), [2, 1]);
        assert_eq!(losses(&runs)[..3], [-1.0, 1.0, -1.0]);
    }

    #[test]
    fn places_keep_source_and_line() {
        let place = Place::new(3, 5_000_000_000);
        assert_eq!((place.source(), place.line()), (3, 5_000_000_000));
        assert!(Place::new(0, 9) < Place::new(1, 2));
    }
}
