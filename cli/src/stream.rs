//! A log step by step while it is read: what `replay` and `sweep` work on, in memory that does not grow with the log.
//!
//! A run's step is complete as soon as a later step of the run begins, or the log ends. So the steps of a run have to come
//! in order, and its components at its first step; runs may come one after the other or side by side. Logs in another
//! order have to be held in memory and sorted first: [`Log::each_step`].

use crate::error::Failure;
use crate::input::Problem;
use crate::runs::{ComponentId, Duplicate, Log, Names, OnDuplicate, Place, RunId, Sink};

/// All losses of one step of a run.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    /// Runs are numbered in order of appearance.
    pub(crate) run: RunId,
    pub(crate) run_name: &'a str,
    /// The same for all steps of a run.
    pub(crate) components: &'a [ComponentId],
    pub(crate) component_names: &'a Names,
    pub(crate) step: i64,
    /// One for each component; NaN where it is missing.
    pub(crate) losses: &'a [f64],
}

/// Takes steps, those of one run in order.
pub(crate) trait Consumer {
    /// Takes one step.
    ///
    /// # Errors
    /// Why there is no use in more.
    fn take(&mut self, step: &Step<'_>) -> Result<(), Failure>;
}

/// The step of a run that is being read.
#[derive(Debug, Default)]
struct Open {
    components: Vec<ComponentId>,
    /// Whether a component is the run's for certain, see [`Sink::push`].
    named: Vec<bool>,
    losses: Vec<f64>,
    /// Where the losses stand; `None` where there are none yet.
    places: Vec<Option<Place>>,
    step: Option<i64>,
    /// Whether a step has been passed on: from then on components are fixed.
    fixed: bool,
    /// Position of the component whose turn is next.
    next: usize,
}

impl Open {
    fn position(&self, component: ComponentId) -> Option<usize> {
        if self.components.get(self.next) == Some(&component) {
            return Some(self.next);
        }
        self.components.iter().position(|&other| other == component)
    }

    /// Leaves out columns that belong to other runs; a run whose fields are all empty keeps them.
    fn fix(&mut self) {
        if !self.fixed && self.named.contains(&true) {
            let mut named = self.named.iter().copied();
            self.components.retain(|_| named.next().unwrap_or(true));
            let mut named = self.named.iter().copied();
            self.losses.retain(|_| named.next().unwrap_or(true));
            self.places.truncate(self.components.len());
        }
        self.fixed = true;
    }
}

/// Puts steps together and passes them on.
#[derive(Debug)]
pub(crate) struct Stream<C> {
    pub(crate) consumer: C,
    policy: OnDuplicate,
    run_names: Names,
    component_names: Names,
    runs: Vec<Open>,
    rows: u64,
    /// Why the consumer wants no more.
    failure: Option<Failure>,
}

impl<C: Consumer> Stream<C> {
    pub(crate) fn new(policy: OnDuplicate, consumer: C) -> Self {
        Self {
            consumer,
            policy,
            run_names: Names::default(),
            component_names: Names::default(),
            runs: Vec::new(),
            rows: 0,
            failure: None,
        }
    }

    /// Why reading was stopped, if it was the consumer.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Passes on the last step of every run. Returns the consumer, and how many runs and rows there were.
    ///
    /// # Errors
    /// What the consumer says.
    pub(crate) fn finish(mut self) -> Result<(C, usize, u64), Failure> {
        for run in 0..self.runs.len() {
            self.close(RunId(run as u32))?;
        }
        Ok((self.consumer, self.runs.len(), self.rows))
    }

