//! From rows of a log to a batch: run -> components -> points, whatever the order in which they arrive.

use crate::error::Failure;
use crate::input::Problem;
use crate::stream::{Consumer, Step};
use indexmap::IndexSet;
use softadapt::{Shape, ShapeError};
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;

/// What a source is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Unit {
    /// Lines of text.
    Line,
    /// Rows of a table.
    Row,
    /// Row groups of a Parquet file.
    RowGroup,
    /// Record batches of an Arrow file or stream.
    Batch,
    /// Records of an event file.
    Record,
}

/// Where a value stands: number of the source, and line, row or record in it, in one word, because there is one for
/// every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(NonZeroU64);

impl Place {
    /// Lines get 40 bits, their unit 3, sources 21: more than can be read.
    const LINE_BITS: u32 = 40;
    const UNIT_BITS: u32 = 3;

    pub(crate) fn new(source: usize, unit: Unit, number: u64) -> Self {
        let unit = (unit as u64) << Self::LINE_BITS;
        let word =
            (source as u64) << (Self::LINE_BITS + Self::UNIT_BITS) | unit | number & ((1 << Self::LINE_BITS) - 1);
        // Numbers start from 1.
        Self(NonZeroU64::new(word).unwrap_or(NonZeroU64::MIN))
    }

    /// Number of the source, in the order in which they are read.
    pub(crate) fn source(self) -> usize {
        (self.0.get() >> (Self::LINE_BITS + Self::UNIT_BITS)) as usize
    }

    /// What [`Self::number`] counts.
    pub(crate) fn unit(self) -> Unit {
        match (self.0.get() >> Self::LINE_BITS) & ((1 << Self::UNIT_BITS) - 1) {
            0 => Unit::Line,
            1 => Unit::Row,
            2 => Unit::RowGroup,
            3 => Unit::Batch,
            _ => Unit::Record,
        }
    }

    /// Line, row or record, from 1.
    pub(crate) fn number(self) -> u64 {
        self.0.get() & ((1 << Self::LINE_BITS) - 1)
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

impl OnDuplicate {
    /// Whether a second value is an error.
    pub(crate) fn refuses(self) -> bool {
        self == Self::Error
    }

    /// Puts a second value where the first stands, if that is what is wanted.
    pub(crate) fn settle<T>(self, kept: &mut T, second: T) {
        if self == Self::Last {
            *kept = second;
        }
    }
}

/// Two values for one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) run: String,
    pub(crate) component: String,
    pub(crate) step: i64,
    /// Not known of a value that has been let go since.
    pub(crate) first: Option<Place>,
    pub(crate) second: Place,
}

/// Handle of a run's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RunId(u32);

impl RunId {
    pub(crate) fn new(number: usize) -> Self {
        Self(number as u32)
    }

    /// Runs are numbered from 0 in order of appearance.
    pub(crate) fn number(self) -> usize {
        self.0 as usize
    }
}

/// Handle of a component's name; runs share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ComponentId(u32);

/// Different names in order of appearance.
#[derive(Debug, Default)]
struct Names(IndexSet<Box<str>>);

impl Names {
    /// The number of this name, which is the next one if it is new.
    fn id(&mut self, name: &str) -> u32 {
        let id = self.0.get_index_of(name).unwrap_or_else(|| self.0.insert_full(name.into()).0);
        id as u32
    }
}

/// What is known of a log besides its losses.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    runs: Names,
    components: Names,
    rows: u64,
    /// Different lists of components: most runs have the same.
    lists: IndexSet<Box<[ComponentId]>>,
    /// Each run's list, as far as it is known.
    list_of: Vec<Option<u32>>,
}

impl Catalog {
    /// Number of runs.
    pub(crate) fn runs(&self) -> usize {
        self.runs.0.len()
    }

    /// Rows of the log, without the header's and blank ones.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Name of a run.
    pub(crate) fn run_name(&self, run: RunId) -> &str {
        &self.runs.0[run.0 as usize]
    }

