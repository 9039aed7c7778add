//! The trainers of all runs, as the library's balancers on any path.
//!
//! Steps wait until there are many. Then runs are pushed together, each a group: as many steps at once as all of them have,
//! rounded down to a power of two, then those that have more or less, so that no run is pushed without a step and there are
//! few batches. Between batches a run is a group of a state in host memory.

use crate::backend::{BackendError, Balancer, Single};
use crate::error::{Error, Failure};
use crate::runs::RunId;
use crate::stream::Step;
use crate::weigh::window_error;
use softadapt::{BalancerConfig, BalancerPlan, BalancerState, Shape, ShapeError, Status};

/// Losses that wait, 4 MiB of them: enough for a batch to be worth its fixed costs.
const CHUNK: usize = 1 << 20;
/// Steps that each run has waiting, at least in the mean: runs move in and out of batches.
const FEWEST: usize = 4;
/// Losses remembered in a batch, 4 MiB of them; a balancer and its states take several times that.
const REMEMBERED: usize = 1 << 20;
/// Steps of a batch. All of them may be updates, which are logged.
const LONGEST: usize = 1 << 15;
const _: () = assert!(LONGEST < softadapt::MAX_LOG as usize, "a log for one more");

/// What a run's trainer has after a step.
#[derive(Debug)]
pub(crate) struct Pushed<'a> {
    pub(crate) run: RunId,
    pub(crate) step: i64,
    /// One for each component, as the trainer got them.
    pub(crate) losses: &'a [f32],
    /// The weights that are in force after it, and the status of the update that they come from.
    pub(crate) weights: &'a [f32],
    pub(crate) status: Status,
    /// Whether the step brought an update.
    pub(crate) is_update: bool,
}

#[derive(Clone, Copy, Debug)]
struct Trainer {
    components: usize,
    /// Which state, and which group of it; none before the first batch.
    home: Option<(usize, usize)>,
    pushes: u64,
    /// Of the last update.
    status: Status,
    /// Steps that wait.
    waiting: usize,
}

/// A step that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    run: RunId,
    step: i64,
    /// Of its losses.
    start: usize,
}

/// The steps of a run that wait: a range of [`Results::order`].
#[derive(Clone, Copy, Debug)]
struct Queue {
    run: RunId,
    next: usize,
    end: usize,
}

/// What comes out of the steps that wait.
#[derive(Debug)]
struct Results {
    /// Steps by run.
    order: Vec<usize>,
    /// As the losses.
    weights: Vec<f32>,
    /// By step, and whether it brought an update.
    status: Vec<(Status, bool)>,
}

/// Trainers for any number of runs under one configuration.
#[derive(Debug)]
pub(crate) struct Trainers<'p> {
    config: BalancerConfig,
    window: usize,
    path: &'p Single,
    trainers: Vec<Option<Trainer>>,
    /// Runs that were new in one batch are groups of one state.
    states: Vec<BalancerState>,
    waiting: Vec<Waiting>,
    losses: Vec<f32>,
    /// Runs that have steps waiting, and the components of all of them.
    runs: Vec<RunId>,
    rows: usize,
}

impl<'p> Trainers<'p> {
    /// # Errors
    /// A configuration that makes no sense, as far as that can be told before there are components.
    pub(crate) fn new(config: BalancerConfig, window: usize, path: &'p Single) -> Result<Self, Error> {
        BalancerPlan::new(config.clone(), Shape::new(1, 1, window).map_err(|error| window_error(&error))?)?;
        let (trainers, states, waiting, losses, runs) = Default::default();
        Ok(Self { config, window, path, trainers, states, waiting, losses, runs, rows: 0 })
    }

