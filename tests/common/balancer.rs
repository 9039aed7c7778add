//! What a balancer should have published after every call, from lists of losses and the batch path, and the comparison of a
//! balancer with it.
//!
//! The judge keeps every group's losses in lists, as the packages' users do, and knows nothing of rings, clocks or kernels. It
//! collects the windows of all updates of a script, gives them to the batch path in one batch, and goes through the script
//! again to smooth, hold and publish.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::problem::{POISON, Problem, Random, bits, random_config};
use softadapt::reference::{self, ErrorBounds};
use softadapt::{
    BalancerConfig, BalancerError, BalancerPlan, BalancerState, Batch, BetaSchedule, Config, Feed, InitialWeights,
    Layout, LogEntry, OnNonFinite, Plan, Scale, Score, Shape, Slope, Smoothing, Status, Strides, Weights, Window,
};

/// One call.
#[derive(Clone, Debug)]
pub enum Call {
    Push(Vec<f32>),
    Accumulate(Vec<f32>),
    CloseEpoch,
    Reset(Vec<usize>),
    ResetMasked(Vec<bool>),
    Copy(Vec<(usize, usize)>),
    Betas(Vec<f32>),
    /// The state to bytes and back, into another balancer, which goes on.
    Reload,
}

/// A balancer under test.
pub trait Balances {
    fn call(&mut self, call: &Call);
    fn state(&self) -> BalancerState;
}

impl Balances for softadapt::cpu::Balancer {
    fn call(&mut self, call: &Call) {
        match call {
            Call::Push(losses) => self.push(losses).unwrap(),
            Call::Accumulate(losses) => self.accumulate(losses).unwrap(),
            Call::CloseEpoch => self.close_epoch().unwrap(),
            Call::Reset(groups) => self.reset(groups).unwrap(),
            Call::ResetMasked(mask) => self.reset_masked(mask).unwrap(),
            Call::Copy(pairs) => self.copy(pairs).unwrap(),
            Call::Betas(betas) => self.betas_mut().unwrap().copy_from_slice(betas),
            Call::Reload => {
                let state = BalancerState::from_bytes(self.plan(), &self.state().to_bytes()).unwrap();
                *self = Self::new(self.plan());
                self.load(&state).unwrap();
            }
        }
    }

    fn state(&self) -> BalancerState {
        self.state()
    }
}

/// What a group should show after a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub weights: Vec<f32>,
    pub status: Status,
    /// How far f32 arithmetic other than the batch path's may be away.
    pub slack: f32,
}

/// A group as its user would keep it.
#[derive(Clone)]
struct Group {
    /// `[component][point]` since the window was cleared.
    points: Vec<Vec<f32>>,
    /// Points of each component; a group may have none of these.
    count: usize,
    pushes: u32,
    /// `[component]` sums of the open epoch, and its batches.
    sums: Vec<f32>,
    batches: u32,
    published: bool,
    cycle: Vec<Vec<f32>>,
    shown: Shown,
    log: Vec<LogEntry>,
}

/// A window that becomes weights.
struct Request {
    points: Vec<Vec<f32>>,
    count: usize,
    beta: f32,
}

/// Where a call's requests stand, by group; `due` says whether they are to be published.
#[derive(Clone, Copy)]
struct Wanted {
    group: usize,
    request: usize,
    due: bool,
    pushes: u32,
}

pub fn is_due(config: &BalancerConfig, pushes: u32) -> bool {
    let first = config.first_update();
    pushes == first || pushes > first && (pushes - first).is_multiple_of(config.every)
}

/// The schedule's factor as its documentation says, rounded once; exact enough for the judge's tolerance.
fn factor(schedule: BetaSchedule, push: u32) -> f64 {
    let (from, to, risen) = match schedule {
        BetaSchedule::Linear { from, to, over } => (from, to, (f64::from(push) / f64::from(over)).min(1.0)),
        BetaSchedule::Cosine { from, to, over } => {
            let u = (f64::from(push) / f64::from(over)).min(1.0);
            (from, to, (1.0 - (std::f64::consts::PI * u).cos()) / 2.0)
        }
        _ => return 1.0,
    };
    from + (to - from) * risen
}

fn initial(plan: &BalancerPlan, group: usize) -> Shown {
    let (config, components) = (&plan.config().config, plan.shape().components(group));
    let weights = match &plan.config().initial {
        InitialWeights::Ones => vec![1.0; components],
        InitialWeights::PerComponent(weights) => weights[..components].iter().map(|&w| w as f32).collect(),
        _ => {
            // By the formula, in f64.
            let prior = |i: usize| config.prior.as_ref().map_or(1.0, |prior| prior[i]);
            let sum: f64 = (0..components).map(prior).sum();
            let active = (0..components).filter(|&i| prior(i) > 0.0).count() as f64;
            let scale = if config.scale == Scale::Components { components as f64 } else { 1.0 };
            let weight = |i: usize| {
                let floor = if prior(i) > 0.0 { config.floor } else { 0.0 };
                scale * (floor + (1.0 - active * config.floor) * prior(i) / sum)
            };
            (0..components).map(|i| weight(i) as f32).collect()
        }
    };
    let most = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    // Neutral weights are the batch path's: a few roundings from the formula's, relative to the largest.
    Shown { weights, status: Status::NOT_READY, slack: most * 2e-6 }
}

