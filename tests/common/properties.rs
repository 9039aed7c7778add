//! Laws that hold whatever the losses are, for any path: random problems that shrink when one breaks a law.
//!
//! Tolerances are the reference's own error bounds, which are proportional to the unit roundoff: those of the f64 path are
//! the f32 ones times 2^-29. Where a law holds for every single rounding, bits are compared.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::problem::{Problem, Random, random_layout};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Cases, RngSeed, TestRunner};
use softadapt::reference::{self, ErrorBounds};
use softadapt::{
    Batch, Config, Layout, LossWeighting, Normalize, OnNegativeMean, OnNonFinite, Plan, Scale, Shape, Slope, Status,
    Weights,
};

/// Unit roundoff of f32.
const U: f64 = 1.0 / (1u64 << 24) as f64;
/// Smallest normal f32: what is smaller may be flushed.
const TINY: f64 = f32::MIN_POSITIVE as f64;
/// Losses are multiples of this below 2^4, so that they and their sums with shifts below 2^10 are f32 numbers.
const GRID: f32 = 1.0 / 4096.0;

/// A path under test.
#[derive(Clone, Copy)]
pub struct Path {
    pub answer: fn(&Problem) -> Weights<f64>,
    /// Its unit roundoff in units of f32's.
    pub unit: f64,
}

pub const REFERENCE: Path = Path { answer: by_reference, unit: 1.0 / (1u64 << 29) as f64 };

fn by_reference(problem: &Problem) -> Weights<f64> {
    let wide = |values: &Vec<f32>| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let losses = wide(&problem.losses);
    let (betas, previous) = (problem.betas.as_ref().map(wide), problem.previous.as_ref().map(wide));
    let batch = Batch {
        losses: &losses,
        betas: betas.as_deref(),
        points: problem.points.as_deref(),
        previous: previous.as_deref(),
    };
    reference::weigh(&problem.plan, &batch).unwrap()
}

/// An f32 path's answer in f64, which holds it without loss.
pub fn widened(answer: Weights<f32>) -> Weights<f64> {
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
    Weights {
        weights: wide(answer.weights),
        status: answer.status,
        slopes: wide(answer.slopes),
        means: wide(answer.means),
    }
}