    /// Name of a component.
    pub(crate) fn component_name(&self, component: ComponentId) -> &str {
        &self.components.0[component.0 as usize]
    }

    /// A run's components, in order of appearance; none as long as nobody has told.
    pub(crate) fn components(&self, run: RunId) -> &[ComponentId] {
        match self.list_of.get(run.0 as usize) {
            Some(&Some(list)) => &self.lists[list as usize],
            _ => &[],
        }
    }

    /// Tells a run's components.
    pub(crate) fn set_components(&mut self, run: RunId, components: &[ComponentId]) {
        let list = self.lists.get_index_of(components).unwrap_or_else(|| self.lists.insert_full(components.into()).0);
        let run = run.0 as usize;
        if self.list_of.len() <= run {
            self.list_of.resize(run + 1, None);
        }
        self.list_of[run] = Some(list as u32);
    }

    /// Two values for one step, in words.
    pub(crate) fn duplicate(
        &self,
        run: RunId,
        component: ComponentId,
        step: i64,
        first: Option<Place>,
        second: Place,
    ) -> Box<Duplicate> {
        let (run, component) = (self.run_name(run).to_owned(), self.component_name(component).to_owned());
        Box::new(Duplicate { run, component, step, first, second })
    }
}

/// What readers of all formats fill.
pub(crate) trait Sink {
    /// Where names are kept.
    fn catalog(&mut self) -> &mut Catalog;

    /// Adds one value. `named`: the run certainly has this component, that is by a row in long form or a filled field in
    /// wide form. A column of a wide form that is empty in all rows of a run belongs to other runs.
    ///
    /// # Errors
    /// What the sink cannot take, such as a step that comes too late.
    fn push(
        &mut self,
        run: RunId,
        component: ComponentId,
        step: i64,
        value: f64,
        place: Place,
        named: bool,
    ) -> Result<(), Problem>;

    /// The run of this name, made if it is new.
    fn run(&mut self, name: &str) -> RunId {
        RunId(self.catalog().runs.id(name))
    }

    /// The component of this name, made if it is new.
    fn component(&mut self, name: &str) -> ComponentId {
        ComponentId(self.catalog().components.id(name))
    }

    /// Counts a row of the log, without the header's and blank ones.
    fn count_row(&mut self) {
        self.catalog().rows += 1;
    }
}

#[derive(Clone, Copy, Debug)]
struct Point {
    step: i64,
    value: f64,
    place: Place,
}

/// Steps whose values have been let go, in little memory: logs count in even strides.
#[derive(Debug, Default)]
struct Steps {
    /// First, last and distance of steps, each range after the one before.
    ranges: Vec<(i64, i64, i64)>,
    /// Steps that came when later ones had been let go already.
    strays: BTreeSet<i64>,
}

impl Steps {
    /// Adds a step beyond all of `ranges`.
    fn append(&mut self, step: i64) {
        if let Some((first, last, distance)) = self.ranges.last_mut() {
            if first == last {
                *distance = step.saturating_sub(*last);
            }
            if step.checked_sub(*last) == Some(*distance) {
                *last = step;
                return;
            }
        }
        self.ranges.push((step, step, 0));
    }

    /// Whether `step` lies among the steps let go, that is, too early to be kept.
    fn reaches(&self, step: i64) -> bool {
        self.ranges.last().is_some_and(|&(_, last, _)| step <= last)
    }

    /// Adds a step that [`Self::reaches`]; whether it is new.
    fn insert(&mut self, step: i64) -> bool {
        let after = self.ranges.partition_point(|&(first, _, _)| first <= step);
        let found = after.checked_sub(1).map(|i| self.ranges[i]).is_some_and(|(first, last, distance)| {
            // In wide integers: the distance of two steps may not fit into one.
            step == first || (step <= last && (i128::from(step) - i128::from(first)) % i128::from(distance.max(1)) == 0)
        });
        !found && self.strays.insert(step)
    }
}