/// What every group should show after every call, and its log at the end. `weigh` is the batch path; `exact`: smoothing
/// rounds as here.
pub fn judge(
    plan: &BalancerPlan,
    calls: &[Call],
    exact: bool,
    weigh: impl Fn(&Problem) -> Weights<f32>,
) -> (Vec<Vec<Shown>>, Vec<Vec<LogEntry>>) {
    let (config, shape) = (plan.config(), plan.shape());
    let groups = shape.groups();
    let fresh = |group: usize| Group {
        points: vec![Vec::new(); shape.components(group)],
        count: 0,
        pushes: 0,
        sums: vec![0.0; shape.components(group)],
        batches: 0,
        published: false,
        cycle: Vec::new(),
        shown: initial(plan, group),
        log: Vec::new(),
    };
    let mut betas = vec![config.config.beta as f32; groups];
    let mut requests: Vec<Request> = Vec::new();
    // Once for the windows, once for what becomes of their weights.
    let mut answers: Vec<Option<(Vec<f32>, Status)>> = Vec::new();
    let mut wanted_by_call: Vec<Vec<Wanted>> = Vec::new();
    let mut shown: Vec<Vec<Shown>> = Vec::new();
    let mut logs = Vec::new();
    for pass in 0..2 {
        let mut state: Vec<Group> = (0..groups).map(fresh).collect();
        for (number, call) in calls.iter().enumerate() {
            let mut wanted = Vec::new();
            let row = |losses: &[f32], group: usize, component: usize| losses[shape.weight_index(group, component)];
            let mut pushed = false;
            match call {
                Call::Push(losses) => {
                    pushed = true;
                    for (g, group) in state.iter_mut().enumerate() {
                        group.count += 1;
                        for (component, points) in group.points.iter_mut().enumerate() {
                            points.push(row(losses, g, component));
                        }
                    }
                }
                Call::Accumulate(losses) => {
                    for (g, group) in state.iter_mut().enumerate() {
                        for (component, sum) in group.sums.iter_mut().enumerate() {
                            *sum += row(losses, g, component);
                        }
                        group.batches += 1;
                    }
                }
                Call::CloseEpoch => {
                    pushed = true;
                    for group in &mut state {
                        let count = group.batches as f32;
                        group.count = if group.batches > 0 { group.count + 1 } else { 0 };
                        for (points, sum) in group.points.iter_mut().zip(&mut group.sums) {
                            if count > 0.0 {
                                points.push(*sum / count);
                            } else {
                                points.clear();
                            }
                            *sum = 0.0;
                        }
                        group.batches = 0;
                    }
                }
                Call::Reset(list) => list.iter().for_each(|&g| state[g] = fresh(g)),
                Call::ResetMasked(mask) => {
                    (0..groups).filter(|&g| mask[g]).for_each(|g| state[g] = fresh(g));
                }
                Call::Copy(pairs) => pairs.iter().for_each(|&(from, to)| state[to] = state[from].clone()),
                Call::Betas(new) => betas.copy_from_slice(new),
                Call::Reload => {}
            }
            if pushed {
                for (g, group) in state.iter_mut().enumerate() {
                    let t = group.pushes;
                    group.pushes += 1;
                    let due = is_due(config, group.pushes);
                    if due || config.smoothing == Smoothing::CycleMean {
                        let request = if pass == 0 {
                            let factor = factor(config.beta_schedule, t);
                            let beta = if factor == 1.0 { betas[g] } else { (f64::from(betas[g]) * factor) as f32 };
                            let window = shape.window();
                            let newest = |points: &Vec<f32>| points[points.len().saturating_sub(window)..].to_vec();
                            let points = group.points.iter().map(newest).collect();
                            requests.push(Request { points, count: group.count.min(window), beta });
                            requests.len() - 1
                        } else {
                            wanted_by_call[number].iter().find(|w| w.group == g).unwrap().request
                        };
                        wanted.push(Wanted { group: g, request, due, pushes: group.pushes });
                    }
                    if due && config.window == Window::Tumbling {
                        group.points.iter_mut().for_each(Vec::clear);
                        group.count = 0;
                    }
                }
            }
            if pass == 0 {
                wanted_by_call.push(wanted);
                continue;
            }
            for wanted in wanted {
                let group = &mut state[wanted.group];
                let (new, status) = answers[wanted.request].clone().unwrap();
                publish(config, group, new, status, wanted, exact);
            }
            shown.push(state.iter().map(|group| group.shown.clone()).collect());
            logs = state.iter().map(|group| group.log.clone()).collect();
        }
        if pass == 0 {
            answers = answer(plan, &requests, &weigh);
        }
    }
    for log in &mut logs {
        log.drain(..log.len().saturating_sub(config.log as usize));
    }
    (shown, logs)
}

