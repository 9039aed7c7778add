//! A log step by step while it is read: what `replay` and `sweep` work on, in memory that does not grow with the log.
//!
//! A run's step is complete as soon as a later step of the run begins, or the log ends. So the steps of a run have to come
//! in order, and its components at its first step; runs may come one after the other or side by side. Logs in another
//! order have to be held in memory and sorted first: [`Log::each_step`].

use crate::args::LogArguments;
use crate::error::{Error, Failure};
use crate::input::{self, InputError, Problem, Source};
use crate::runs::{Catalog, ComponentId, Log, OnDuplicate, Place, RunId, Sink};

/// All losses of one step of a run.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) run: RunId,
    pub(crate) step: i64,
    /// One for each of the run's components, which are the same at all its steps; NaN where it is missing.
    pub(crate) losses: &'a [f64],
    /// Names, and the run's components.
    pub(crate) catalog: &'a Catalog,
}

impl<'a> Step<'a> {
    /// The run's name.
    pub(crate) fn run_name(&self) -> &'a str {
        self.catalog.run_name(self.run)
    }

    /// Names of the run's components.
    pub(crate) fn components(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let catalog = self.catalog;
        catalog.components(self.run).iter().map(move |&id| catalog.component_name(id))
    }
}

/// Takes steps, those of one run in order.
pub(crate) trait Consumer {
    /// Takes one step.
    ///
    /// # Errors
    /// Why there is no use in more.
    fn take(&mut self, step: &Step<'_>) -> Result<(), Failure>;
}

/// The step of a run that is being read. There is one for every run: small, because there may be many.
#[derive(Debug, Default)]
struct Open {
    /// Of the first step: its components, and whether each is the run's for certain, see [`Sink::push`].
    new: Vec<(ComponentId, bool)>,
    losses: Vec<f64>,
    /// Where the losses stand; `None` where there are none yet.
    places: Vec<Option<Place>>,
    step: Option<i64>,
    /// Position of the component whose turn is next.
    next: u32,
    /// Whether a step has been passed on: from then on the catalog has the components.
    fixed: bool,
}

impl Open {
    fn position(&self, component: ComponentId, fixed: &[ComponentId]) -> Option<usize> {
        let next = self.next as usize;
        if self.fixed {
            let at_next = fixed.get(next) == Some(&component);
            return at_next.then_some(next).or_else(|| fixed.iter().position(|&other| other == component));
        }
        let is_it = |&(other, _): &(ComponentId, bool)| other == component;
        self.new.get(next).is_some_and(is_it).then_some(next).or_else(|| self.new.iter().position(is_it))
    }

    /// Leaves out columns that belong to other runs; a run whose fields are all empty keeps them. Returns the components.
    fn fix(&mut self) -> Vec<ComponentId> {
        let any_named = self.new.iter().any(|&(_, named)| named);
        let mut stays = self.new.iter().map(|&(_, named)| named || !any_named);
        self.losses.retain(|_| stays.next().unwrap_or(true));
        self.losses.shrink_to_fit();
        self.places = vec![None; self.losses.len()];
        self.fixed = true;
        let new = std::mem::take(&mut self.new).into_iter();
        new.filter(|&(_, named)| named || !any_named).map(|(component, _)| component).collect()
    }
}

/// Puts steps together and passes them on.
#[derive(Debug)]
pub(crate) struct Stream<C> {
    consumer: C,
    policy: OnDuplicate,
    catalog: Catalog,
    runs: Vec<Open>,
    /// Why the consumer wants no more.
    failure: Option<Failure>,
}

impl<C: Consumer> Stream<C> {
    pub(crate) fn new(policy: OnDuplicate, consumer: C) -> Self {
        Self { consumer, policy, catalog: Catalog::default(), runs: Vec::new(), failure: None }
    }