/// One component of one run.
#[derive(Debug)]
struct Series {
    run: RunId,
    component: ComponentId,
    /// See [`Sink::push`].
    named: bool,
    /// Whether every step is later than the one before.
    sorted: bool,
    /// The newest values, and at times some older ones.
    points: Vec<Point>,
    gone: Steps,
}

impl Series {
    /// Sorts the points by step and leaves one for each. The duplicate that was read first, under the policy that
    /// refuses them.
    fn sort(&mut self, policy: OnDuplicate) -> Option<(Point, Place)> {
        if self.sorted {
            return None;
        }
        self.sorted = true;
        let points = &mut self.points;
        // Stable: values of one step stay in the order in which they were read.
        points.sort_by_key(|point| point.step);
        let pairs = points.windows(2).filter(|pair| policy.refuses() && pair[0].step == pair[1].step);
        let earliest = pairs.min_by_key(|pair| pair[1].place).map(|pair| (pair[0], pair[1].place));
        points.dedup_by(|later, kept| {
            let same = later.step == kept.step;
            if same {
                policy.settle(kept, *later);
            }
            same
        });
        earliest
    }
}

#[derive(Debug, Default)]
struct Run {
    /// Positions in `Log::series`, in order of appearance.
    series: Vec<u32>,
    /// Position in `series` of the one whose turn is next: rows mostly come in the same order again and again.
    next: usize,
}

/// The newest steps of every run; everything, if so many are asked for.
///
/// Of older steps it knows only that they were there, so that memory depends on the number of runs, not on their
/// length, as long as steps come in order.
#[derive(Debug)]
pub(crate) struct Log {
    keep: usize,
    policy: OnDuplicate,
    catalog: Catalog,
    runs: Vec<Run>,
    series: Vec<Series>,
    series_ids: HashMap<(RunId, ComponentId), u32>,
    /// The duplicate that was read first: series, first value's step and place, second value's place.
    duplicate: Option<(u32, i64, Option<Place>, Place)>,
}

/// A series is looked for one by one among so many, by its hash among more.
const FEW: usize = 16;

impl Sink for Log {
    fn catalog(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    fn push(
        &mut self,
        run: RunId,
        component: ComponentId,
        step: i64,
        value: f64,
        place: Place,
        named: bool,
    ) -> Result<(), Problem> {
        let id = self.series(run, component);
        let series = &mut self.series[id as usize];
        series.named |= named;
        if series.gone.reaches(step) {
            // Too old to matter, except that it may be there twice.
            if !series.gone.insert(step) && self.policy.refuses() {
                self.note(id, step, None, place);
            }
            return Ok(());
        }
        series.sorted &= series.points.last().is_none_or(|last| last.step < step);
        series.points.push(Point { step, value, place });
        // Some more than needed, so that every point is moved about once.
        if series.points.len() >= self.keep.saturating_mul(2).saturating_add(8) {
            self.shorten(id);
        }
        Ok(())
    }
}

impl Log {
    /// An empty log that keeps the newest `keep` steps.
    pub(crate) fn new(keep: usize, policy: OnDuplicate) -> Self {
        Self {
            keep,
            policy,
            catalog: Catalog::default(),
            runs: Vec::new(),
            series: Vec::new(),
            series_ids: HashMap::new(),
            duplicate: None,
        }
    }

    fn series(&mut self, run: RunId, component: ComponentId) -> u32 {
        if self.runs.len() <= run.number() {
            self.runs.resize_with(run.number() + 1, Run::default);
        }
        let known = &mut self.runs[run.number()];
        let is_it = |&id: &u32| self.series[id as usize].component == component;
        let position = if known.series.get(known.next).is_some_and(is_it) {
            Some(known.next)
        } else if known.series.len() <= FEW {
            known.series.iter().position(is_it)
        } else {
            None
        };
        if let Some(position) = position {
            known.next = if position + 1 == known.series.len() { 0 } else { position + 1 };
            return known.series[position];
        }
        *self.series_ids.entry((run, component)).or_insert_with(|| {
            let id = self.series.len() as u32;
            let (points, gone) = (Vec::new(), Steps::default());
            self.series.push(Series { run, component, named: false, sorted: true, points, gone });
            known.series.push(id);
            id
        })
    }

