//! Random problems: plans with data, answered by the reference, and the comparison with an f32 path's answer.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use softadapt::reference::{self, ErrorBounds};
use softadapt::{
    Batch, Config, Layout, LossWeighting, Normalize, OnNegativeMean, OnNonFinite, Outputs, Plan, Scale, Shape, Slope,
    Status, Strides, Weights,
};

/// Stands in every output before a call: what is left of it was not written.
pub const POISON: f32 = -7.25e33;
pub const POISON_STATUS: Status = Status::from_bits(0xdead_0000);

/// Small and reproducible (Steele, Lea, Flood, splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn within(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    /// 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// 0 to below `end` in any order.
    pub fn shuffled(&mut self, end: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..end).collect();
        for i in (1..end).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A plan with data, owned.
#[derive(Clone)]
pub struct Problem {
    pub plan: Plan,
    pub losses: Vec<f32>,
    pub betas: Option<Vec<f32>>,
    pub points: Option<Vec<u32>>,
    pub previous: Option<Vec<f32>>,
}

impl Problem {
    pub fn batch(&self) -> Batch<'_, f32> {
        Batch {
            losses: &self.losses,
            betas: self.betas.as_deref(),
            points: self.points.as_deref(),
            previous: self.previous.as_deref(),
        }
    }

    /// The answer of the reference with the bounds for the f32 path.
    pub fn exact(&self) -> (Weights<f64>, ErrorBounds) {
        let wide = |values: &Vec<f32>| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let losses = wide(&self.losses);
        let betas = self.betas.as_ref().map(wide);
        let previous = self.previous.as_ref().map(wide);
        let batch = Batch {
            losses: &losses,
            betas: betas.as_deref(),
            points: self.points.as_deref(),
            previous: previous.as_deref(),
        };
        (reference::weigh(&self.plan, &batch).unwrap(), reference::error_bounds(&self.plan, &batch).unwrap())
    }

    /// The problem of some of its groups, in any layout that can hold them, with the same losses.
    pub fn of_groups(&self, groups: &[usize], layout: Layout) -> Self {
        let from = self.plan.shape();
        let shape = match from.uniform_components() {
            Some(components) => Shape::new(groups.len(), components, from.window()).unwrap(),
            None => {
                let mut offsets = vec![0];
                for &group in groups {
                    offsets.push(offsets[offsets.len() - 1] + from.components(group) as u32);
                }
                Shape::ragged(offsets, from.window()).unwrap()
            }
        };
        let shape = shape.with_layout(layout).unwrap();
        let mut losses = vec![f32::NAN; shape.losses_len()];
        let mut previous = self.previous.as_ref().map(|_| vec![f32::NAN; shape.weights_len()]);
        for (new, &old) in groups.iter().enumerate() {
            for component in 0..from.components(old) {
                for time in 0..from.window() {
                    losses[shape.loss_index(new, component, time)] = self.losses[from.loss_index(old, component, time)];
                }
                if let (Some(new_values), Some(old_values)) = (&mut previous, &self.previous) {
                    new_values[shape.weight_index(new, component)] = old_values[from.weight_index(old, component)];
                }
            }
        }
        Self {
            plan: self.plan.with_shape(shape).unwrap(),
            losses,
            betas: self.betas.as_ref().map(|betas| groups.iter().map(|&g| betas[g]).collect()),
            points: self.points.as_ref().map(|points| groups.iter().map(|&g| points[g]).collect()),
            previous,
        }
    }
}

pub fn poisoned(plan: &Plan) -> Weights<f32> {
    let rows = vec![POISON; plan.shape().weights_len()];
    Weights {
        weights: rows.clone(),
        status: vec![POISON_STATUS; plan.shape().groups()],
        slopes: rows.clone(),
        means: rows,
    }
}

pub fn outputs(weights: &mut Weights<f32>) -> Outputs<'_, f32> {
    Outputs {
        weights: &mut weights.weights,
        status: Some(&mut weights.status),
        slopes: Some(&mut weights.slopes),
        means: Some(&mut weights.means),
    }
}