fn publish(config: &BalancerConfig, group: &mut Group, new: Vec<f32>, status: Status, wanted: Wanted, exact: bool) {
    // Previous weights were poison: what a group would have kept.
    let held = !new.is_empty() && new.iter().all(|w| w.to_bits() == POISON.to_bits());
    let old = &group.shown;
    let most =
        old.weights.iter().chain(&new).filter(|w| w.is_finite() && **w != POISON).fold(0.0f32, |m, w| m.max(w.abs()));
    let unit = if exact { 0.0 } else { f32::EPSILON * most };
    let mut published = false;
    let (weights, slack) = match config.smoothing {
        Smoothing::Exponential { keep } if !held => {
            published = true;
            let (keep, take) = (keep as f32, (1.0 - keep) as f32);
            let blends = |old: f32, new: f32| group.published && old.is_finite() && new.is_finite();
            let blend = |(&old, &new): (&f32, &f32)| if blends(old, new) { keep * old + take * new } else { new };
            let fresh = !group.published || old.weights.iter().any(|w| !w.is_finite());
            // Two products and a sum, fused or not.
            let slack = if fresh { 0.0 } else { keep * old.slack + 3.0 * unit };
            (old.weights.iter().zip(&new).map(blend).collect(), slack)
        }
        Smoothing::CycleMean => {
            if !held {
                group.cycle.push(new);
            }
            if wanted.due && !group.cycle.is_empty() {
                published = true;
                let count = group.cycle.len() as f32;
                let mean = |i: usize| group.cycle.iter().fold(0.0, |sum: f32, w| sum + w[i]) / count;
                // A division may be 2.5 units off.
                ((0..old.weights.len()).map(mean).collect(), 3.0 * unit)
            } else {
                (old.weights.clone(), old.slack)
            }
        }
        _ if held => (old.weights.clone(), old.slack),
        _ => {
            published = true;
            (new, 0.0)
        }
    };
    if wanted.due {
        group.cycle.clear();
    }
    group.published |= published;
    group.shown = Shown { weights, status, slack };
    if wanted.due {
        group.log.push(LogEntry { step: wanted.pushes, status, weights: group.shown.weights.clone() });
    }
}

/// The batch path's weights of each window, with poison for previous weights.
fn answer(
    plan: &BalancerPlan,
    requests: &[Request],
    weigh: &impl Fn(&Problem) -> Weights<f32>,
) -> Vec<Option<(Vec<f32>, Status)>> {
    let mut answers = vec![None; requests.len()];
    let window = plan.shape().window();
    let grows = plan.config().order_grows();
    let sizes = if grows { 2..=window } else { window..=window };
    for size in sizes {
        let chosen: Vec<usize> = (0..requests.len()).filter(|&i| !grows || requests[i].count.max(2) == size).collect();
        if chosen.is_empty() {
            continue;
        }
        let mut config = plan.config().config.clone();
        if grows {
            config = config.with_order(size as u32 - 1);
        }
        let mut offsets = vec![0u32];
        for &i in &chosen {
            offsets.push(offsets[offsets.len() - 1] + requests[i].points.len() as u32);
        }
        let whole = match plan.shape().offsets() {
            Some(offsets) => Shape::ragged(offsets, size),
            None => Shape::new(1, plan.shape().max_components(), size),
        };
        let shape = Shape::ragged(offsets, size).unwrap();
        let plan = Plan::new(config, whole.unwrap()).unwrap().with_shape(shape).unwrap();
        let shape = plan.shape().clone();
        // What lies before a group's points must not matter.
        let mut losses = vec![f32::NAN; shape.losses_len()];
        for (group, &i) in chosen.iter().enumerate() {
            for (component, points) in requests[i].points.iter().enumerate() {
                for (age, &loss) in points.iter().rev().enumerate() {
                    losses[shape.loss_index(group, component, size - 1 - age)] = loss;
                }
            }
        }
        let problem = Problem {
            losses,
            betas: Some(chosen.iter().map(|&i| requests[i].beta).collect()),
            points: Some(chosen.iter().map(|&i| requests[i].count as u32).collect()),
            previous: Some(vec![POISON; shape.weights_len()]),
            plan,
        };
        let found = weigh(&problem);
        for (group, &i) in chosen.iter().enumerate() {
            let weights = (0..shape.components(group)).map(|c| found.weights[shape.weight_index(group, c)]).collect();
            answers[i] = Some((weights, found.status[group]));
        }
    }
    answers
}