    /// Lets the oldest points of a series go.
    fn shorten(&mut self, id: u32) {
        self.sort(id);
        let series = &mut self.series[id as usize];
        let excess = series.points.len().saturating_sub(self.keep);
        for point in series.points.drain(..excess) {
            series.gone.append(point.step);
        }
    }

    fn sort(&mut self, id: u32) {
        if let Some((first, second)) = self.series[id as usize].sort(self.policy) {
            self.note(id, first.step, Some(first.place), second);
        }
    }

    fn note(&mut self, id: u32, step: i64, first: Option<Place>, second: Place) {
        // Of a line with several, a column that is certainly the run's own says most.
        let order = |place, id: u32| (place, !self.series[id as usize].named);
        if self.duplicate.is_none_or(|(least, _, _, place)| order(second, id) < order(place, least)) {
            self.duplicate = Some((id, step, first, second));
        }
    }

    /// The newest `window` steps of every run, at most as many as are kept.
    ///
    /// A step counts for a run as soon as one of its components appears there; components without a value at it are
    /// missing (NaN).
    ///
    /// # Errors
    /// The duplicate that was read first, unless the policy says which value to take.
    pub(crate) fn into_runs(mut self) -> Result<Runs, Box<Duplicate>> {
        let window = self.keep;
        self.settle()?;
        let mut runs = Runs {
            window,
            catalog: self.catalog,
            offsets: vec![0],
            components: Vec::with_capacity(self.series.len()),
            points: Vec::with_capacity(self.runs.len()),
            losses: Vec::new(),
        };
        let mut steps: Vec<i64> = Vec::new();
        for run in &self.runs {
            collect_steps(&self.series, run, window, &mut steps);
            for series in own_series(&self.series, run) {
                runs.components.push(series.component);
                let start = runs.losses.len();
                // Places before the run's first step are never read.
                runs.losses.resize(start + window, f64::NAN);
                let places = start + window - steps.len();
                fill(series, &steps, &mut runs.losses[places..]);
            }
            runs.offsets.push(runs.components.len() as u32);
            runs.points.push(steps.len() as u32);
        }
        Ok(runs)
    }

    /// Passes on all steps that are kept, run after run.
    ///
    /// # Errors
    /// What the consumer says; or the duplicate that was read first, unless the policy says which value to take.
    pub(crate) fn each_step(
        mut self,
        consumer: &mut impl Consumer,
    ) -> Result<Catalog, Result<Failure, Box<Duplicate>>> {
        self.settle().map_err(Err)?;
        let (mut steps, mut losses) = (Vec::new(), Vec::new());
        for (id, run) in self.runs.iter().enumerate() {
            collect_steps(&self.series, run, usize::MAX, &mut steps);
            let series: Vec<&Series> = own_series(&self.series, run).collect();
            let components: Vec<ComponentId> = series.iter().map(|series| series.component).collect();
            let run = RunId::new(id);
            self.catalog.set_components(run, &components);
            // Series by series as it is stored, then turned.
            let mut stored = vec![f64::NAN; series.len() * steps.len()];
            for (series, stored) in series.iter().zip(stored.chunks_mut(steps.len().max(1))) {
                fill(series, &steps, stored);
            }
            for (at, &step) in steps.iter().enumerate() {
                losses.clear();
                losses.extend((0..series.len()).map(|row| stored[row * steps.len() + at]));
                consumer.take(&Step { run, step, losses: &losses, catalog: &self.catalog }).map_err(Ok)?;
            }
        }
        Ok(self.catalog)
    }