pub fn random_layout(random: &mut Random, groups: usize, components: usize, window: usize) -> Layout {
    match random.below(4) {
        0 => Layout::TimeMajor,
        1 => {
            // Any order of the axes, with gaps.
            let mut axes = [(groups as u64, 0), (components as u64, 1), (window as u64, 2)];
            for i in [2, 1] {
                axes.swap(i, random.below(i + 1));
            }
            let mut strides = [0; 3];
            let mut span = 1;
            for (count, axis) in axes {
                strides[axis] = span + random.below(3) as u64;
                span += strides[axis] * count.saturating_sub(1);
            }
            let (weight_group, weight_component) = if random.chance(2) {
                let inner = 1 + random.below(2) as u64;
                (inner * components as u64 + random.below(3) as u64, inner)
            } else {
                let inner = 1 + random.below(2) as u64;
                (inner, inner * groups.max(1) as u64 + random.below(3) as u64)
            };
            Layout::Strided(Strides {
                group: strides[0],
                component: strides[1],
                time: strides[2],
                weight_group,
                weight_component,
            })
        }
        _ => Layout::RowMajor,
    }
}

pub fn random_config(random: &mut Random, window: usize, components: usize) -> Config {
    let order = |random: &mut Random| {
        let highest = (window - 1).min(20) as u32;
        let usual = highest.min(8);
        Some(if random.chance(6) { random.within(1..=highest as usize) } else { random.within(1..=usual as usize) }
            as u32)
    };
    let slope = match random.below(5) {
        0 | 1 => Slope::Forward { order: order(random) },
        2 => Slope::Backward { order: order(random) },
        3 => Slope::LeastSquares,
        _ => Slope::Last,
    };
    let beta = random.pick(&[0.1, 0.1, -0.1, 1.0, 7.3, 0.0, -20.0, 1e-9, 8e37]);
    let mut config = Config::original()
        .with_slope(slope)
        .with_beta(beta)
        .with_normalize(random.pick(&[
            Normalize::None,
            Normalize::None,
            Normalize::SignedSum,
            Normalize::L1,
            Normalize::L2,
        ]))
        .with_loss_weighting(random.pick(&[
            LossWeighting::None,
            LossWeighting::None,
            LossWeighting::Window,
            LossWeighting::SlopePoints,
        ]))
        .with_on_non_finite(random.pick(&[OnNonFinite::Hold, OnNonFinite::Mask, OnNonFinite::Propagate]))
        .with_on_negative_mean(random.pick(&[OnNegativeMean::Clamp, OnNegativeMean::AsIs]))
        .with_scale(random.pick(&[Scale::One, Scale::Components]))
        .with_epsilon(random.pick(&[1e-8, 1e-8, 0.0, 1e-3, 1e-30]));
    if random.chance(3) {
        let span = random.pick(&[1.0, 10.0, 30.0]);
        let prior: Vec<f64> = (0..components)
            .map(|i| if i > 0 && random.chance(5) { 0.0 } else { 10f64.powf(random.between(-span, span)) })
            .collect();
        config = config.with_prior(prior);
    }
    if random.chance(3) {
        config = config.with_floor(random.pick(&[0.1, 0.5, 0.999_999, 1.0]) / components as f64 * (1.0 - 1e-12));
    }
    config
}

pub fn random_losses(random: &mut Random, shape: &Shape) -> Vec<f32> {
    // Places outside all rows hold NaN: they must not be read.
    let mut losses = vec![f32::NAN; shape.losses_len()];
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -3e38, 1e-45, -1e-40, 0.0, -0.0];
    for group in 0..shape.groups() {
        let sprinkled = random.chance(6);
        let magnitude = if random.chance(12) {
            10f64.powf(random.between(-44.0, 38.0))
        } else {
            10f64.powf(random.between(-4.0, 4.0))
        };
        let kind = random.below(10);
        for component in 0..shape.components(group) {
            let size = magnitude * random.between(0.1, 1.0);
            let rate = random.between(-0.3, 0.1);
            let offset = if kind == 1 { random.between(0.0, 1e3) } else { random.between(0.0, 0.3) };
            let sign = if kind == 2 && random.chance(2) { -1.0 } else { 1.0 };
            for time in 0..shape.window() {
                let t = time as f64;
                let value = match kind {
                    3 => size,
                    4 => magnitude * (t + component as f64),
                    5 => 0.0,
                    6 => size * (random.unit() - 0.5),
                    _ => sign * size * ((rate * t.min(50.0)).exp() + offset + 0.05 * random.unit()),
                };
                let value = if sprinkled && random.chance(40) { random.pick(&special) } else { value as f32 };
                losses[shape.loss_index(group, component, time)] = value;
            }
        }
    }
    losses
}