/// Runs the calls and compares what is shown after each, and the log at the end. `exact`: smoothing and schedules round as
/// the judge does, so that all bits are equal.
pub fn check(
    label: &str,
    plan: &BalancerPlan,
    calls: &[Call],
    balancer: &mut impl Balances,
    exact: bool,
    weigh: impl Fn(&Problem) -> Weights<f32>,
) {
    let (expected, logs) = judge(plan, calls, exact, weigh);
    for (number, (call, expected)) in calls.iter().zip(&expected).enumerate() {
        balancer.call(call);
        let state = balancer.state();
        compare_shown(&format!("{label}, call {number}"), plan, expected, state.weights(), state.status());
    }
    let state = balancer.state();
    for (group, expected) in logs.iter().enumerate() {
        let found = state.log(group);
        assert_eq!(found.len(), expected.len(), "{label}, log of group {group}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!((found.step, found.status), (expected.step, expected.status), "{label}, log of group {group}");
            let most = expected.weights.iter().filter(|w| w.is_finite()).fold(1.0f32, |m, w| m.max(w.abs()));
            assert!(agree(&found.weights, &expected.weights, most * 1e-4), "{label}, log of group {group}");
        }
    }
}

/// Compares what every group shows with what it should show.
pub fn compare_shown(label: &str, plan: &BalancerPlan, expected: &[Shown], weights: &[f32], status: &[Status]) {
    let shape = plan.shape();
    assert_eq!((expected.len(), status.len()), (shape.groups(), shape.groups()));
    for (group, expected) in expected.iter().enumerate() {
        let place = || format!("{label}, group {group}, {:?}", plan.config());
        let found: Vec<f32> = (0..shape.components(group)).map(|c| weights[shape.weight_index(group, c)]).collect();
        assert_eq!(status[group], expected.status, "{}", place());
        assert!(
            agree(&found, &expected.weights, expected.slack),
            "{}: {found:?} for {:?}, slack {:e}, {}",
            place(),
            expected.weights,
            expected.slack,
            expected.status
        );
    }
}

/// Bit for bit without slack; both NaN or apart by the slack otherwise.
fn agree(found: &[f32], expected: &[f32], slack: f32) -> bool {
    found.len() == expected.len()
        && (bits(found) == bits(expected)
            || slack > 0.0
                && found
                    .iter()
                    .zip(expected)
                    .all(|(f, e)| f.is_nan() && e.is_nan() || (f - e).abs() <= slack || f.to_bits() == e.to_bits()))
}

/// The losses of the example runs: `[step][run][component]`, the first 80 steps of each run, and components of each run.
pub struct Runs {
    pub offsets: Vec<u32>,
    /// `[step][row]`
    pub steps: Vec<Vec<f32>>,
}

pub fn runs() -> Runs {
    const STEPS: usize = 80;
    let text = include_str!("../../examples/data/losses.csv");
    let mut order: Vec<(String, Vec<String>)> = Vec::new();
    let mut values = std::collections::HashMap::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (run, step, component) = (fields[0], fields[1].parse::<usize>().unwrap(), fields[2]);
        let value = if fields[3].is_empty() { f32::NAN } else { fields[3].parse().unwrap() };
        if order.last().is_none_or(|(last, _)| last != run) {
            order.push((run.to_owned(), Vec::new()));
        }
        let components = &mut order.last_mut().unwrap().1;
        if !components.iter().any(|known| known == component) {
            components.push(component.to_owned());
        }
        values.insert((run.to_owned(), component.to_owned(), step), value);
    }
    let mut offsets = vec![0];
    for (_, components) in &order {
        offsets.push(offsets[offsets.len() - 1] + components.len() as u32);
    }
    let first = values.keys().map(|key| key.2).min().unwrap();
    let loss = |run: &String, component: &String, step: usize| {
        *values.get(&(run.clone(), component.clone(), first + step)).unwrap_or(&f32::NAN)
    };
    let steps = (0..STEPS)
        .map(|step| order.iter().flat_map(|(run, cs)| cs.iter().map(move |c| loss(run, c, step))).collect())
        .collect();
    Runs { offsets, steps }
}

/// A shape with a layout of one step's losses: any order and gaps.
fn random_shape(random: &mut Random, window: usize) -> Shape {
    let largest = if random.chance(5) { 90 } else { 12 };
    let groups = random.within(1..=largest);
    let most = if random.chance(8) { random.within(17..=70) } else { random.within(1..=9) };
    if random.chance(4) {
        let mut offsets = vec![0];
        for _ in 0..groups {
            let components = if random.chance(9) { 0 } else { random.within(1..=most) };
            offsets.push(offsets[offsets.len() - 1] + components as u32);
        }
        // One that is not empty.
        offsets.push(offsets[offsets.len() - 1] + most as u32);
        return Shape::ragged(offsets, window).unwrap();
    }
    let shape = Shape::new(groups, most, window).unwrap();
    let layout = match random.below(3) {
        0 => Layout::RowMajor,
        1 => Layout::TimeMajor,
        _ => {
            let strides = shape.strides();
            let gap = random.within(0..=2) as u64;
            Layout::Strided(Strides { weight_group: most as u64 + gap, weight_component: 1, ..strides })
        }
    };
    shape.with_layout(layout).unwrap()
}

