//! `softadapt check`: the f32 paths of this machine against the reference, on random batches of awkward shapes.

use crate::args::CheckArguments;
use crate::backend::Single;
use crate::error::Error;
use crate::output::Output;
use crate::random::Random;
use softadapt::{
    Batch, Config, Layout, LossWeighting, Normalize, OnNegativeMean, OnNonFinite, Plan, PlanError, Scale, Shape,
    ShapeError, Slope, Status, Strides, Weights, reference,
};

/// Groups of the one batch that needs more workgroups than one dimension of a dispatch has.
const MANY_GROUPS: usize = 70_000;
/// Losses of a random batch are at most about this many.
const LOSSES: usize = 200_000;

/// Runs the command.
///
/// # Errors
/// No such adapter, a path that fails, or answers further from the reference than f32 explains.
pub(crate) fn run(arguments: &CheckArguments) -> Result<(), Error> {
    let paths = Single::all(&arguments.backend)?;
    if paths.is_empty() {
        return Err(Error::NothingToCompare);
    }
    let mut findings: Vec<Findings> = paths.iter().map(|_| Findings::default()).collect();
    let mut random = Random::new(arguments.seed);
    for number in 0..arguments.batches {
        let case = if number == 0 { Case::many_groups(&mut random)? } else { Case::random(&mut random)? };
        let truth = case.truth()?;
        for (path, findings) in paths.iter().zip(&mut findings) {
            let answer = path.weigh(&case.plan, &case.batch()).map_err(Error::Backend)?;
            findings.compare(&case.plan, &truth, &answer);
        }
    }
    Output::Stdout.write(|out| {
        writeln!(out, "{} random batches, seed {}, against the 64-bit reference", arguments.batches, arguments.seed)?;
        for (path, findings) in paths.iter().zip(&findings) {
            writeln!(out, "\n{path}")?;
            for (what, extreme) in
                [("weights", &findings.weights), ("slopes", &findings.slopes), ("mean losses", &findings.means)]
            {
                writeln!(
                    out,
                    "  {what:<12} {:>9} compared, largest error {:.2e}, {:.3} of what f32 explains; {} beyond it",
                    extreme.compared, extreme.error, extreme.of_bound, extreme.beyond
                )?;
            }
            let wrong = findings.wrong_status;
            writeln!(out, "  {:<12} {:>9} compared, {wrong} differ", "status", findings.groups)?;
            writeln!(out, "  {}", if findings.total() == 0 { "all as they should be" } else { "WRONG" })?;
        }
        Ok(())
    })?;
    match findings.iter().map(Findings::total).sum() {
        0 => Ok(()),
        findings => Err(Error::Wrong { findings }),
    }
}

/// One batch.
#[derive(Debug)]
struct Case {
    plan: Plan,
    losses: Vec<f32>,
    betas: Option<Vec<f32>>,
    points: Option<Vec<u32>>,
    previous: Option<Vec<f32>>,
}

/// What the reference makes of a batch, and how far f32 may be away.
struct Truth {
    exact: Weights<f64>,
    bounds: reference::ErrorBounds,
}

impl Case {
    /// Small groups, so many that a GPU has to spread them over several dimensions of a dispatch.
    fn many_groups(random: &mut Random) -> Result<Self, Error> {
        let shape = Shape::new(MANY_GROUPS, 2, 2).map_err(|error| too_large(&error))?;
        Self::fill(random, Plan::new(Config::loss_weighted(), shape)?)
    }