pub fn random_problem(seed: u64) -> Problem {
    let random = &mut Random(seed);
    let (most, window) = match random.below(24) {
        0 => (4096, random.within(2..=6)),
        1 => (random.within(1..=3), 4096),
        2 => (random.within(200..=700), random.within(2..=20)),
        3 => (random.within(1..=4), random.within(70..=700)),
        4..=9 => (random.within(1..=70), random.within(2..=9)),
        _ => (random.within(1..=70), random.within(2..=70)),
    };
    let groups = (60_000 / (most * window)).clamp(1, 45);
    let groups = random.within(0..=groups).max(usize::from(!random.chance(20)));
    let ragged = random.chance(4);
    let shape = if ragged {
        let mut offsets = vec![0u32];
        for _ in 0..groups {
            let components = if random.chance(8) { 0 } else { random.within(1..=most) };
            // Few different sizes, so that some share a block.
            let components = if most > 6 && random.chance(2) { components.min(3) } else { components };
            offsets.push(offsets[offsets.len() - 1] + components as u32);
        }
        let layout = random.pick(&[Layout::RowMajor, Layout::TimeMajor]);
        Shape::ragged(offsets, window).unwrap().with_layout(layout).unwrap()
    } else {
        let layout = random_layout(random, groups, most, window);
        Shape::new(groups, most, window).unwrap().with_layout(layout).unwrap()
    };
    let mut config = random_config(random, window, shape.max_components().max(1));
    if shape.max_components() == 0 {
        config.prior = None;
    }
    let plan = Plan::new(config, shape).unwrap();
    let shape = plan.shape();
    let losses = random_losses(random, shape);
    let betas = random.chance(3).then(|| {
        let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 8.5e37, 8.6e37, -3e38];
        (0..groups)
            .map(|_| if random.chance(6) { random.pick(&special) } else { random.between(-3.0, 9.0) as f32 })
            .collect()
    });
    let points = random.chance(3).then(|| {
        (0..groups).map(|_| if random.chance(9) { u32::MAX } else { random.within(0..=window) as u32 }).collect()
    });
    let previous =
        random.chance(2).then(|| (0..shape.weights_len()).map(|_| random.between(0.0, 2.0) as f32).collect());
    Problem { plan, losses, betas, points, previous }
}

/// Whether `value` answers for `exact`: both NaN, or apart by the bound at most. An infinite bound claims nothing.
pub fn within(value: f32, exact: f64, bound: f64) -> bool {
    if exact.is_nan() {
        return value.is_nan();
    }
    bound == f64::INFINITY || (f64::from(value) - exact).abs() <= bound
}

/// Groups compared and groups about whose weights something was claimed.
#[derive(Default)]
pub struct Tally {
    pub groups: usize,
    pub claimed: usize,
    pub finite: usize,
}