/// Any legal setting for a shape; `schedules` may be left out where only equal bits will do.
pub fn random_balancer_config(random: &mut Random, shape: &Shape, schedules: bool) -> BalancerConfig {
    loop {
        let window = shape.window();
        let mut config = random_config(random, window, shape.max_components());
        // Magnitudes of some settings would make smoothing meet numbers beyond its tolerance.
        if random.chance(2) {
            config = config.with_on_non_finite(OnNonFinite::Hold);
        }
        let tumbles = random.chance(3);
        if tumbles && random.chance(2) {
            let backward = random.chance(2);
            let order = None;
            config.score = Score::Slope(if backward { Slope::Backward { order } } else { Slope::Forward { order } });
        }
        let most = if tumbles { window } else { 7 };
        let every = random.within(1..=most) as u32;
        let mut balancer = BalancerConfig::new(config).with_every(every);
        if random.chance(2) {
            balancer = balancer.with_first(random.within(1..=most) as u32);
        }
        balancer = balancer
            .with_window(if tumbles { Window::Tumbling } else { Window::Sliding })
            .with_feed(if random.chance(3) { Feed::EpochMean } else { Feed::EveryPush })
            .with_smoothing(random.pick(&[
                Smoothing::None,
                Smoothing::None,
                Smoothing::Exponential { keep: 0.75 },
                Smoothing::Exponential { keep: 0.0 },
                Smoothing::CycleMean,
            ]))
            .with_per_group_beta(random.chance(3))
            .with_log(random.pick(&[0, 0, 1, 3]));
        if schedules && random.chance(3) {
            let (from, to, over) = (random.between(-1.0, 1.0), random.between(-1.0, 2.0), random.within(1..=20) as u32);
            balancer = balancer.with_beta_schedule(if random.chance(2) {
                BetaSchedule::Linear { from, to, over }
            } else {
                BetaSchedule::Cosine { from, to, over }
            });
        }
        balancer = match random.below(3) {
            0 => balancer.with_initial(InitialWeights::Ones),
            1 => {
                let weights = (0..shape.max_components()).map(|i| 0.5 + i as f64).collect();
                balancer.with_initial(InitialWeights::PerComponent(weights))
            }
            _ => balancer,
        };
        if BalancerPlan::new(balancer.clone(), shape.clone()).is_ok() {
            return balancer;
        }
    }
}

/// A random plan with calls of all kinds.
pub fn random_script(seed: u64, schedules: bool) -> (BalancerPlan, Vec<Call>) {
    let random = &mut Random(seed);
    let longest = if random.chance(6) { 20 } else { 8 };
    let window = random.within(2..=longest);
    let shape = random_shape(random, window);
    let config = random_balancer_config(random, &shape, schedules);
    let plan = BalancerPlan::new(config, shape).unwrap();
    let shape = plan.shape();
    let groups = shape.groups();
    let mut calls = Vec::new();
    let rates: Vec<f64> = (0..shape.weights_len()).map(|_| random.between(-0.2, 0.05)).collect();
    for step in 0..random.within(4..=3 * window + 6) {
        let losses = |random: &mut Random| -> Vec<f32> {
            let special = [f32::NAN, f32::INFINITY, 3e38, -3e38, 0.0, -1.0, 1e-40];
            rates
                .iter()
                .map(|rate| {
                    let value = (rate * step as f64).exp() * random.between(0.8, 1.2);
                    if random.chance(300) { random.pick(&special) } else { value as f32 }
                })
                .collect()
        };
        if plan.config().feed == Feed::EpochMean {
            for _ in 0..if random.chance(9) { 0 } else { random.within(1..=4) } {
                calls.push(Call::Accumulate(losses(random)));
            }
            if random.chance(8) {
                calls.push(Call::Reset(vec![random.below(groups)]));
            }
            calls.push(Call::CloseEpoch);
        } else {
            calls.push(Call::Push(losses(random)));
        }
        match random.below(12) {
            0 => {
                let list = (0..random.within(1..=3)).map(|_| random.below(groups)).collect();
                calls.push(Call::Reset(list));
            }
            1 => calls.push(Call::ResetMasked((0..groups).map(|_| random.chance(4)).collect())),
            2 | 3 => {
                let shuffled = random.shuffled(groups);
                let same = |pair: &(usize, usize)| shape.components(pair.0) == shape.components(pair.1);
                let pairs: Vec<_> =
                    shuffled.as_chunks::<2>().0.iter().map(|p| (p[0], p[1])).filter(same).take(3).collect();
                calls.push(Call::Copy(pairs));
            }
            4 if plan.config().per_group_beta => {
                let special = [f32::NAN, f32::INFINITY, 0.0, 3e38];
                let beta = |random: &mut Random| {
                    if random.chance(20) { random.pick(&special) } else { random.between(-2.0, 5.0) as f32 }
                };
                calls.push(Call::Betas((0..groups).map(|_| beta(random)).collect()));
            }
            5 => calls.push(Call::Reload),
            _ => {}
        }
    }
    (plan, calls)
}

