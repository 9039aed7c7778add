//! `softadapt check`: the f32 paths of this machine against the reference, on random batches of awkward shapes.

use crate::args::CheckArguments;
use crate::backend::Paths;
use crate::error::Error;
use crate::output::Output;
use crate::random::Random;
use softadapt::{
    Batch, BatchError, Config, Layout, LossWeighting, Normalize, OnNegativeMean, OnNonFinite, Outputs, Plan, PlanError,
    Scale, Shape, ShapeError, Slope, Status, Strides, Weights, reference,
};
use std::fmt;

/// Groups of the one batch that needs more workgroups than one dimension of a dispatch has.
const MANY_GROUPS: usize = 70_000;
/// What no path may leave behind.
const POISON: Status = Status::from_bits(0xdead_0000);
/// Losses of a random batch are at most about this many.
const LOSSES: usize = 200_000;

/// Runs the command.
///
/// # Errors
/// No such adapter, a path that fails, or answers further from the reference than f32 explains.
pub(crate) fn run(arguments: &CheckArguments) -> Result<(), Error> {
    let Paths { paths, missing } = Paths::open(&arguments.backend)?;
    if paths.is_empty() {
        return Err(Error::NothingToCompare);
    }
    let mut findings: Vec<Findings> = paths.iter().map(|_| Findings::default()).collect();
    let mut random = Random::new(arguments.seed);
    for number in 0..arguments.batches {
        let case = Case::new(number, &mut random)?;
        let truth = case.truth()?;
        for (path, findings) in paths.iter().zip(&mut findings) {
            let answer = path.weigh(&case.plan, &case.batch()).map_err(Error::Backend)?;
            findings.compare(&case, &truth, &answer);
            // Other code runs if only weights are asked for: on a GPU the fused kernel.
            let mut status = vec![POISON; case.plan.shape().groups()];
            let mut weights = vec![f32::NAN; case.plan.shape().weights_len()];
            let mut outputs = Outputs { status: Some(&mut status), ..Outputs::new(&mut weights) };
            path.weigh_into(&case.plan, &case.batch(), &mut outputs).map_err(Error::Backend)?;
            findings.compare_alone(&case, &truth, &weights, &status);
        }
    }
    Output::Stdout.write(|out| {
        writeln!(out, "{} random batches, seed {}, against the 64-bit reference", arguments.batches, arguments.seed)?;
        for (path, findings) in paths.iter().zip(&findings) {
            writeln!(out, "\n{path}")?;
            for (what, extreme) in [
                ("weights", &findings.weights),
                ("weights alone", &findings.weights_alone),
                ("slopes", &findings.slopes),
                ("mean losses", &findings.means),
            ] {
                writeln!(
                    out,
                    "  {what:<13} {:>9} compared, largest error {:.2e}, {:.3} of what f32 explains; {} beyond it",
                    extreme.compared, extreme.error, extreme.of_bound, extreme.beyond
                )?;
            }
            let wrong = findings.wrong_status;
            writeln!(out, "  {:<13} {:>9} compared, {wrong} differ", "status", findings.groups)?;
            for example in &findings.examples.0 {
                writeln!(out, "    {example}")?;
            }
            writeln!(out, "  {}", if findings.total() == 0 { "all as they should be" } else { "WRONG" })?;
        }
        if let Some(reason) = &missing {
            writeln!(out, "\nGPU path not checked: {reason}")?;
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
    number: u32,
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
    fn new(number: u32, random: &mut Random) -> Result<Self, Error> {
        // Small groups, so many that a GPU has to spread them over several dimensions of a dispatch.
        let plan = if number == 0 {
            let shape = Shape::new(MANY_GROUPS, 2, 2).map_err(|error| too_large(&error))?;
            Plan::new(Config::loss_weighted(), shape)?
        } else {
            random_plan(random)?
        };
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
        Ok(Self { number, plan, losses, betas, points, previous })
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
        let fault = |error: BatchError| Error::Backend(error.into());
        Ok(Truth {
            exact: reference::weigh(&self.plan, &batch).map_err(fault)?,
            bounds: reference::error_bounds(&self.plan, &batch).map_err(fault)?,
        })
    }
}

/// What a developer needs to know about a batch that went wrong; the seed gives the rest.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (config, shape) = (self.plan.config(), self.plan.shape());
        let kind = if shape.uniform_components().is_some() { "uniform" } else { "ragged" };
        let layout = match shape.layout() {
            Layout::RowMajor => "row-major",
            Layout::TimeMajor => "time-major",
            _ => "strided",
        };
        write!(
            f,
            "batch {}: {} groups of {} components ({kind}), window {}, {layout}, {:?}, normalize {:?}, loss weighting {:?}",
            self.number,
            shape.groups(),
            shape.max_components(),
            shape.window(),
            config.score,
            config.normalize,
            config.loss_weighting
        )
    }
}

fn random_plan(random: &mut Random) -> Result<Plan, Error> {
    let window = random.pick([2, 3, 4, 5, 5, 8, 9, 12, 16, 17, 31, 33, 64, 65, 130]);
    let shape = shape(random, window).map_err(|error| too_large(&error))?;
    let config = config(random, window, shape.max_components());
    match Plan::new(config.clone(), shape.clone()) {
        // A small group whose first priors are all zero.
        Err(PlanError::PriorZeroForGroup { .. }) => {
            let mut config = config;
            config.prior = None;
            Ok(Plan::new(config, shape)?)
        }
        plan => Ok(plan?),
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
    /// Whether the number is as it should be.
    fn add(&mut self, exact: f64, got: f32, bound: f64) -> bool {
        let got = f64::from(got);
        if exact.is_nan() || got.is_nan() {
            let right = exact.is_nan() == got.is_nan();
            self.compared += 1;
            self.beyond += usize::from(!right);
            return right;
        }
        if !bound.is_finite() {
            // Cancellation left no digits: nothing can be said.
            return true;
        }
        self.compared += 1;
        let error = (got - exact).abs();
        self.error = self.error.max(error);
        if error > 0.0 {
            self.of_bound = self.of_bound.max(error / bound);
        }
        self.beyond += usize::from(error > bound);
        error <= bound
    }
}

/// Which number it is.
#[derive(Clone, Copy, Debug)]
struct Place {
    group: usize,
    component: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}, component {}", self.group, self.component)
    }
}