    /// Takes a step. Returns whether it is time to [`flush`](Self::flush).
    ///
    /// # Errors
    /// More components than the library takes.
    pub(crate) fn push(&mut self, step: &Step<'_>) -> Result<bool, Error> {
        let number = step.run.number();
        if self.trainers.len() <= number {
            self.trainers.resize(number + 1, None);
        }
        let components = step.losses.len();
        if self.trainers[number].is_none() {
            Shape::new(1, components, self.window).map_err(|error| match error {
                ShapeError::Components { components, .. } => {
                    Error::Components { run: step.run_name().to_owned(), components }
                }
                error => Error::TooLarge { reason: error.to_string() },
            })?;
        }
        let trainer = self.trainers[number].get_or_insert(Trainer {
            components,
            home: None,
            pushes: 0,
            status: Status::NOT_READY,
            waiting: 0,
        });
        if trainer.waiting == 0 {
            self.runs.push(step.run);
            self.rows += components;
        }
        trainer.waiting += 1;
        self.waiting.push(Waiting { run: step.run, step: step.step, start: self.losses.len() });
        self.losses.extend(step.losses.iter().map(|&loss| loss as f32));
        // A run without components takes room, too.
        let filled = self.losses.len().max(self.waiting.len());
        Ok(filled >= CHUNK.max(FEWEST * self.rows))
    }