    fn random(random: &mut Random) -> Result<Self, Error> {
        let window = random.pick([2, 3, 4, 5, 5, 8, 9, 12, 16, 17, 31, 33, 64, 65, 130]);
        let shape = shape(random, window).map_err(|error| too_large(&error))?;
        let config = config(random, window, shape.max_components());
        match Plan::new(config.clone(), shape.clone()) {
            Ok(plan) => Self::fill(random, plan),
            // A small group whose first priors are all zero.
            Err(PlanError::PriorZeroForGroup { .. }) => {
                let mut config = config;
                config.prior = None;
                Self::fill(random, Plan::new(config, shape)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn fill(random: &mut Random, plan: Plan) -> Result<Self, Error> {
        let shape = plan.shape();
        let groups = shape.groups();
        // Places that belong to nothing hold what must not be read.
        let mut losses = vec![f32::NAN; shape.losses_len()];
        for group in 0..groups {
            let spoiled = random.one_in(12);
            for component in 0..shape.components(group) {
                let curve = Curve::new(random);
                for time in 0..shape.window() {
                    let loss = if spoiled && random.one_in(8) {
                        random.pick([f32::NAN, f32::INFINITY, f32::NEG_INFINITY])
                    } else {
                        curve.at(random, time)
                    };
                    losses[shape.loss_index(group, component, time)] = loss;
                }
            }
        }
        let betas = random.one_in(4).then(|| (0..groups).map(|_| random.between(-3.0, 3.0) as f32).collect());
        let points =
            random.one_in(3).then(|| (0..groups).map(|_| random.integer(0, shape.window() + 1) as u32).collect());
        let previous = random.one_in(3).then(|| (0..shape.weights_len()).map(|_| random.unit() as f32).collect());
        Ok(Self { plan, losses, betas, points, previous })
    }

    fn batch(&self) -> Batch<'_, f32> {
        Batch {
            losses: &self.losses,
            betas: self.betas.as_deref(),
            points: self.points.as_deref(),
            previous: self.previous.as_deref(),
        }
    }

    fn truth(&self) -> Result<Truth, Error> {
        let double = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let losses = double(&self.losses);
        let betas = self.betas.as_deref().map(double);
        let previous = self.previous.as_deref().map(double);
        let batch = Batch {
            losses: &losses,
            betas: betas.as_deref(),
            points: self.points.as_deref(),
            previous: previous.as_deref(),
        };
        let fault = |error| Error::Backend(crate::backend::BackendError::Batch(error));
        Ok(Truth {
            exact: reference::weigh(&self.plan, &batch).map_err(fault)?,
            bounds: reference::error_bounds(&self.plan, &batch).map_err(fault)?,
        })
    }
}

fn too_large(error: &ShapeError) -> Error {
    Error::TooLarge { reason: error.to_string() }
}

/// Uniform or ragged, in any layout.
fn shape(random: &mut Random, window: usize) -> Result<Shape, ShapeError> {
    let largest = random.pick([1, 2, 3, 4, 7, 8, 9, 31, 33, 64, 65, 129, 257, 300]);
    let groups = random.pick([0, 1, 2, 5, 63, 64, 65, 129, 257, 1000]).min(LOSSES / (largest * window));
    if random.one_in(3) {
        let mut offsets = vec![0];
        for _ in 0..groups {
            let last = offsets[offsets.len() - 1];
            let least = usize::from(random.one_in(2));
            offsets.push(last + random.integer(least, largest) as u32);
        }
        return Shape::ragged(offsets, window)?.with_layout(random.pick([Layout::RowMajor, Layout::TimeMajor]));
    }
    let (n, w, pad) = (largest as u64, window as u64, random.integer(0, 3) as u64);
    let padded = Strides {
        time: 1,
        component: w + pad,
        group: n * (w + pad) + pad,
        weight_component: 1 + pad,
        weight_group: n * (1 + pad),
    };
    let layout = random.pick([Layout::RowMajor, Layout::TimeMajor, Layout::Strided(padded)]);
    Shape::new(groups, largest, window)?.with_layout(layout)
}

/// A preset with some switches turned.
fn config(random: &mut Random, window: usize, components: usize) -> Config {
    let order = Some(random.integer(1, (window - 1).min(8)) as u32);
    let slope = random.pick([
        Slope::Forward { order },
        Slope::Forward { order },
        Slope::Backward { order },
        Slope::LeastSquares,
        Slope::Last,
    ]);
    let mut config = random.pick([Config::original, Config::normalized, Config::loss_weighted])()
        .with_slope(slope)
        .with_beta(random.pick([0.1, 1.0, -1.0, 5.0, 0.0]))
        .with_scale(random.pick([Scale::One, Scale::Components]))
        .with_on_non_finite(random.pick([OnNonFinite::Hold, OnNonFinite::Mask, OnNonFinite::Propagate]))
        .with_on_negative_mean(random.pick([OnNegativeMean::Clamp, OnNegativeMean::AsIs]));
    if random.one_in(3) {
        config = config.with_normalize(random.pick([Normalize::SignedSum, Normalize::L1, Normalize::L2]));
    }
    if random.one_in(3) {
        config = config.with_loss_weighting(random.pick([LossWeighting::Window, LossWeighting::SlopePoints]));
    }
    if random.one_in(4) {
        config = config.with_epsilon(0.0);
    }
    if components > 0 && random.one_in(4) {
        config = config.with_floor(random.unit() / components as f64);
    }
    if components > 0 && random.one_in(4) {
        // The first stays positive, so that not all are zero.
        let factor = |i: usize, random: &mut Random| if i > 0 && random.one_in(5) { 0.0 } else { 0.1 + random.unit() };
        let prior: Vec<f64> = (0..components).map(|i| factor(i, random)).collect();
        config = config.with_prior(prior);
    }
    config
}

/// A loss over time, as training makes them: from a level towards a floor, with noise.
struct Curve {
    level: f64,
    rate: f64,
    noise: f64,
}

impl Curve {
    fn new(random: &mut Random) -> Self {
        let scale = random.pick([1e-6, 1e-3, 1.0, 1.0, 1.0, 10.0, 1e3]);
        let sign = if random.one_in(20) { -1.0 } else { 1.0 };
        Self {
            level: if random.one_in(25) { 0.0 } else { sign * scale * random.between(0.5, 2.0) },
            rate: random.between(-0.02, 0.2),
            noise: random.pick([0.0, 0.01, 0.3]),
        }
    }

    fn at(&self, random: &mut Random, time: usize) -> f32 {
        (self.level * (-self.rate * time as f64).exp() * (1.0 + self.noise * random.between(-1.0, 1.0))) as f32
    }
}

/// How far one kind of number is from the reference.
#[derive(Clone, Debug, Default)]
struct Extreme {
    compared: usize,
    /// Largest absolute error.
    error: f64,
    /// Largest error divided by its bound.
    of_bound: f64,
    /// How many are further away than their bound, or are NaN where they must not be, or the other way round.
    beyond: usize,
}

impl Extreme {
    fn add(&mut self, exact: f64, got: f32, bound: f64) {
        let got = f64::from(got);
        if exact.is_nan() || got.is_nan() {
            self.compared += 1;
            self.beyond += usize::from(exact.is_nan() != got.is_nan());
            return;
        }
        if !bound.is_finite() {
            // Cancellation left no digits: nothing can be said.
            return;
        }
        self.compared += 1;
        let error = (got - exact).abs();
        self.error = self.error.max(error);
        if error > 0.0 {
            self.of_bound = self.of_bound.max(error / bound);
        }
        self.beyond += usize::from(error > bound);
    }
}

/// Everything found about one path.
#[derive(Clone, Debug, Default)]
struct Findings {
    weights: Extreme,
    slopes: Extreme,
    means: Extreme,
    groups: usize,
    wrong_status: usize,
}

impl Findings {
    fn compare(&mut self, plan: &Plan, truth: &Truth, answer: &Weights<f32>) {
        let Truth { exact, bounds } = truth;
        let shape = plan.shape();
        for group in 0..shape.groups() {
            let mut certain = true;
            for component in 0..shape.components(group) {
                let i = shape.weight_index(group, component);
                self.weights.add(exact.weights[i], answer.weights[i], bounds.weights[i]);
                self.slopes.add(exact.slopes[i], answer.slopes[i], bounds.slopes[i]);
                self.means.add(exact.means[i], answer.means[i], bounds.means[i]);
                // A mean that may as well have the other sign, a sum that may as well be zero.
                certain &= bounds.weights[i].is_finite() && !(exact.means[i].abs() <= bounds.means[i]);
            }
            let doubtful = Status::ZERO_SLOPE_SUM | Status::ZERO_MEAN_LOSS | Status::NEGATIVE_MEAN_LOSS;
            let ignored = if certain { 0 } else { doubtful.bits() };
            let different = (exact.status[group].bits() ^ answer.status[group].bits()) & !ignored;
            self.groups += 1;
            self.wrong_status += usize::from(different != 0);
        }
    }

    fn total(&self) -> usize {
        self.weights.beyond + self.slopes.beyond + self.means.beyond + self.wrong_status
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// A batch, the truth about it, and the truth rounded to f32 as a perfect path would answer.
    fn case(seed: u64) -> (Case, Truth, Weights<f32>) {
        let case = Case::random(&mut Random::new(seed)).unwrap();
        let truth = case.truth().unwrap();
        let single = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let answer = Weights {
            weights: single(&truth.exact.weights),
            status: truth.exact.status.clone(),
            slopes: single(&truth.exact.slopes),
            means: single(&truth.exact.means),
        };
        (case, truth, answer)
    }

    fn total(case: &Case, truth: &Truth, answer: &Weights<f32>) -> usize {
        let mut findings = Findings::default();
        findings.compare(&case.plan, truth, answer);
        findings.total()
    }

    #[test]
    fn a_perfect_answer_passes_and_a_spoiled_one_does_not() {
        let mut spoiled = [0; 5];
        for seed in 0..300 {
            let (case, truth, answer) = case(seed);
            assert_eq!(total(&case, &truth, &answer), 0, "seed {seed}");
            // Only numbers that are claimed can be wrong.
            let claimed = |values: &[f64], bounds: &[f64]| {
                let shape = case.plan.shape();
                let mut places =
                    (0..shape.groups()).flat_map(|g| (0..shape.components(g)).map(move |c| shape.weight_index(g, c)));
                places.find(|&i| values[i].is_finite() && bounds[i] < 1e-3)
            };
            let Some(place) = claimed(&truth.exact.weights, &truth.bounds.weights) else { continue };
            let spoil = |change: &dyn Fn(&mut Weights<f32>)| {
                let mut answer = answer.clone();
                change(&mut answer);
                total(&case, &truth, &answer)
            };
            spoiled[0] += 1;
            assert!(spoil(&|answer| answer.weights[place] += 0.1) > 0, "seed {seed}");
            spoiled[1] += 1;
            assert!(spoil(&|answer| answer.weights[place] = f32::NAN) > 0, "seed {seed}");
            if !answer.status.is_empty() {
                spoiled[2] += 1;
                let poison = Status::from_bits(0xdead_0000);
                assert!(spoil(&|answer| answer.status[0] = poison) > 0, "seed {seed}");
            }
            if let Some(place) = claimed(&truth.exact.slopes, &truth.bounds.slopes) {
                spoiled[3] += 1;
                assert!(spoil(&|answer| answer.slopes[place] += 0.1) > 0, "seed {seed}");
            }
            if let Some(place) = claimed(&truth.exact.means, &truth.bounds.means) {
                spoiled[4] += 1;
                assert!(spoil(&|answer| answer.means[place] += 0.1) > 0, "seed {seed}");
            }
        }
        assert!(spoiled.iter().all(|&times| times > 100), "{spoiled:?}");
    }
}