/// All weights of a shape, with their places in memory.
fn places(shape: &Shape) -> impl Iterator<Item = (Place, usize)> {
    (0..shape.groups()).flat_map(move |group| {
        let place = move |component| (Place { group, component }, shape.weight_index(group, component));
        (0..shape.components(group)).map(place)
    })
}

/// The first few wrong answers, in words.
#[derive(Clone, Debug, Default)]
struct Examples(Vec<String>);

impl Examples {
    /// As many as are shown.
    const MOST: usize = 8;

    fn add(&mut self, case: &Case, text: impl Fn() -> String) {
        if self.0.len() < Self::MOST {
            self.0.push(format!("{case}, {}", text()));
        }
    }
}

/// Everything found about one path.
#[derive(Clone, Debug, Default)]
struct Findings {
    /// Computed together with slopes and means.
    weights: Extreme,
    /// Computed without them.
    weights_alone: Extreme,
    slopes: Extreme,
    means: Extreme,
    groups: usize,
    wrong_status: usize,
    examples: Examples,
}

impl Findings {
    /// Weights, slopes, means and status.
    fn compare(&mut self, case: &Case, truth: &Truth, answer: &Weights<f32>) {
        let Truth { exact, bounds } = truth;
        for (place, i) in places(case.plan.shape()) {
            for (what, extreme, exact, got, bound) in [
                ("weight", &mut self.weights, exact.weights[i], answer.weights[i], bounds.weights[i]),
                ("slope", &mut self.slopes, exact.slopes[i], answer.slopes[i], bounds.slopes[i]),
                ("mean loss", &mut self.means, exact.means[i], answer.means[i], bounds.means[i]),
            ] {
                if !extreme.add(exact, got, bound) {
                    self.examples.add(case, || format!("{place}: {what} {got:e}, not {exact:e} within {bound:e}"));
                }
            }
        }
        self.compare_status(case, truth, &answer.status);
    }

    /// Weights and status.
    fn compare_alone(&mut self, case: &Case, truth: &Truth, weights: &[f32], status: &[Status]) {
        let Truth { exact, bounds } = truth;
        for (place, i) in places(case.plan.shape()) {
            let (exact, got, bound) = (exact.weights[i], weights[i], bounds.weights[i]);
            if !self.weights_alone.add(exact, got, bound) {
                let text = || format!("{place}: weight (alone) {got:e}, not {exact:e} within {bound:e}");
                self.examples.add(case, text);
            }
        }
        self.compare_status(case, truth, status);
    }

    fn compare_status(&mut self, case: &Case, Truth { exact, bounds }: &Truth, status: &[Status]) {
        let shape = case.plan.shape();
        for (group, (exact_status, status)) in exact.status.iter().zip(status).enumerate() {
            // A mean that may as well have the other sign, a sum that may as well be zero, leave flags open.
            let open = (0..shape.components(group))
                .map(|component| shape.weight_index(group, component))
                .any(|i| !bounds.weights[i].is_finite() || exact.means[i].abs() <= bounds.means[i]);
            let doubtful = Status::ZERO_SLOPE_SUM | Status::ZERO_MEAN_LOSS | Status::NEGATIVE_MEAN_LOSS;
            let ignored = if open { doubtful.bits() } else { 0 };
            let different = (exact_status.bits() ^ status.bits()) & !ignored;
            self.groups += 1;
            if different != 0 {
                let components = shape.components(group);
                self.wrong_status += 1;
                self.examples.add(case, || {
                    format!("group {group} of {components} components: status {status}, not {exact_status}")
                });
            }
        }
    }

    fn total(&self) -> usize {
        self.weights.beyond + self.weights_alone.beyond + self.slopes.beyond + self.means.beyond + self.wrong_status
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// A batch, the truth about it, and the truth rounded to f32 as a perfect path would answer.
    fn case(seed: u64) -> (Case, Truth, Weights<f32>) {
        let case = Case::new(1, &mut Random::new(seed)).unwrap();
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
        findings.compare(case, truth, answer);
        let mut alone = Findings::default();
        alone.compare_alone(case, truth, &answer.weights, &answer.status);
        assert!(alone.total() <= findings.total());
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
                let mut places = (0..shape.groups())
                    .flat_map(move |g| (0..shape.components(g)).map(move |c| shape.weight_index(g, c)));
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
                assert!(spoil(&|answer| answer.status[0] = POISON) > 0, "seed {seed}");
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