    /// Sorts what is not sorted yet.
    fn settle(&mut self) -> Result<(), Box<Duplicate>> {
        for id in 0..self.series.len() as u32 {
            self.sort(id);
        }
        let Some((id, step, first, second)) = self.duplicate else { return Ok(()) };
        let series = &self.series[id as usize];
        Err(self.catalog.duplicate(series.run, series.component, step, first, second))
    }
}

/// The components that a run has.
fn own_series<'a>(all: &'a [Series], run: &'a Run) -> impl Iterator<Item = &'a Series> {
    // A run whose fields are all empty keeps its columns: it must not vanish.
    let any_named = run.series.iter().any(|&id| all[id as usize].named);
    run.series.iter().map(|&id| &all[id as usize]).filter(move |series| series.named || !any_named)
}

/// The newest steps of a run: also those of columns that belong to other runs, for a row with empty fields only is a step
/// of its run.
fn collect_steps(all: &[Series], run: &Run, window: usize, steps: &mut Vec<i64>) {
    steps.clear();
    for &id in &run.series {
        let points = &all[id as usize].points;
        steps.extend(points[points.len().saturating_sub(window)..].iter().map(|point| point.step));
    }
    steps.sort_unstable();
    steps.dedup();
    steps.drain(..steps.len().saturating_sub(window));
}

/// Puts the values of a series where their steps stand.
fn fill(series: &Series, steps: &[i64], losses: &mut [f64]) {
    let first = series.points.partition_point(|point| Some(&point.step) < steps.first());
    let mut at = 0;
    for point in &series.points[first..] {
        // Both are sorted, and every point's step is among the steps.
        while steps[at] != point.step {
            at += 1;
        }
        losses[at] = point.value;
    }
}

/// The windows of all runs, as a batch wants them.
#[derive(Debug)]
pub(crate) struct Runs {
    window: usize,
    catalog: Catalog,
    offsets: Vec<u32>,
    components: Vec<ComponentId>,
    points: Vec<u32>,
    losses: Vec<f64>,
}

impl Runs {
    /// Number of runs.
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    /// Number of components of all runs together.
    pub(crate) fn rows(&self) -> usize {
        self.components.len()
    }

    /// Rows of the log.
    pub(crate) fn rows_read(&self) -> u64 {
        self.catalog.rows()
    }

    /// Name of a run.
    pub(crate) fn name(&self, run: usize) -> &str {
        self.catalog.run_name(RunId::new(run))
    }