/// The settings that the runs are fed through: every preset with every kind of window and smoothing, then random ones.
pub fn run_configs(count: u64, shape: &Shape) -> Vec<BalancerConfig> {
    let mut configs = Vec::new();
    for preset in [Config::original(), Config::normalized(), Config::loss_weighted()] {
        let config = BalancerConfig::new(preset.with_order(4));
        configs.push(config.clone());
        configs.push(config.clone().with_every(5).with_window(Window::Tumbling));
        configs.push(config.clone().with_every(3).with_smoothing(Smoothing::CycleMean));
        configs.push(config.with_smoothing(Smoothing::Exponential { keep: 0.9 }));
    }
    configs.extend(
        (0..count)
            .map(|seed| random_balancer_config(&mut Random(90_000 + seed), shape, false).with_feed(Feed::EveryPush)),
    );
    configs
}

/// The loop of the packages' README, with lists: weights at the epochs at which it would update, or `None` where the packages
/// crash (an order above 5 that is odd, or fewer than two points). The reference stands for the package: `tests/oracle.rs`
/// compares the two.
fn packages_loop(config: &Config, every: usize, losses: &[Vec<f32>]) -> Vec<Option<(Weights<f64>, ErrorBounds)>> {
    let components = losses[0].len();
    let mut lists: Vec<Vec<f64>> = vec![Vec::new(); components];
    let mut updates = Vec::new();
    for (epoch, losses) in losses.iter().enumerate() {
        for (list, &loss) in lists.iter_mut().zip(losses) {
            list.push(loss.into());
        }
        if epoch % every == 0 && epoch != 0 {
            let points = lists[0].len();
            let order = points - 1;
            let crashes = order < 1 || order > 5 && order % 2 == 1;
            updates.push((!crashes).then(|| {
                let shape = Shape::new(1, components, points).unwrap();
                let plan = Plan::new(config.clone().with_order(order as u32), shape).unwrap();
                let losses = lists.concat();
                let batch = Batch::new(&losses);
                (reference::weigh(&plan, &batch).unwrap(), reference::error_bounds(&plan, &batch).unwrap())
            }));
            lists.iter_mut().for_each(Vec::clear);
        }
    }
    updates
}

/// Tumbling windows give what that loop gives, at its epochs and at no other.
pub fn check_packages_loop<B: Balances>(make: impl Fn(&BalancerPlan) -> B) {
    let runs = runs();
    let mut compared = 0;
    for preset in [Config::original(), Config::normalized(), Config::loss_weighted()] {
        for every in 1..=10 {
            // One run: the packages weigh one model at a time.
            for run in [0, 7, 25] {
                let rows = runs.offsets[run] as usize..runs.offsets[run + 1] as usize;
                let losses: Vec<Vec<f32>> = runs.steps.iter().map(|step| step[rows.clone()].to_vec()).collect();
                let config = BalancerConfig::packages_loop(preset.clone(), every as u32);
                let plan = BalancerPlan::new(config, Shape::new(1, rows.len(), every + 1).unwrap());
                if every == 1 {
                    // One point between updates is no slope: the loop crashes at its second update, this at the start.
                    assert_eq!(plan, Err(BalancerError::TooFewPoints { points: 1, needed: 2 }));
                    continue;
                }
                let plan = plan.unwrap();
                let mut balancer = make(&plan);
                let mut updates = packages_loop(&preset, every, &losses).into_iter();
                let mut before = vec![1.0; rows.len()];
                for (epoch, losses) in losses.iter().enumerate() {
                    balancer.call(&Call::Push(losses.clone()));
                    let state = balancer.state();
                    let weights = state.weights().to_vec();
                    if epoch % every == 0 && epoch != 0 {
                        if let Some((exact, bounds)) = updates.next().unwrap() {
                            for (i, &weight) in weights.iter().enumerate() {
                                let error = (f64::from(weight) - exact.weights[i]).abs();
                                assert!(
                                    error <= bounds.weights[i],
                                    "every {every}, run {run}, epoch {epoch}: {weights:?}"
                                );
                                compared += 1;
                            }
                        }
                    } else {
                        assert_eq!(bits(&weights), bits(&before), "every {every}, run {run}, epoch {epoch}");
                    }
                    before = weights;
                }
                assert!(updates.next().is_none());
            }
        }
    }
    assert!(compared > 1500, "{compared} weights");
}