/// Compares all outputs with the reference.
///
/// Status words must be equal, but for
/// * groups of which some weight has no finite bound: digits are lost, or a slope or mean is at the edge of f32's range,
///   so that flags may differ and with them everything that follows;
/// * [`Status::NEGATIVE_MEAN_LOSS`] where a mean is not larger than its own bound;
/// * [`Status::NON_FINITE`] where a slope or a mean that takes part is at the edge of f32's range and the group holds
///   anyway, for its beta.
pub fn compare(problem: &Problem, answer: &Weights<f32>, tally: &mut Tally, label: &str) {
    let (exact, bounds) = problem.exact();
    let shape = problem.plan.shape();
    let mut owned = vec![false; shape.weights_len()];
    for group in 0..shape.groups() {
        let index: Vec<usize> = (0..shape.components(group)).map(|c| shape.weight_index(group, c)).collect();
        let unclaimed = index.iter().any(|&i| bounds.weights[i] == f64::INFINITY);
        tally.groups += 1;
        tally.claimed += usize::from(!unclaimed);
        tally.finite += usize::from(exact.status[group].is_ok());
        let sign_open = index.iter().any(|&i| exact.means[i].abs() <= bounds.means[i]);
        let edge = index.iter().any(|&i| {
            let open = |bound: f64, exact: f64| bound == f64::INFINITY && !exact.is_nan();
            open(bounds.slopes[i], exact.slopes[i])
                || problem.plan.is_loss_weighted() && open(bounds.means[i], exact.means[i])
        });
        let mask = if sign_open { Status::NEGATIVE_MEAN_LOSS.bits() } else { 0 }
            | if edge { Status::NON_FINITE.bits() } else { 0 };
        let (word, exact_word) = (answer.status[group].bits() | mask, exact.status[group].bits() | mask);
        let place = format!("{label}, group {group} of {}, {:?}", shape.groups(), problem.plan.config());
        assert!(
            word == exact_word || unclaimed,
            "{place}: status {}, reference {}",
            answer.status[group],
            exact.status[group]
        );
        assert!(word & POISON_STATUS.bits() == 0, "{place}: status not written");
        for (component, &i) in index.iter().enumerate() {
            owned[i] = true;
            let check = |what: &str, value: f32, exact: f64, bound: f64| {
                assert!(value != POISON, "{place}: {what} of component {component} not written");
                assert!(
                    within(value, exact, bound),
                    "{place}: {what} of component {component} of {} is {value:e}, reference {exact:e}, bound {bound:e}, \
                     status {}",
                    index.len(),
                    answer.status[group]
                );
            };
            check("slope", answer.slopes[i], exact.slopes[i], bounds.slopes[i]);
            check("mean", answer.means[i], exact.means[i], bounds.means[i]);
            if !unclaimed {
                check("weight", answer.weights[i], exact.weights[i], bounds.weights[i]);
            }
        }
    }
    for (i, _) in owned.iter().enumerate().filter(|&(_, &owned)| !owned) {
        let untouched = [answer.weights[i], answer.slopes[i], answer.means[i]].map(f32::to_bits);
        assert_eq!(untouched, [POISON.to_bits(); 3], "{label}: place {i} belongs to no component");
    }
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    // NaN has many bit patterns; all of ours are meant to be equal.
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

pub fn group_bits(problem: &Problem, answer: &Weights<f32>, group: usize) -> (u32, Vec<[u32; 3]>) {
    let shape = problem.plan.shape();
    let rows = (0..shape.components(group))
        .map(|c| shape.weight_index(group, c))
        .map(|i| [answer.weights[i], answer.slopes[i], answer.means[i]])
        .map(|row| [bits(&row)[0], bits(&row)[1], bits(&row)[2]]);
    (answer.status[group].bits(), rows.collect())
}

/// Groups of the problem alone, repeated, shuffled and some of them, in both dense layouts: each has the bits that it has in
/// `whole`, the answer of the problem itself. `random` picks.
pub fn check_regrouped(
    problem: &Problem,
    whole: &Weights<f32>,
    random: &mut Random,
    answer: impl Fn(&Problem) -> Weights<f32>,
) {
    let shape = problem.plan.shape();
    let groups = shape.groups();
    let shuffled = random.shuffled(groups);
    let some = shuffled[..random.within(1..=groups)].to_vec();
    let alone = vec![random.below(groups)];
    let repeated = vec![random.below(groups); 70];
    for (i, chosen) in [shuffled, some, alone, repeated].into_iter().enumerate() {
        let layout = if i % 2 == 0 { Layout::RowMajor } else { Layout::TimeMajor };
        let other = problem.of_groups(&chosen, layout);
        let found = answer(&other);
        for (new, &old) in chosen.iter().enumerate() {
            assert_eq!(
                group_bits(&other, &found, new),
                group_bits(problem, whole, old),
                "group {old} as {new} of {} in {layout:?}, {:?}",
                chosen.len(),
                problem.plan
            );
        }
    }
}