    /// Names of a run's components, in order of appearance.
    pub(crate) fn components(&self, run: usize) -> impl Iterator<Item = &str> {
        let rows = self.offsets[run] as usize..self.offsets[run + 1] as usize;
        self.components[rows].iter().map(|&id| self.catalog.component_name(id))
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
    fn log(values: &[(&str, &str, i64, f64)], keep: usize, policy: OnDuplicate) -> Log {
        let mut log = Log::new(keep, policy);
        for (line, &(run, component, step, value)) in values.iter().enumerate() {
            let (run, component) = (log.run(run), log.component(component));
            log.push(run, component, step, value, Place::new(0, Unit::Line, line as u64 + 2), true).unwrap();
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
        let runs = log(&values, 3, OnDuplicate::Error).into_runs().unwrap();
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
        let runs = log(&values, 2, OnDuplicate::Error).into_runs().unwrap();
        assert_eq!(losses(&runs), [-1.0, -1.0, 2.0, 3.0]);
    }

    #[test]
    fn duplicates_follow_the_policy() {
        let values =
            [("r", "a", 1, 1.0), ("r", "b", 0, 9.0), ("r", "a", 0, 2.0), ("r", "a", 1, 3.0), ("r", "b", 0, 8.0)];
        let error = log(&values, 2, OnDuplicate::Error).into_runs().unwrap_err();
        assert_eq!((error.run.as_str(), error.component.as_str(), error.step), ("r", "a", 1));
        assert_eq!((error.first.map(Place::number), error.second.number()), (Some(2), 5));
        let first = log(&values, 2, OnDuplicate::First).into_runs().unwrap();
        assert_eq!(losses(&first), [2.0, 1.0, 9.0, -1.0]);
        let last = log(&values, 2, OnDuplicate::Last).into_runs().unwrap();
        assert_eq!(losses(&last), [2.0, 3.0, 8.0, -1.0]);
    }

    #[test]
    fn columns_of_other_runs_are_no_components_but_their_rows_are_steps() {
        let mut log = Log::new(3, OnDuplicate::Error);
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
            log.push(run, component, step, value, Place::new(0, Unit::Line, 2), named).unwrap();
        }
        let runs = log.into_runs().unwrap();
        assert_eq!(runs.components(0).collect::<Vec<_>>(), ["a"]);
        assert_eq!(runs.components(1).collect::<Vec<_>>(), ["a", "b"], "an empty run keeps its columns");
        assert_eq!(runs.points(), [2, 1]);
        assert_eq!(losses(&runs)[..3], [-1.0, 1.0, -1.0]);
    }

    #[test]
    fn long_series_keep_their_newest_steps_and_know_of_all_others() {
        // Strides of 1, then 10; enough to let many go.
        let steps: Vec<i64> = (-50..50).chain((60..1000).step_by(10)).collect();
        let values: Vec<(&str, &str, i64, f64)> = steps.iter().map(|&step| ("r", "a", step, step as f64)).collect();
        let whole = log(&values, 3, OnDuplicate::Error);
        assert!(whole.series[0].points.len() < 20 && whole.series[0].gone.ranges.len() <= 3);
        assert_eq!(losses(&whole.into_runs().unwrap()), [970.0, 980.0, 990.0]);
        // In any order, backward too.
        for stride in [7, 101, steps.len() - 1] {
            let shuffled: Vec<_> = (0..values.len()).map(|i| values[i * stride % values.len()]).collect();
            let runs = log(&shuffled, 3, OnDuplicate::Error).into_runs().unwrap();
            assert_eq!(losses(&runs), [970.0, 980.0, 990.0], "{stride}");
        }
        for (at, step) in steps.iter().enumerate() {
            for policy in [OnDuplicate::Error, OnDuplicate::First, OnDuplicate::Last] {
                let mut doubled = values.clone();
                doubled.push(("r", "a", *step, -7.0));
                let newest = match (policy, at + 3 >= steps.len()) {
                    (OnDuplicate::Last, true) => -7.0,
                    _ => *step as f64,
                };
                match log(&doubled, 3, policy).into_runs() {
                    Ok(runs) => assert!(at + 3 < steps.len() || losses(&runs).contains(&newest)),
                    Err(error) => {
                        assert_eq!((error.step, error.second.number()), (*step, steps.len() as u64 + 2));
                        assert_eq!(policy, OnDuplicate::Error);
                        continue;
                    }
                }
                assert_ne!(policy, OnDuplicate::Error, "{step} is there twice");
            }
        }
        for missing in [-51, 55, 61, 69] {
            let mut more = values.clone();
            more.push(("r", "a", missing, 0.0));
            more.push(("r", "b", missing, 0.0));
            assert!(log(&more, 3, OnDuplicate::Error).into_runs().is_ok(), "{missing}");
        }
    }

    #[test]
    fn steps_at_the_ends_of_the_range_are_steps() {
        let values: Vec<_> = [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX].map(|step| ("r", "a", step, step as f64)).into();
        for policy in [OnDuplicate::Error, OnDuplicate::First] {
            let doubled: Vec<_> = values.iter().chain(&values).chain(&values).chain(&values).copied().collect();
            assert_eq!(log(&doubled, 1, policy).into_runs().is_ok(), policy == OnDuplicate::First);
        }
        assert_eq!(losses(&log(&values, 1, OnDuplicate::Error).into_runs().unwrap()), [i64::MAX as f64]);
    }

    #[test]
    fn places_keep_source_unit_and_number() {
        for unit in [Unit::Line, Unit::Row, Unit::RowGroup, Unit::Batch, Unit::Record] {
            let place = Place::new(3, unit, 5_000_000_000);
            assert_eq!((place.source(), place.unit(), place.number()), (3, unit, 5_000_000_000));
        }
        assert!(Place::new(0, Unit::Record, 9) < Place::new(1, Unit::Line, 2));
    }
}