/// What befalls one group changes no bit of another: a script, and the same with one group's losses poisoned, the group
/// reset, and others copied onto it.
pub fn check_independence<B: Balances>(make: impl Fn(&BalancerPlan) -> B, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let (plan, calls) = random_script(seed, true);
        let shape = plan.shape();
        let random = &mut Random(seed);
        let victim = random.below(shape.groups());
        let spoil = |losses: &Vec<f32>, random: &mut Random| {
            let mut losses = losses.clone();
            for component in 0..shape.components(victim) {
                let special = [f32::NAN, f32::INFINITY, f32::MAX, -1e30, 0.0];
                losses[shape.weight_index(victim, component)] = random.pick(&special);
            }
            losses
        };
        let alike = (0..shape.groups()).find(|&g| g != victim && shape.components(g) == shape.components(victim));
        let (mut calm, mut spoiled) = (make(&plan), make(&plan));
        for (number, call) in calls.iter().enumerate() {
            // The victim must not be a source either: then the others are meant to differ.
            if matches!(call, Call::Copy(_)) {
                continue;
            }
            calm.call(call);
            spoiled.call(&match call {
                Call::Push(losses) => Call::Push(spoil(losses, random)),
                Call::Accumulate(losses) => Call::Accumulate(spoil(losses, random)),
                other => other.clone(),
            });
            match (random.below(4), alike) {
                (0, _) => spoiled.call(&Call::Reset(vec![victim])),
                (1, Some(from)) => spoiled.call(&Call::Copy(vec![(from, victim)])),
                (2, _) => {
                    spoiled.call(&Call::ResetMasked((0..shape.groups()).map(|group| group == victim).collect()));
                }
                _ => {}
            }
            let states = [calm.state(), spoiled.state()];
            for group in (0..shape.groups()).filter(|&group| group != victim) {
                let shown = states.each_ref().map(|state| {
                    let row = |c: usize| state.weights()[shape.weight_index(group, c)];
                    let weights: Vec<f32> = (0..shape.components(group)).map(row).collect();
                    let log: Vec<_> = state.log(group).iter().map(|e| (e.step, e.status, bits(&e.weights))).collect();
                    (state.status()[group], state.points(group), bits(&weights), log)
                });
                assert_eq!(shown[0], shown[1], "seed {seed}, call {number}, group {group}, {:?}", plan.config());
            }
        }
    }
}

/// Weights under a schedule are the batch path's for the factor of its formula, which f32 may miss by 16 units.
pub fn check_schedules<B: Balances>(make: impl Fn(&BalancerPlan) -> B, weigh: impl Fn(&Problem) -> Weights<f32>) {
    let shape = Shape::new(6, 3, 4).unwrap();
    for (number, schedule) in [
        BetaSchedule::Linear { from: 0.0, to: 1.0, over: 10 },
        BetaSchedule::Linear { from: 2.0, to: -1.0, over: 7 },
        BetaSchedule::Cosine { from: 1.0, to: 0.1, over: 12 },
        BetaSchedule::Cosine { from: -0.5, to: 3.0, over: 1 },
    ]
    .into_iter()
    .enumerate()
    {
        let config = BalancerConfig::new(Config::original().with_order(2).with_beta(3.0)).with_beta_schedule(schedule);
        let plan = BalancerPlan::new(config.with_per_group_beta(number % 2 == 1), shape.clone()).unwrap();
        let random = &mut Random(number as u64);
        let mut calls: Vec<Call> =
            (0..30).map(|_| Call::Push((0..18).map(|_| random.between(0.1, 2.0) as f32).collect())).collect();
        if number % 2 == 1 {
            calls.insert(5, Call::Betas((0..6).map(|group| group as f32 - 2.5).collect()));
        }
        // A group that starts again starts its schedule again.
        calls.insert(9, Call::Reset(vec![4]));
        let mut balancer = make(&plan);
        let shown: Vec<Vec<f32>> = calls
            .iter()
            .map(|call| {
                balancer.call(call);
                balancer.state().weights().to_vec()
            })
            .collect();
        let scaled = |by: f64| {
            judge(&plan, &calls, true, |problem| {
                let betas = problem.betas.iter().flatten().map(|&beta| (f64::from(beta) * by) as f32).collect();
                weigh(&Problem { betas: Some(betas), ..problem.clone() })
            })
            .0
        };
        // Between the judges' answers for a factor that much smaller and larger, and a few roundings.
        let [low, high] = [1.0 - 1e-6, 1.0 + 1e-6].map(scaled);
        for (call, found) in shown.iter().enumerate() {
            for group in 0..6 {
                for component in 0..3 {
                    let ends = [&low, &high].map(|end| end[call][group].weights[component]);
                    let found = found[group * 3 + component];
                    let slack = 8.0 * f32::EPSILON;
                    let inside = found >= ends[0].min(ends[1]) - slack && found <= ends[0].max(ends[1]) + slack;
                    assert!(inside, "{schedule:?}, call {call}, group {group}: {found} for {ends:?}");
                }
            }
        }
    }
}

/// The mean of an epoch of many batches is as near as its two levels of sums allow; a group that is copied onto another in
/// the middle of the epoch takes both levels along.
pub fn check_long_epochs<B: Balances>(make: impl Fn(&BalancerPlan) -> B, epochs: &[usize]) {
    // Weights tell the mean: with the order 1, beta 1 and a second loss that stays, the slope is the logarithm of their ratio.
    let config = BalancerConfig::new(Config::original().with_order(1).with_beta(1.0)).with_feed(Feed::EpochMean);
    let plan = BalancerPlan::new(config, Shape::new(2, 2, 2).unwrap()).unwrap();
    let mut balancer = make(&plan);
    balancer.call(&Call::Accumulate(vec![0.0; 4]));
    balancer.call(&Call::CloseEpoch);
    let mut before = 0.0;
    for &batches in epochs {
        let losses: Vec<f32> = (0..batches).map(|batch| 1.0 + ((batch * 7919) % 1009) as f32 / 1009.0).collect();
        for (batch, &loss) in losses.iter().enumerate() {
            balancer.call(&Call::Accumulate(vec![loss, 0.0, if batch < batches / 2 { 5.0 } else { loss }, 0.0]));
            if batch + 1 == batches / 2 || batches == 1 {
                balancer.call(&Call::Copy(vec![(0, 1)]));
            }
        }
        balancer.call(&Call::CloseEpoch);
        let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / batches as f64;
        let state = balancer.state();
        assert_eq!(bits(&state.weights()[..2]), bits(&state.weights()[2..]), "{batches} batches, copied");
        let weights: Vec<f64> = state.weights().iter().map(|&w| f64::from(w)).collect();
        let found = (weights[0] / weights[1]).ln();
        // 256 + batches / 256 roundings of numbers below 2, of two epochs; 20 units for the softmax and its logarithm.
        let bound = (2.0 * (256.0 + batches as f64 / 256.0) + 20.0) * 2.0 * 2f64.powi(-24);
        assert!((found - (mean - before)).abs() < bound, "{batches} batches: {found} for {}", mean - before);
        before = mean;
    }
}