    fn close(&mut self, run: RunId) -> Result<(), Failure> {
        let open = &mut self.runs[run.0 as usize];
        let Some(step) = open.step else { return Ok(()) };
        open.fix();
        self.consumer.take(&Step {
            run,
            run_name: self.run_names.name(run.0),
            components: &open.components,
            component_names: &self.component_names,
            step,
            losses: &open.losses,
        })?;
        open.losses.fill(f64::NAN);
        open.places.fill(None);
        Ok(())
    }
}

impl<C: Consumer> Sink for Stream<C> {
    fn run(&mut self, name: &str) -> RunId {
        let id = self.run_names.id(name);
        if id as usize == self.runs.len() {
            self.runs.push(Open::default());
        }
        RunId(id)
    }

    fn component(&mut self, name: &str) -> ComponentId {
        ComponentId(self.component_names.id(name))
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
        let open = &mut self.runs[run.0 as usize];
        match open.step {
            Some(current) if step < current => {
                let run = self.run_names.name(run.0).to_owned();
                return Err(Problem::StepTooLate { run, step, after: current });
            }
            Some(current) if step > current => {
                if let Err(failure) = self.close(run) {
                    self.failure = Some(failure);
                    return Err(Problem::Stopped);
                }
            }
            _ => {}
        }
        let open = &mut self.runs[run.0 as usize];
        open.step = Some(step);
        let position = match open.position(component) {
            Some(position) => position,
            None if open.fixed => {
                // A column of other runs.
                if !named && value.is_nan() {
                    return Ok(());
                }
                return Err(Problem::ComponentTooLate {
                    run: self.run_names.name(run.0).to_owned(),
                    component: self.component_names.name(component.0).to_owned(),
                    step,
                });
            }
            None => {
                open.components.push(component);
                open.named.push(false);
                open.losses.push(f64::NAN);
                open.places.push(None);
                open.components.len() - 1
            }
        };
        open.next = if position + 1 == open.components.len() { 0 } else { position + 1 };
        if !open.fixed {
            open.named[position] |= named;
        }
        if let Some(first) = open.places[position] {
            match self.policy {
                OnDuplicate::Error => {
                    return Err(Problem::Doubled(Box::new(Duplicate {
                        run: self.run_names.name(run.0).to_owned(),
                        component: self.component_names.name(component.0).to_owned(),
                        step,
                        first: Some(first),
                        second: place,
                    })));
                }
                OnDuplicate::First => return Ok(()),
                OnDuplicate::Last => {}
            }
        }
        open.losses[position] = value;
        open.places[position] = Some(place);
        Ok(())
    }