    /// Why reading was stopped, if it was the consumer.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Passes on the last step of every run. Returns the consumer and what is known of the log.
    ///
    /// # Errors
    /// What the consumer says.
    pub(crate) fn finish(mut self) -> Result<(C, Catalog), Failure> {
        for (number, open) in self.runs.iter_mut().enumerate() {
            close(open, RunId::new(number), &mut self.catalog, &mut self.consumer)?;
        }
        Ok((self.consumer, self.catalog))
    }
}

/// Passes on the step that is open.
fn close(open: &mut Open, run: RunId, catalog: &mut Catalog, consumer: &mut impl Consumer) -> Result<(), Failure> {
    let Some(step) = open.step else { return Ok(()) };
    if !open.fixed {
        catalog.set_components(run, &open.fix());
    }
    consumer.take(&Step { run, step, losses: &open.losses, catalog })?;
    open.losses.fill(f64::NAN);
    open.places.fill(None);
    Ok(())
}

impl<C: Consumer> Sink for Stream<C> {
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
        if self.runs.len() <= run.number() {
            self.runs.resize_with(run.number() + 1, Open::default);
        }
        let open = &mut self.runs[run.number()];
        match open.step {
            Some(current) if step < current => {
                let run = self.catalog.run_name(run).to_owned();
                return Err(Problem::StepTooLate { run, step, after: current });
            }
            Some(current) if step > current => {
                if let Err(failure) = close(open, run, &mut self.catalog, &mut self.consumer) {
                    self.failure = Some(failure);
                    return Err(Problem::Stopped);
                }
            }
            _ => {}
        }
        open.step = Some(step);
        let position = match open.position(component, self.catalog.components(run)) {
            Some(position) => position,
            None if open.fixed => {
                // A column of other runs.
                if !named && value.is_nan() {
                    return Ok(());
                }
                return Err(Problem::ComponentTooLate {
                    run: self.catalog.run_name(run).to_owned(),
                    component: self.catalog.component_name(component).to_owned(),
                    step,
                });
            }
            None => {
                open.new.push((component, false));
                open.losses.push(f64::NAN);
                open.places.push(None);
                open.losses.len() - 1
            }
        };
        open.next = if position + 1 == open.losses.len() { 0 } else { position as u32 + 1 };
        if let Some((_, certain)) = open.new.get_mut(position) {
            *certain |= named;
        }
        if let Some(first) = open.places[position] {
            if self.policy.refuses() {
                return Err(Problem::Doubled(self.catalog.duplicate(run, component, step, Some(first), place)));
            }
            self.policy.settle(&mut open.losses[position], value);
            return Ok(());
        }
        open.losses[position] = value;
        open.places[position] = Some(place);
        Ok(())
    }
}

/// Reads a log and passes its steps on, if so asked through memory, in any order. Returns the consumer and what is known of
/// the log.
///
/// # Errors
/// Bad data, a log that is not in order, or what the consumer says.
pub(crate) fn run<C: Consumer>(
    LogArguments { input: arguments, sort }: &LogArguments,
    sources: &[Source],
    mut consumer: C,
) -> Result<(C, Catalog), Failure> {
    let options = arguments.options();
    if *sort {
        let mut log = Log::new(usize::MAX, arguments.on_duplicate);
        input::read_noted(sources, &options, !arguments.quiet, &mut log)?;
        let catalog = log.each_step(&mut consumer).map_err(|error| match error {
            Ok(failure) => failure,
            Err(duplicate) => Error::from(InputError::duplicate(sources, *duplicate)).into(),
        })?;
        return Ok((consumer, catalog));
    }
    let mut stream = Stream::new(arguments.on_duplicate, consumer);
    if let Err(error) = input::read_noted(sources, &options, !arguments.quiet, &mut stream) {
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
            let losses = step.components().zip(step.losses).map(|(name, loss)| format!("{name}={loss}"));
            self.0.push(format!("{}{} {}", step.run_name(), step.step, losses.collect::<Vec<_>>().join(" ")));
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