/// The bytes of a state with another number of pushes for every group, and a checksum that fits.
pub fn with_steps(plan: &BalancerPlan, state: &BalancerState, steps: u32) -> BalancerState {
    let mut bytes = state.to_bytes();
    let groups = plan.shape().groups();
    // Behind magic, version and nine numbers: clocks, then steps.
    let start = 8 + 4 + 9 * 8 + 4 * groups;
    for place in bytes[start..start + 4 * groups].as_chunks_mut::<4>().0 {
        *place = steps.to_le_bytes();
    }
    let end = bytes.len() - 4;
    let sum = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    BalancerState::from_bytes(plan, &bytes).unwrap()
}

/// Past 2^31 pushes updates stay due when they were, and schedules stay over.
pub fn check_counters_far_out<B: Balances>(resume: impl Fn(&BalancerPlan, &BalancerState) -> B) {
    const FOLD: u32 = 1 << 31;
    for every in [1, 2, 3, 7, 10] {
        let schedule = BetaSchedule::Linear { from: 0.0, to: 1.0, over: 1 << 29 };
        let config = BalancerConfig::new(Config::original().with_order(1).with_beta(1.0))
            .with_every(every)
            .with_first(2)
            .with_beta_schedule(schedule)
            .with_log(40);
        let plan = BalancerPlan::new(config, Shape::new(3, 2, 2).unwrap()).unwrap();
        let mut start = softadapt::cpu::Balancer::new(&plan);
        let losses = |push: u32| vec![1.0 + (push % 5) as f32, 2.0, 0.5, 3.0 + (push % 3) as f32, 1.0, 4.0];
        start.push(&losses(0)).unwrap();
        start.push(&losses(1)).unwrap();
        start.reset_masked(&[false; 3]).unwrap();
        let mut balancer = resume(&plan, &with_steps(&plan, &start.state(), FOLD - 20));
        for push in 0..45u32 {
            balancer.call(&Call::Push(losses(push)));
            let count = u64::from(FOLD) - 20 + u64::from(push) + 1;
            let due = (count - 2).is_multiple_of(every.into());
            let state = balancer.state();
            let log = state.log(0);
            let logged = log.last().is_some_and(|entry| {
                // The counter that this push left behind.
                let shown = u64::from(entry.step);
                (shown == count || shown < count && (count - shown).is_multiple_of(every.into()) && shown > 1 << 29)
                    && entry.status.is_ok()
                    && bits(&entry.weights) == bits(&state.weights()[..2])
            });
            if due {
                assert!(logged, "every {every}, push {push}: {log:?}");
                // Beta is 1 where the schedule is over.
                let slope = if push == 0 { 1.0 } else { f64::from(losses(push)[0]) - f64::from(losses(push - 1)[0]) };
                let expected = 1.0 / (1.0 + (-slope).exp());
                if push > 0 {
                    assert!((f64::from(state.weights()[0]) - expected).abs() < 1e-6, "every {every}, push {push}");
                }
            }
        }
        let updates = (0..45u64).filter(|push| (u64::from(FOLD) - 21 + push).is_multiple_of(every.into())).count();
        // One from before, and not more than the log holds.
        assert_eq!(balancer.state().log(0).len(), (updates + 1).min(40), "every {every}");
    }
}

/// A state that goes to bytes and back after every call, into a balancer of its own, is that of an uninterrupted run, bit for
/// bit: losses, counters, sums, weights and log.
pub fn check_resumed<B: Balances>(make: impl Fn(&BalancerPlan) -> B, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let (plan, calls) = random_script(seed, true);
        let (mut straight, mut resumed) = (make(&plan), make(&plan));
        for (number, call) in calls.iter().filter(|call| !matches!(call, Call::Reload)).enumerate() {
            straight.call(call);
            resumed.call(call);
            resumed.call(&Call::Reload);
            let [a, b] = [straight.state(), resumed.state()].map(|state| state.to_bytes());
            assert!(a == b, "seed {seed}, call {number}, {:?}", plan.config());
        }
    }
}