/// Checks a law, which panics where it is broken, on `cases` settings, or as many as `PROPTEST_CASES` says. The same ones in
/// every run, unless `PROPTEST_RNG_SEED` says otherwise.
pub fn check(cases: u32, law: impl Fn(&Setting)) {
    let mut config = Cases { failure_persistence: None, ..Cases::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1912);
    }
    let result = TestRunner::new(config).run(&settings(), |setting| {
        law(&setting);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// What a problem is made from.
#[derive(Clone, Debug)]
pub struct Setting {
    pub groups: usize,
    pub components: usize,
    pub window: usize,
    pub config: Config,
    pub seed: u64,
    /// Some losses are NaN or infinite.
    pub awkward: bool,
    pub betas: bool,
    pub points: bool,
    pub previous: bool,
}

/// Both sides of the border between groups with a lane each and groups with a lane for each component (16), remainders of
/// blocks of every size, and batches large enough for several threads.
fn settings() -> impl Strategy<Value = Setting> {
    let sizes = prop_oneof![
        8 => (0..=40usize, 1..=16usize, 2..=12usize),
        4 => (0..=12usize, 17..=70usize, 2..=24usize),
        3 => (1..=20usize, 1..=20usize, 2..=70usize),
        2 => (41..=5000usize, 1..=3usize, 2..=6usize),
        1 => (200..=400usize, 15..=20usize, 2..=5usize),
    ];
    let extras = (any::<u64>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (sizes, extras).prop_flat_map(|(sizes, extras)| (Just(sizes), Just(extras), configs(sizes.1, sizes.2))).prop_map(
        |((groups, components, window), (seed, awkward, betas, points, previous), config)| Setting {
            groups,
            components,
            window,
            config,
            seed,
            awkward,
            betas,
            points,
            previous,
        },
    )
}

fn configs(components: usize, window: usize) -> impl Strategy<Value = Config> {
    let highest = (window - 1).min(20) as u32;
    let order = || prop_oneof![5 => 1..=highest.min(6), 1 => 1..=highest].prop_map(Some);
    let slope = prop_oneof![
        2 => order().prop_map(|order| Slope::Forward { order }),
        1 => order().prop_map(|order| Slope::Backward { order }),
        1 => Just(Slope::LeastSquares),
        1 => Just(Slope::Last),
    ];
    let normalize = select(vec![Normalize::None, Normalize::None, Normalize::SignedSum, Normalize::L1, Normalize::L2]);
    let loss_weighting = select(vec![LossWeighting::None, LossWeighting::Window, LossWeighting::SlopePoints]);
    let policies = (
        select(vec![OnNonFinite::Hold, OnNonFinite::Mask, OnNonFinite::Propagate]),
        select(vec![OnNegativeMean::Clamp, OnNegativeMean::AsIs]),
        select(vec![Scale::One, Scale::Components]),
    );
    let numbers = (
        select(vec![0.1, -0.1, 1.0, 7.3, -20.0, 100.0, 0.0]),
        select(vec![0.0, 1e-8, 1e-3]),
        select(vec![0.0, 0.0, 0.1, 0.5, 1.0]),
    );
    let factors = prop::collection::vec(select(vec![0.0, 0.25, 1.0, 3.0, 1e6, 1e-20]), components);
    let prior = prop::option::weighted(0.3, factors);
    (slope, normalize, loss_weighting, policies, numbers, prior).prop_map(
        move |(slope, normalize, loss_weighting, policies, (beta, epsilon, floor), prior)| {
            let mut config = Config::original()
                .with_slope(slope)
                .with_normalize(normalize)
                .with_loss_weighting(loss_weighting)
                .with_on_non_finite(policies.0)
                .with_on_negative_mean(policies.1)
                .with_scale(policies.2)
                .with_beta(beta)
                .with_epsilon(epsilon)
                .with_floor(floor / components as f64 * (1.0 - 1e-12));
            if let Some(mut prior) = prior {
                // One component at least has a weight.
                prior[0] = f64::max(prior[0], 1e-20);
                config = config.with_prior(prior);
            }
            config
        },
    )
}

fn without_prior(mut config: Config) -> Config {
    config.prior = None;
    config
}

impl Setting {
    fn with(&self, change: impl FnOnce(Config) -> Config) -> Self {
        Self { config: change(self.config.clone()), ..self.clone() }
    }

    /// Row-major; a group's losses do not depend on how many groups there are.
    pub fn problem(&self) -> Problem {
        let shape = Shape::new(self.groups, self.components, self.window).unwrap();
        let plan = Plan::new(self.config.clone(), shape).unwrap();
        let (mut losses, mut betas, mut points, mut previous) = (vec![], vec![], vec![], vec![]);
        for group in 0..self.groups {
            let random = &mut Random(self.seed ^ (group as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let kind = random.below(8);
            betas.push(random.between(-3.0, 9.0) as f32);
            points.push(if random.chance(3) { random.below(self.window + 1) as u32 } else { u32::MAX });
            for component in 0..self.components {
                previous.push(random.unit() as f32);
                let (size, rate) = (random.between(0.5, 8.0), random.between(0.0, 0.4));
                for time in 0..self.window {
                    let t = time as f64;
                    let loss = match kind {
                        0 => size,
                        1 => 0.0,
                        2 => size * (random.unit() - 0.5),
                        3 => 0.25 * (t % 16.0) + component as f64 / 16.0 % 8.0,
                        4 => -size * (-rate * t).exp(),
                        _ => size * (0.2 + (-rate * t).exp() + 0.1 * random.unit()),
                    };
                    let bad = self.awkward && group % 3 == 1 && random.chance(3 * self.window);
                    losses.push(if bad {
                        random.pick(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY])
                    } else {
                        (loss as f32 / GRID).round() * GRID
                    });
                }
            }
        }
        Problem {
            plan,
            losses,
            betas: self.betas.then_some(betas),
            points: self.points.then_some(points),
            previous: self.previous.then_some(previous),
        }
    }

    fn random(&self) -> Random {
        Random(self.seed ^ 0x5eed)
    }
}

/// Another problem with the losses of `problem`: `source` says which group and component a place has them from.
fn rebuilt(
    problem: &Problem,
    config: Config,
    shape: Shape,
    source: impl Fn(usize, usize) -> (usize, usize),
) -> Problem {
    let from = problem.plan.shape();
    // What belongs to no row is not to be read.
    let mut losses = vec![f32::NAN; shape.losses_len()];
    let mut previous = problem.previous.as_ref().map(|_| vec![f32::NAN; shape.weights_len()]);
    for group in 0..shape.groups() {
        for component in 0..shape.components(group) {
            let (g, c) = source(group, component);
            for time in 0..shape.window() {
                losses[shape.loss_index(group, component, time)] = problem.losses[from.loss_index(g, c, time)];
            }
            if let (Some(new), Some(old)) = (&mut previous, &problem.previous) {
                new[shape.weight_index(group, component)] = old[from.weight_index(g, c)];
            }
        }
    }
    let groups = || (0..shape.groups()).map(|group| source(group, 0).0);
    let betas = problem.betas.as_ref().map(|betas| groups().map(|g| betas[g]).collect());
    let points = problem.points.as_ref().map(|points| groups().map(|g| points[g]).collect());
    Problem { plan: Plan::new(config, shape).unwrap(), losses, betas, points, previous }
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// Weights, slopes, means of each component and the status of a group, by bits.
pub fn group_bits(problem: &Problem, answer: &Weights<f64>, group: usize) -> (Status, Vec<[u64; 3]>) {
    let shape = problem.plan.shape();
    let row = |i: usize| [answer.weights[i], answer.slopes[i], answer.means[i]].map(bits);
    let rows = (0..shape.components(group)).map(|c| row(shape.weight_index(group, c)));
    (answer.status[group], rows.collect())
}

fn assert_same_groups(one: &Problem, other: &Problem, path: &Path, what: &str) {
    let (a, b) = ((path.answer)(one), (path.answer)(other));
    for group in 0..one.plan.shape().groups() {
        assert_eq!(group_bits(one, &a, group), group_bits(other, &b, group), "{what}: group {group}");
    }
}

/// A problem with its answer and how far it may be off.
struct Solved {
    problem: Problem,
    answer: Weights<f64>,
    bounds: ErrorBounds,
    unit: f64,
}

impl Solved {
    fn new(problem: Problem, path: &Path) -> Self {
        let answer = (path.answer)(&problem);
        let bounds = problem.exact().1;
        Self { problem, answer, bounds, unit: path.unit }
    }

    fn index(&self, group: usize, component: usize) -> usize {
        self.problem.plan.shape().weight_index(group, component)
    }

    fn weight(&self, group: usize, component: usize) -> f64 {
        self.answer.weights[self.index(group, component)]
    }

    /// How far a weight may be off; `None` if nothing is claimed of the group.
    fn bound(&self, group: usize, component: usize) -> Option<f64> {
        let components = self.problem.plan.shape().components(group);
        let claimed = (0..components).all(|c| self.bounds.weights[self.index(group, c)].is_finite());
        claimed.then(|| self.unit * self.bounds.weights[self.index(group, component)])
    }

    /// Whether the group's weights are computed from all of its components.
    fn is_computed(&self, group: usize) -> bool {
        let excuses = Status::NOT_READY | Status::NON_FINITE | Status::NON_FINITE_BETA;
        self.answer.status[group].bits() & excuses.bits() == 0
    }

    /// That a weight is `factor` times another's, as far as both can be known.
    fn assert_weight(&self, at: (usize, usize), factor: f64, other: &Self, there: (usize, usize), what: &str) {
        let (Some(mine), Some(theirs)) = (self.bound(at.0, at.1), other.bound(there.0, there.1)) else { return };
        let (value, expected) = (self.weight(at.0, at.1), factor * other.weight(there.0, there.1));
        if value.is_nan() && expected.is_nan() {
            return;
        }
        let tolerance = mine + factor.abs() * theirs;
        let (status, before) = (self.answer.status[at.0], other.answer.status[there.0]);
        assert!(
            (value - expected).abs() <= tolerance,
            "{what}: weight of component {} in group {} is {value:e} ({status}), expected {expected:e} ({before}), \
             tolerance {tolerance:e}",
            at.1,
            at.0
        );
    }
}

/// Weights add up to 1, or to the number of components; with epsilon to a little less. Groups that hold keep what they had.
pub fn weights_add_up(path: &Path, setting: &Setting) {
    let problem = setting.problem();
    let answer = (path.answer)(&problem);
    let (config, shape) = (problem.plan.config(), problem.plan.shape());
    let n = setting.components;
    let whole = if config.scale == Scale::One { 1.0 } else { n as f64 };
    let prior = |c: usize| config.prior.as_ref().map_or(1.0, |prior| prior[c]);
    for group in 0..shape.groups() {
        let status = answer.status[group];
        let weights: Vec<f64> = (0..n).map(|c| answer.weights[shape.weight_index(group, c)]).collect();
        let place = format!("group {group}, {status}: {weights:?}");
        let counts = |c: usize| {
            let i = shape.weight_index(group, c);
            answer.slopes[i].is_finite() && (!problem.plan.is_loss_weighted() || answer.means[i].is_finite())
        };
        let waits = status.contains(Status::NOT_READY);
        let bad = status.contains(Status::NON_FINITE) || status.contains(Status::NON_FINITE_BETA);
        if bad && !waits && config.on_non_finite == OnNonFinite::Propagate {
            assert!(weights.iter().all(|w| w.is_nan()), "{place}");
            continue;
        }
        let masks = config.on_non_finite == OnNonFinite::Mask && (0..n).any(|c| counts(c) && prior(c) > 0.0);
        let holds = waits || bad && !masks;
        if holds && let Some(previous) = &problem.previous {
            for (c, weight) in weights.iter().enumerate() {
                assert_eq!(bits(*weight), bits(f64::from(previous[shape.weight_index(group, c)])), "{place}");
            }
            continue;
        }
        for (c, weight) in weights.iter().enumerate() {
            assert!(prior(c) > 0.0 && (holds || counts(c)) || *weight == 0.0, "{place}: component {c} has none");
        }
        let as_is = config.on_negative_mean == OnNegativeMean::AsIs && problem.plan.is_loss_weighted();
        assert!(as_is || weights.iter().all(|&w| w >= 0.0), "{place}");
        let (sum, magnitude): (f64, f64) = (weights.iter().sum(), weights.iter().map(|w| w.abs()).sum());
        // The divisor is a sum of n rounded terms, relative to their magnitudes; a quotient, floor and scale follow.
        let tolerance = (n + 12) as f64 * U * path.unit * magnitude * (magnitude / whole).max(1.0) + n as f64 * TINY;
        if config.epsilon == 0.0 || holds {
            assert!((sum - whole).abs() <= tolerance, "{place}: sum {sum}");
        } else if !as_is {
            assert!(sum <= whole + tolerance, "{place}: sum {sum}");
            if !problem.plan.is_loss_weighted() && config.prior.is_none() {
                // The largest exponential is 1.
                assert!(sum >= whole / (1.0 + config.epsilon) - tolerance, "{place}: sum {sum}");
            }
        }
    }
}

/// A constant added to all losses changes no slope, and no weight without loss weighting: losses enter as differences, which
/// are exact here.
pub fn shifts_do_not_show(path: &Path, setting: &Setting) {
    let problem = setting.problem();
    let shift = GRID * setting.random().below(1 << 22) as f32 - 512.0;
    let losses = problem.losses.iter().map(|loss| loss + shift).collect();
    let shifted = Solved::new(Problem { losses, ..problem.clone() }, path);
    let plain = Solved::new(problem, path);
    let weighted = plain.problem.plan.is_loss_weighted();
    for (group, component) in places(&plain.problem) {
        let i = plain.index(group, component);
        assert_eq!(bits(plain.answer.slopes[i]), bits(shifted.answer.slopes[i]), "slope {component} of group {group}");
        if !weighted {
            assert_eq!(
                bits(plain.answer.weights[i]),
                bits(shifted.answer.weights[i]),
                "weight {component} of group {group}"
            );
            assert_eq!(plain.answer.status[group], shifted.answer.status[group]);
        }
        let error = (shifted.answer.means[i] - plain.answer.means[i] - f64::from(shift)).abs();
        let allowed = path.unit * (plain.bounds.means[i] + shifted.bounds.means[i]);
        // 2^-53 of the sum that this test takes.
        assert!(!(error > allowed + 4e-16 * f64::from(shift.abs()) + 4e-14), "mean {component} of group {group}");
    }
}

fn places(problem: &Problem) -> impl Iterator<Item = (usize, usize)> {
    let shape = problem.plan.shape().clone();
    (0..shape.groups()).flat_map(move |group| (0..shape.components(group)).map(move |component| (group, component)))
}

/// Components in another order have their weights in that order.
pub fn components_may_be_permuted(path: &Path, setting: &Setting) {
    let plain = Solved::new(setting.problem(), path);
    let order = setting.random().shuffled(setting.components);
    let mut config = setting.config.clone();
    if let Some(prior) = &mut config.prior {
        *prior = order.iter().map(|&component| prior[component]).collect();
    }
    let shape = plain.problem.plan.shape().clone();
    let other = Solved::new(rebuilt(&plain.problem, config, shape, |g, c| (g, order[c])), path);
    for (group, component) in places(&plain.problem) {
        let (new, old) = (other.index(group, component), plain.index(group, order[component]));
        assert_eq!(bits(other.answer.slopes[new]), bits(plain.answer.slopes[old]), "slope of group {group}");
        assert_eq!(bits(other.answer.means[new]), bits(plain.answer.means[old]), "mean of group {group}");
        other.assert_weight((group, component), 1.0, &plain, (group, order[component]), "permuted");
        if plain.bound(group, component).is_some() && other.bound(group, component).is_some() {
            assert_eq!(other.answer.status[group], plain.answer.status[group], "group {group}");
        }
    }
}

/// Groups in another order, some of them, one alone, one often: each keeps its bits.
pub fn groups_may_be_permuted(path: &Path, setting: &Setting) {
    let problem = setting.problem();
    if setting.groups == 0 {
        return;
    }
    let whole = (path.answer)(&problem);
    let random = &mut setting.random();
    let shuffled = random.shuffled(setting.groups);
    let some = shuffled[..random.within(1..=setting.groups)].to_vec();
    let repeated = vec![random.below(setting.groups); 35];
    for chosen in [shuffled, some, vec![random.below(setting.groups)], repeated] {
        let shape = Shape::new(chosen.len(), setting.components, setting.window).unwrap();
        let other = rebuilt(&problem, setting.config.clone(), shape, |g, c| (chosen[g], c));
        let found = (path.answer)(&other);
        for (new, &old) in chosen.iter().enumerate() {
            let what = format!("group {old} as {new} of {}", chosen.len());
            assert_eq!(group_bits(&other, &found, new), group_bits(&problem, &whole, old), "{what}");
        }
    }
}

/// What befalls other groups changes no bit of a group.
pub fn groups_are_independent(path: &Path, setting: &Setting) {
    let problem = setting.problem();
    let random = &mut setting.random();
    let mut other = problem.clone();
    let kept: Vec<bool> = (0..setting.groups).map(|_| random.chance(2)).collect();
    let row = setting.components * setting.window;
    for group in (0..setting.groups).filter(|&g| !kept[g]) {
        for loss in &mut other.losses[group * row..][..row] {
            *loss = random.pick(&[f32::NAN, f32::INFINITY, -3e38, 1e-42, 5.0, 0.0]);
        }
        if let Some(betas) = &mut other.betas {
            betas[group] = random.pick(&[f32::NAN, -8e37, 0.0]);
        }
        if let Some(points) = &mut other.points {
            points[group] = random.below(setting.window + 1) as u32;
        }
        if let Some(previous) = &mut other.previous {
            previous[group * setting.components..][..setting.components].fill(f32::NAN);
        }
    }
    let (before, after) = ((path.answer)(&problem), (path.answer)(&other));
    for group in (0..setting.groups).filter(|&g| kept[g]) {
        assert_eq!(group_bits(&problem, &before, group), group_bits(&other, &after, group), "group {group}");
    }
}

/// Where the elements lie changes no bit: row-major, time-major, strides, and the same groups as ragged ones.
pub fn layouts_do_not_show(path: &Path, setting: &Setting) {
    let problem = setting.problem();
    let random = &mut setting.random();
    let uniform = problem.plan.shape();
    let ragged: Vec<u32> = (0..=setting.groups).map(|g| (g * setting.components) as u32).collect();
    let ragged = Shape::ragged(ragged, setting.window).unwrap();
    let mut shapes = vec![uniform.clone().with_layout(Layout::TimeMajor).unwrap()];
    for _ in 0..2 {
        let layout = random_layout(random, setting.groups, setting.components, setting.window);
        shapes.push(uniform.clone().with_layout(layout).unwrap());
    }
    // A ragged shape without groups has no components that a prior could be for.
    if setting.groups > 0 {
        shapes.push(ragged.clone());
        shapes.push(ragged.with_layout(Layout::TimeMajor).unwrap());
    }
    for shape in shapes {
        let what = format!("{:?}, ragged: {}", shape.layout(), shape.offsets().is_some());
        let other = rebuilt(&problem, setting.config.clone(), shape, |g, c| (g, c));
        assert_same_groups(&problem, &other, path, &what);
    }
}

/// Groups of several sizes in one ragged batch have the bits that they have among their like.
pub fn ragged_groups_are_as_uniform_ones(path: &Path, setting: &Setting) {
    // A prior is for the largest group, and may leave a small one without a positive factor.
    let setting = setting.with(|config| without_prior(config));
    let problem = setting.problem();
    let random = &mut setting.random();
    let sizes = [1, setting.components.div_ceil(2), setting.components];
    let counts: Vec<usize> =
        (0..setting.groups).map(|_| if random.chance(5) { 0 } else { random.pick(&sizes) }).collect();
    let mut offsets = vec![0u32];
    for count in &counts {
        offsets.push(offsets[offsets.len() - 1] + *count as u32);
    }
    let layout = random.pick(&[Layout::RowMajor, Layout::TimeMajor]);
    let shape = Shape::ragged(offsets, setting.window).unwrap().with_layout(layout).unwrap();
    let ragged = rebuilt(&problem, setting.config.clone(), shape, |g, c| (g, c));
    let found = (path.answer)(&ragged);
    for size in sizes {
        let members: Vec<usize> = (0..setting.groups).filter(|&g| counts[g] == size).collect();
        let shape = Shape::new(members.len(), size, setting.window).unwrap();
        let uniform = rebuilt(&problem, setting.config.clone(), shape, |g, c| (members[g], c));
        let alike = (path.answer)(&uniform);
        for (new, &old) in members.iter().enumerate() {
            assert_eq!(group_bits(&ragged, &found, old), group_bits(&uniform, &alike, new), "{size} components");
        }
    }
}

/// A batch cut into slices has the bits of the whole.
pub fn cuts_do_not_show(path: &Path, setting: &Setting) {
    let problem = setting.problem();
    let whole = (path.answer)(&problem);
    let shape = problem.plan.shape();
    let random = &mut setting.random();
    let mut start = 0;
    while start < setting.groups {
        let end = start + random.within(1..=(setting.groups - start).min(700));
        let part = Problem {
            plan: problem.plan.with_shape(shape.slice(start..end).unwrap()).unwrap(),
            losses: problem.losses[shape.loss_range(start..end)].to_vec(),
            betas: problem.betas.as_ref().map(|betas| betas[start..end].to_vec()),
            points: problem.points.as_ref().map(|points| points[start..end].to_vec()),
            previous: problem.previous.as_ref().map(|previous| previous[shape.weight_range(start..end)].to_vec()),
        };
        let found = (path.answer)(&part);
        for group in start..end {
            assert_eq!(
                group_bits(&part, &found, group - start),
                group_bits(&problem, &whole, group),
                "group {group} in {start}..{end}"
            );
        }
        start = end;
    }
}

/// Losses times a power of two: slopes and means too, and beta divided by it, or scores that are normalised, leave the
/// weights as they are. Times 3: as far as rounding allows.
pub fn losses_may_be_scaled(path: &Path, setting: &Setting) {
    // Epsilon has the unit of a loss.
    let setting = setting.with(|config| config.with_epsilon(0.0));
    let plain = Solved::new(setting.problem(), path);
    let normalized = setting.config.normalize != Normalize::None;
    let exponent = setting.random().within(0..=12) as i32 - 6;
    for (factor, exact) in [(2f64.powi(exponent), true), (3.0, false)] {
        let mut problem = plain.problem.clone();
        // 3 times a multiple of the grid below 2^4 is an f32 number.
        problem.losses.iter_mut().for_each(|loss| *loss *= factor as f32);
        if !normalized {
            let config = setting.config.clone().with_beta(setting.config.beta / factor);
            problem.plan = Plan::new(config, problem.plan.shape().clone()).unwrap();
            if let Some(betas) = &mut problem.betas {
                betas.iter_mut().for_each(|beta| *beta /= factor as f32);
            }
        }
        let scaled = Solved::new(problem, path);
        for (group, component) in places(&plain.problem) {
            let i = plain.index(group, component);
            if exact {
                let row = |s: &Solved, f: f64| [f * s.answer.slopes[i], f * s.answer.means[i]].map(bits);
                assert_eq!(row(&plain, factor), row(&scaled, 1.0), "times {factor}, {component} of group {group}");
            }
            // Betas of groups are divided in f32: by 3 that rounds, by up to 1e-6 of exponents up to 104.
            if exact || plain.problem.betas.is_none() {
                scaled.assert_weight((group, component), 1.0, &plain, (group, component), &format!("times {factor}"));
            }
        }
    }
}

/// Factors of the prior mean something only relative to each other; ones are no factors; a floor mixes with uniform
/// weights; the scale multiplies.
pub fn prior_floor_and_scale(path: &Path, setting: &Setting) {
    let n = setting.components;
    let bare = setting.with(|config| without_prior(config).with_floor(0.0).with_scale(Scale::One).with_epsilon(0.0));
    let plain = Solved::new(bare.problem(), path);
    let same = |change: &dyn Fn(Config) -> Config, factor: f64, what: &str| {
        let other = Solved::new(bare.with(change).problem(), path);
        for (group, component) in places(&plain.problem) {
            // Previous weights are kept as they are.
            if plain.is_computed(group) {
                other.assert_weight((group, component), factor, &plain, (group, component), what);
            }
        }
    };
    same(&|config| config.with_prior(vec![1.0; n]), 1.0, "a prior of ones");
    same(&|config| config.with_prior(vec![1e30; n]), 1.0, "a prior of large equal factors");
    same(&|config| config.with_scale(Scale::Components), n as f64, "scale");
    let floor = 0.5 / n as f64;
    let floored = Solved::new(bare.with(|config| config.with_floor(floor)).problem(), path);
    for (group, component) in places(&plain.problem).filter(|&(group, _)| plain.is_computed(group)) {
        let (Some(a), Some(b)) = (plain.bound(group, component), floored.bound(group, component)) else { continue };
        let expected = floor + 0.5 * plain.weight(group, component);
        let value = floored.weight(group, component);
        assert!((value - expected).abs() <= a + b, "floor, {component} of group {group}: {value:e}, {expected:e}");
        let negative = plain.answer.status[group].contains(Status::NEGATIVE_MEAN_LOSS)
            && setting.config.on_negative_mean == OnNegativeMean::AsIs;
        assert!(negative || value >= floor * (1.0 - 4.0 * U * path.unit), "floor, {component} of group {group}");
    }
    if let Some(prior) = &setting.config.prior {
        let full = Solved::new(setting.with(|config| config.with_epsilon(0.0)).problem(), path);
        let doubled: Vec<f64> = prior.iter().map(|factor| 1024.0 * factor).collect();
        let other = setting.with(|config| config.with_prior(doubled).with_epsilon(0.0));
        let other = Solved::new(other.problem(), path);
        for (group, component) in places(&full.problem) {
            other.assert_weight((group, component), 1.0, &full, (group, component), "a prior times 1024");
        }
    }
}

/// A larger beta moves weight towards larger scores: the mean score under the weights, whose derivative in beta is a
/// variance, never falls, and no more do the odds of a component against one with a lower score.
pub fn weights_are_monotone_in_beta(path: &Path, setting: &Setting) {
    let betas = [-40.0, -3.0, -0.1, 0.0, 0.1, 0.7, 3.0, 40.0];
    let solved = betas.map(|beta| {
        let setting = setting.with(|config| {
            config.with_beta(beta).with_loss_weighting(LossWeighting::None).with_epsilon(0.0).with_normalize(
                if setting.config.normalize == Normalize::SignedSum { Normalize::L1 } else { setting.config.normalize },
            )
        });
        Solved::new(Setting { betas: false, awkward: false, ..setting }.problem(), path)
    });
    let n = setting.components;
    for pair in solved.windows(2) {
        let (lower, higher) = (&pair[0], &pair[1]);
        for group in (0..setting.groups).filter(|&group| lower.is_computed(group)) {
            // Normalising multiplies all slopes of a group by one positive number.
            let slope = |c: usize| lower.answer.slopes[lower.index(group, c)];
            let bounds = |s: &Solved| (0..n).map(|c| s.bound(group, c)).collect::<Option<Vec<f64>>>();
            let (Some(a), Some(b)) = (bounds(lower), bounds(higher)) else { continue };
            let gain: f64 = (0..n).map(|c| (higher.weight(group, c) - lower.weight(group, c)) * slope(c)).sum();
            let size: f64 = (0..n).map(|c| slope(c).abs()).sum();
            // Slopes are the path's own: each is off by its bound, times a change of weight below the whole.
            let whole = if setting.config.scale == Scale::One { 1.0 } else { n as f64 };
            let open: f64 = (0..n)
                .map(|c| {
                    (a[c] + b[c]) * slope(c).abs()
                        + path.unit * lower.bounds.slopes[lower.index(group, c)] * 2.0 * whole
                })
                .sum();
            // And 2^-53 for the sum that this test takes.
            assert!(gain >= -open - 1e-15 * n as f64 * size * whole, "group {group}: mean score falls by {}", -gain);
            let by_slope = |x: &usize, y: &usize| slope(*x).total_cmp(&slope(*y));
            let prior = |c: &usize| setting.config.prior.as_ref().is_none_or(|prior| prior[*c] > 0.0);
            let (Some(top), Some(bottom)) =
                ((0..n).filter(prior).max_by(by_slope), (0..n).filter(prior).min_by(by_slope))
            else {
                continue;
            };
            let change = |c: usize| higher.weight(group, c) - lower.weight(group, c);
            assert!(change(top) >= -(a[top] + b[top]), "group {group}: the largest score's weight falls");
            assert!(change(bottom) <= a[bottom] + b[bottom], "group {group}: the smallest score's weight rises");
        }
    }
}

/// Losses and beta with the other sign: nothing changes where losses do not weigh. Dividing by the signed sum takes the sign
/// out by itself.
pub fn signs_may_be_turned(path: &Path, setting: &Setting) {
    let setting = setting.with(|config| config.with_loss_weighting(LossWeighting::None).with_epsilon(0.0));
    let plain = Solved::new(setting.problem(), path);
    let mut problem = plain.problem.clone();
    problem.losses.iter_mut().for_each(|loss| *loss = -*loss);
    if setting.config.normalize != Normalize::SignedSum {
        let config = setting.config.clone().with_beta(-setting.config.beta);
        problem.plan = Plan::new(config, problem.plan.shape().clone()).unwrap();
        if let Some(betas) = &mut problem.betas {
            betas.iter_mut().for_each(|beta| *beta = -*beta);
        }
    }
    let turned = Solved::new(problem, path);
    for (group, component) in places(&plain.problem) {
        let i = plain.index(group, component);
        // Zero has two signs, and a mean is of either.
        let opposite = |a: f64, b: f64| a == -b || a.is_nan() && b.is_nan();
        assert!(opposite(plain.answer.slopes[i], turned.answer.slopes[i]), "slope {component} of group {group}");
        assert!(opposite(plain.answer.means[i], turned.answer.means[i]), "mean {component} of group {group}");
        turned.assert_weight((group, component), 1.0, &plain, (group, component), "turned");
    }
}

/// Forward differences are the backward ones of the same points in reverse, with the other sign; a fitted line turns over.
pub fn time_may_be_reversed(path: &Path, setting: &Setting) {
    let setting = Setting { points: false, ..setting.clone() };
    let plain = Solved::new(setting.problem(), path);
    let mut problem = plain.problem.clone();
    let used = setting.window - problem.plan.slope_points();
    problem.losses.chunks_mut(setting.window).for_each(|row| row[used..].reverse());
    let softadapt::Score::Slope(slope) = setting.config.score else { return };
    let reversed = match slope {
        Slope::Forward { order } => Slope::Backward { order },
        Slope::Backward { order } => Slope::Forward { order },
        Slope::Last => Slope::Forward { order: Some(1) },
        other => other,
    };
    let config = setting.config.clone().with_slope(reversed);
    problem.plan = Plan::new(config, problem.plan.shape().clone()).unwrap();
    let turned = Solved::new(problem, path);
    for (group, component) in places(&plain.problem) {
        let i = plain.index(group, component);
        let (a, b) = (plain.answer.slopes[i], turned.answer.slopes[i]);
        let bound = path.unit * (plain.bounds.slopes[i] + turned.bounds.slopes[i]);
        let same = a.is_nan() && b.is_nan() || bound.is_infinite() || (a + b).abs() <= bound;
        assert!(same, "component {component} of group {group}: {a:e}, reversed {b:e}");
    }
}

/// A window filled in part is a shorter window: what is older is not there.
pub fn points_are_a_shorter_window(path: &Path, setting: &Setting) {
    let long = setting.problem();
    let needed = long.plan.slope_points();
    let short = setting.random().within(needed..=setting.window);
    let from = long.plan.shape();
    let shape = Shape::new(setting.groups, setting.components, short).unwrap();
    let losses = (0..setting.groups * setting.components)
        .flat_map(|row| long.losses[row * setting.window..][setting.window - short..setting.window].to_vec())
        .collect();
    // A fitted line is fitted to the whole window.
    if long.plan.order().is_none() && short < setting.window {
        return;
    }
    let short_problem = Problem {
        plan: Plan::new(setting.config.clone(), shape).unwrap(),
        losses,
        points: Some(vec![short as u32; setting.groups]),
        ..long.clone()
    };
    let mut in_part = Problem { points: Some(vec![short as u32; setting.groups]), ..long.clone() };
    for row in 0..from.rows() {
        in_part.losses[row * setting.window..][..setting.window - short].fill(f32::NAN);
    }
    assert_same_groups(&short_problem, &in_part, path, &format!("{short} of {} points", setting.window));
}

/// A component that is masked is as absent.
pub fn masked_components_are_as_absent(path: &Path, setting: &Setting) {
    let n = setting.components;
    let gone = setting.random().below(n);
    let left: Vec<usize> = (0..n).filter(|&c| c != gone).collect();
    let usable = |c: &usize| setting.config.prior.as_ref().is_none_or(|prior| prior[*c] > 0.0);
    if !left.iter().any(usable) {
        return;
    }
    let setting = setting.with(|config| config.with_on_non_finite(OnNonFinite::Mask).with_scale(Scale::One));
    let mut problem = Setting { awkward: false, ..setting.clone() }.problem();
    for group in 0..setting.groups {
        problem.losses[((group * n + gone) + 1) * setting.window - 1] = f32::NAN;
    }
    let mut config = setting.config.clone();
    if let Some(prior) = &mut config.prior {
        prior.remove(gone);
    }
    let shape = Shape::new(setting.groups, n - 1, setting.window).unwrap();
    let absent = Solved::new(rebuilt(&problem, config, shape, |g, c| (g, left[c])), path);
    let masked = Solved::new(problem, path);
    for (group, component) in places(&absent.problem).filter(|&(group, _)| absent.is_computed(group)) {
        assert_eq!(masked.weight(group, gone), 0.0, "group {group}");
        assert!(masked.answer.status[group].contains(Status::NON_FINITE), "group {group}");
        masked.assert_weight((group, left[component]), 1.0, &absent, (group, component), "masked");
    }
}

/// Without factors, weights are in the order of the slopes.
pub fn weights_follow_slopes(path: &Path, setting: &Setting) {
    let setting = setting
        .with(|config| without_prior(config).with_loss_weighting(LossWeighting::None).with_normalize(Normalize::None));
    let solved = Solved::new(setting.problem(), path);
    for group in (0..setting.groups).filter(|&group| solved.is_computed(group)) {
        let beta = solved.problem.betas.as_ref().map_or(setting.config.beta, |betas| f64::from(betas[group]));
        let mut order: Vec<usize> = (0..setting.components).collect();
        let key = |c: usize| beta.signum() * solved.answer.slopes[solved.index(group, c)];
        order.sort_by(|&x, &y| key(x).total_cmp(&key(y)));
        for pair in order.windows(2) {
            let (lower, higher) = (solved.weight(group, pair[0]), solved.weight(group, pair[1]));
            // Exponents of at most 104, with 4 roundings, to an exponential of 2 ULP, on either side.
            let slack = 2.0 * (8.0 + 4.0 * 104.0) * U * path.unit;
            assert!(lower <= higher * (1.0 + slack) + TINY, "group {group}: {lower:e} above {higher:e}");
        }
    }
}