    fn count_row(&mut self) {
        self.rows += 1;
    }
}

/// Reads a log and passes its steps on; `sort`: through memory, in any order. Returns the consumer, and how many runs and
/// rows there were.
///
/// # Errors
/// Bad data, a log that is not in order, or what the consumer says.
pub(crate) fn run<C: Consumer>(
    arguments: &crate::args::InputArguments,
    sources: &[crate::input::Source],
    sort: bool,
    show_progress: bool,
    mut consumer: C,
) -> Result<(C, usize, u64), Failure> {
    let options = arguments.options();
    if sort {
        let mut log = Log::new(usize::MAX, arguments.on_duplicate);
        crate::input::read_noted(sources, &options, show_progress, &mut log)?;
        let duplicate = |duplicate: Box<Duplicate>| crate::input::InputError::duplicate(sources, *duplicate);
        let (runs, rows) = log.each_step(&mut consumer).map_err(|error| match error {
            Ok(failure) => failure,
            Err(error) => Failure::from(crate::error::Error::from(duplicate(error))),
        })?;
        return Ok((consumer, runs, rows));
    }
    let mut stream = Stream::new(arguments.on_duplicate, consumer);
    if let Err(error) = crate::input::read_noted(sources, &options, show_progress, &mut stream) {
        return Err(stream.take_failure().unwrap_or(error.into()));
    }
    stream.finish()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::runs::Unit;

    #[derive(Default)]
    struct Told(Vec<String>);

    impl Consumer for Told {
        fn take(&mut self, step: &Step<'_>) -> Result<(), Failure> {
            let losses: Vec<String> = step
                .components
                .iter()
                .zip(step.losses)
                .map(|(id, loss)| format!("{}={loss}", step.component_names.name(id.0)))
                .collect();
            self.0.push(format!("{}{} {}", step.run_name, step.step, losses.join(" ")));
            Ok(())
        }
    }

    type Value<'a> = (&'a str, &'a str, i64, f64, bool);

    fn fill(sink: &mut dyn Sink, values: &[Value<'_>]) -> Result<(), Problem> {
        for (line, &(run, component, step, value, named)) in values.iter().enumerate() {
            let (run, component) = (sink.run(run), sink.component(component));
            sink.push(run, component, step, value, Place::new(0, Unit::Line, line as u64 + 2), named)?;
        }
        Ok(())
    }

    /// Steps as the stream passes them on, and the same through memory, run by run.
    fn told(values: &[Value<'_>], policy: OnDuplicate) -> Result<(Vec<String>, Vec<String>), String> {
        let mut stream = Stream::new(policy, Told::default());
        fill(&mut stream, values).map_err(|problem| problem.to_string())?;
        let (streamed, ..) = stream.finish().map_err(|_| "failure")?;
        let mut log = Log::new(usize::MAX, policy);
        fill(&mut log, values).unwrap();
        let mut sorted = Told::default();
        log.each_step(&mut sorted).map_err(|_| "failure")?;
        Ok((streamed.0, sorted.0))
    }

    #[test]
    fn steps_are_complete_when_a_later_one_begins() {
        let (a, b, c) = ("a", "b", "c");
        let values = [
            ("r", a, 0, 1.0, true),
            ("r", b, 0, 2.0, true),
            ("s", c, -5, 3.0, true),
            ("r", b, 1, 4.0, true),
            ("s", c, 7, 5.0, true),
            ("r", a, 3, 6.0, true),
            ("r", b, 3, 7.0, true),
        ];
        let (streamed, mut sorted) = told(&values, OnDuplicate::Error).unwrap();
        assert_eq!(streamed, ["r0 a=1 b=2", "s-5 c=3", "r1 a=NaN b=4", "r3 a=6 b=7", "s7 c=5"]);
        sorted.swap(2, 3);
        sorted.swap(1, 2);
        assert_eq!(streamed, sorted, "the same steps");
    }

    #[test]
    fn columns_of_other_runs_are_no_components() {
        let empty = f64::NAN;
        let values = [
            ("r", "a", 0, empty, false),
            ("r", "b", 0, 1.0, true),
            ("r", "a", 1, empty, false),
            ("r", "b", 1, empty, false),
            ("s", "a", 0, empty, false),
            ("s", "b", 0, empty, false),
        ];
        let (streamed, sorted) = told(&values, OnDuplicate::Error).unwrap();
        assert_eq!(streamed, ["r0 b=1", "r1 b=NaN", "s0 a=NaN b=NaN"]);
        assert_eq!(streamed, sorted);
    }

    #[test]
    fn duplicates_follow_the_policy_and_disorder_is_refused() {
        let doubled = [("r", "a", 0, 1.0, true), ("r", "a", 0, 2.0, true)];
        assert_eq!(told(&doubled, OnDuplicate::First).unwrap().0, ["r0 a=1"]);
        assert_eq!(told(&doubled, OnDuplicate::Last).unwrap().0, ["r0 a=2"]);
        assert!(told(&doubled, OnDuplicate::Error).is_err());
        let late = [("r", "a", 1, 1.0, true), ("r", "a", 0, 2.0, true)];
        let message = told(&late, OnDuplicate::Error).unwrap_err();
        assert!(message.contains("step 0 of run \"r\" comes after its step 1"), "{message}");
        let new = [("r", "a", 0, 1.0, true), ("r", "a", 1, 2.0, true), ("r", "b", 1, 2.0, true)];
        let message = told(&new, OnDuplicate::Error).unwrap_err();
        assert!(message.contains("component \"b\" of run \"r\" appears at step 1 only"), "{message}");
    }
}