    /// Pushes what waits, and passes on what comes out, in the order in which it came.
    ///
    /// # Errors
    /// What the path says, or `take`.
    pub(crate) fn flush(&mut self, mut take: impl FnMut(&Pushed<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
        let (mut queues, mut results) = self.sort();
        self.house(&queues)?;
        let mut steps = queues.iter().map(|queue| queue.end - queue.next).max().unwrap_or_default().min(LONGEST);
        if steps > 0 {
            steps = 1 << steps.ilog2();
        }
        while steps > 0 {
            // Until less than that many wait for any run.
            let mut long: Vec<&mut Queue> = queues.iter_mut().filter(|queue| queue.end - queue.next >= steps).collect();
            if long.is_empty() {
                steps /= 2;
                continue;
            }
            let mut rest = &mut *long;
            while !rest.is_empty() {
                let room = self.groups_within(rest);
                let (batch, others) = rest.split_at_mut(room);
                self.batch(batch, steps, &mut results)?;
                rest = others;
            }
        }
        for (at, (waiting, &(status, is_update))) in self.waiting.iter().zip(&results.status).enumerate() {
            let end = self.waiting.get(at + 1).map_or(self.losses.len(), |next| next.start);
            let (losses, weights) = (&self.losses[waiting.start..end], &results.weights[waiting.start..end]);
            take(&Pushed { run: waiting.run, step: waiting.step, losses, weights, status, is_update })?;
        }
        self.waiting.clear();
        self.losses.clear();
        self.rows = 0;
        Ok(())
    }

    /// Steps by run, and room for what comes out of them.
    fn sort(&mut self) -> (Vec<Queue>, Results) {
        let mut queues = Vec::with_capacity(self.runs.len());
        let mut end = 0;
        for run in self.runs.drain(..) {
            let Some(trainer) = &mut self.trainers[run.number()] else { continue };
            queues.push(Queue { run, next: end, end: end + trainer.waiting });
            // From here on it says where the run's next step goes.
            end += std::mem::replace(&mut trainer.waiting, end);
        }
        let mut order = vec![0; self.waiting.len()];
        for (at, waiting) in self.waiting.iter().enumerate() {
            let Some(trainer) = &mut self.trainers[waiting.run.number()] else { continue };
            order[trainer.waiting] = at;
            trainer.waiting += 1;
        }
        for queue in &queues {
            if let Some(trainer) = &mut self.trainers[queue.run.number()] {
                trainer.waiting = 0;
            }
        }
        let weights = vec![0.0; self.losses.len()];
        (queues, Results { order, weights, status: vec![(Status::NOT_READY, false); self.waiting.len()] })
    }

    /// Gives runs that are new a state.
    fn house(&mut self, queues: &[Queue]) -> Result<(), Error> {
        let mut sizes = Vec::new();
        for queue in queues {
            if let Some(trainer) = &mut self.trainers[queue.run.number()]
                && trainer.home.is_none()
            {
                trainer.home = Some((self.states.len(), sizes.len()));
                sizes.push(trainer.components);
            }
        }
        if !sizes.is_empty() {
            self.states.push(BalancerState::new(&self.plan(sizes.into_iter(), 0)?.0));
        }
        Ok(())
    }

    /// How many of these runs, at least one, fit into a batch.
    fn groups_within(&self, queues: &[&mut Queue]) -> usize {
        let mut remembered = 0;
        let fits = queues.iter().take_while(|queue| {
            let components = self.trainers[queue.run.number()].map_or(0, |trainer| trainer.components);
            remembered += components.max(1) * self.window;
            remembered <= REMEMBERED
        });
        fits.count().max(1)
    }

    /// A plan for groups of these sizes, and where the components of each start.
    fn plan(&self, sizes: impl Iterator<Item = usize>, log: u32) -> Result<(BalancerPlan, Vec<u32>), Error> {
        let mut offsets = vec![0u32];
        let mut end = 0;
        for size in sizes {
            end += size as u32;
            offsets.push(end);
        }
        let too_large = |error: ShapeError| Error::TooLarge { reason: error.to_string() };
        let shape = Shape::ragged(offsets.clone(), self.window).map_err(too_large)?;
        Ok((BalancerPlan::new(self.config.clone().with_log(log), shape)?, offsets))
    }

    /// Pushes `steps` steps of each of these runs.
    fn batch(&mut self, queues: &mut [&mut Queue], steps: usize, results: &mut Results) -> Result<(), Error> {
        let (first, every) = (u64::from(self.config.first_update()), u64::from(self.config.every));
        let mut trainers: Vec<(Trainer, (usize, usize))> = Vec::with_capacity(queues.len());
        for queue in &*queues {
            let trainer = self.trainers[queue.run.number()];
            trainers.push(trainer.and_then(|trainer| Some((trainer, trainer.home?))).ok_or_else(lost)?);
        }
        let updates = steps as u64 / every + 1;
        let (plan, offsets) = self.plan(trainers.iter().map(|(trainer, _)| trainer.components), updates as u32)?;
        let mut before = BalancerState::new(&plan);
        for (group, &(_, (state, from))) in trainers.iter().enumerate() {
            before.copy_group(group, &self.states[state], from).map_err(BackendError::from)?;
        }
        let mut balancer = Balancer::resume(self.path, &plan, &before)?;
        let mut losses = Vec::with_capacity(plan.losses_len());
        for step in 0..steps {
            losses.clear();
            for (queue, (trainer, _)) in queues.iter().zip(&trainers) {
                let start = self.waiting[results.order[queue.next + step]].start;
                losses.extend_from_slice(&self.losses[start..start + trainer.components]);
            }
            balancer.push(&losses)?;
        }
        let after = balancer.state()?;
        for (group, (queue, (trainer, (state, home)))) in queues.iter_mut().zip(&trainers).enumerate() {
            let mut log = after.log(group).into_iter();
            let mut status = trainer.status;
            let mut weights = before.weights()[offsets[group] as usize..offsets[group + 1] as usize].to_vec();
            for step in 0..steps {
                let pushes = trainer.pushes + step as u64 + 1;
                let is_update = pushes.checked_sub(first).is_some_and(|later| later.is_multiple_of(every));
                if is_update {
                    let update = log.next().ok_or_else(lost)?;
                    (weights, status) = (update.weights, update.status);
                }
                let at = results.order[queue.next + step];
                let start = self.waiting[at].start;
                results.weights[start..start + weights.len()].copy_from_slice(&weights);
                results.status[at] = (status, is_update);
            }
            if log.next().is_some() {
                return Err(lost());
            }
            self.states[*state].copy_group(*home, &after, group).map_err(BackendError::from)?;
            if let Some(trainer) = &mut self.trainers[queue.run.number()] {
                trainer.pushes += steps as u64;
                trainer.status = status;
            }
            queue.next += steps;
        }
        Ok(())
    }
}

/// An error of this program's.
fn lost() -> Error {
    BackendError::Fault("a run's updates got lost".into()).into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::runs::{Log, OnDuplicate, Place, Sink, Unit};
    use crate::stream::Consumer;
    use softadapt::{Config, Smoothing, cpu};

    /// Flushes when told, and notes run, step and weights.
    struct Told {
        trainers: Trainers<'static>,
        flush_at: Vec<usize>,
        steps: usize,
        told: Vec<(usize, i64, Vec<u32>, Status, bool)>,
    }

    impl Told {
        fn flush(&mut self) -> Result<(), Failure> {
            let told = &mut self.told;
            self.trainers.flush(|pushed| {
                let weights = pushed.weights.iter().map(|weight| weight.to_bits()).collect();
                told.push((pushed.run.number(), pushed.step, weights, pushed.status, pushed.is_update));
                Ok(())
            })
        }
    }

    impl Consumer for Told {
        fn take(&mut self, step: &Step<'_>) -> Result<(), Failure> {
            assert!(!self.trainers.push(step)?, "few wait");
            self.steps += 1;
            if self.flush_at.contains(&self.steps) { self.flush() } else { Ok(()) }
        }
    }

    /// Runs of 1 to 61 steps and 1 to 5 components, side by side, one after the other, and anything between.
    #[test]
    fn batches_change_no_bit() {
        let loss = |run: usize, step: usize, component: usize| {
            1.0 + ((run * 31 + step * 7 + component * 5) % 23) as f32 / (1.0 + step as f32)
        };
        let size = |run: usize| 1 + run % 5;
        let length = |run: usize| 1 + run * 7 % 61;
        for (round, smoothing) in
            [Smoothing::None, Smoothing::CycleMean, Smoothing::Exponential { keep: 0.5 }].into_iter().enumerate()
        {
            let config = BalancerConfig::new(Config::loss_weighted().with_order(2).with_beta(2.0));
            let config = config.with_every(3).with_first(2).with_smoothing(smoothing);
            // The rows of the log: run and step.
            let mut rows: Vec<(usize, usize)> =
                (0..70).flat_map(|run| (0..length(run)).map(move |step| (run, step))).collect();
            rows.sort_by_key(|&(run, step)| [0, step, run / 9 * 100 + step][round]);
            let mut expected = Vec::new();
            let mut alone: Vec<Option<(cpu::Balancer, Status)>> = vec![None; 70];
            for &(run, step) in &rows {
                let shape = Shape::new(1, size(run), 4).unwrap();
                let (balancer, status) = alone[run].get_or_insert_with(|| {
                    let plan = BalancerPlan::new(config.clone(), shape).unwrap();
                    (cpu::Balancer::new(&plan), Status::NOT_READY)
                });
                let losses: Vec<f32> = (0..size(run)).map(|component| loss(run, step, component)).collect();
                balancer.push(&losses).unwrap();
                let weights = balancer.weights().iter().map(|weight| weight.to_bits()).collect();
                let is_update = step >= 1 && (step - 1) % 3 == 0;
                if is_update {
                    *status = balancer.status()[0];
                }
                expected.push((run, step as i64, weights, *status, is_update));
            }
            let trainers = Trainers::new(config, 4, &Single::Cpu).unwrap();
            let flush_at = vec![1, 2, 50, 333, 334, 1000];
            let mut told = Told { trainers, flush_at, steps: 0, told: Vec::new() };
            let mut log = Log::new(usize::MAX, OnDuplicate::Error);
            // Numbers of runs are those of the rows, whatever comes first.
            for run in 0..70 {
                log.run(&run.to_string());
            }
            for run in 0..70 {
                for (step, component) in (0..length(run)).flat_map(|step| (0..size(run)).map(move |i| (step, i))) {
                    let (id, name) = (log.run(&run.to_string()), log.component(&component.to_string()));
                    let value = f64::from(loss(run, step, component));
                    log.push(id, name, step as i64, value, Place::new(0, Unit::Row, 1), true).unwrap();
                }
            }
            let mut steps = Kept::default();
            let catalog = log.each_step(&mut steps).unwrap_or_else(|_| panic!("no duplicates"));
            for &(run, step) in &rows {
                let losses = &steps.0[&(run, step as i64)];
                told.take(&Step { run: RunId::new(run), step: step as i64, losses, catalog: &catalog })
                    .unwrap_or_else(|_| panic!("no failure"));
            }
            told.flush().unwrap_or_else(|_| panic!("no failure"));
            assert_eq!(told.told.len(), expected.len());
            for (found, expected) in told.told.iter().zip(&expected) {
                assert_eq!(found, expected, "{smoothing:?}");
            }
        }
    }

    #[derive(Default)]
    struct Kept(std::collections::HashMap<(usize, i64), Vec<f64>>);

    impl Consumer for Kept {
        fn take(&mut self, step: &Step<'_>) -> Result<(), Failure> {
            self.0.insert((step.run.number(), step.step), step.losses.to_vec());
            Ok(())
        }
    }
}
