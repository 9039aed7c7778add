//! What each awkward input gets: the table of awkward cases with its answers, worked out by hand, for every path.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::problem::{Problem, bits};
use softadapt::{
    Batch, Config, LossWeighting, Normalize, OnNegativeMean, OnNonFinite, Plan, Scale, Shape, Slope, Status, Weights,
    reference,
};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// How near an answer has to be.
#[derive(Clone, Copy, PartialEq)]
enum Match {
    /// The same bits, on f32 paths after rounding the expected number.
    Exact,
    /// 1e-12 relative in f64, 2e-6 relative in f32.
    Close,
}

/// Which paths the case is for.
#[derive(Clone, Copy, PartialEq)]
enum Paths {
    All,
    Single,
    Reference,
}

struct Case {
    name: &'static str,
    config: Config,
    /// `[component][time]` of one group.
    losses: Vec<Vec<f32>>,
    beta: Option<f32>,
    points: Option<u32>,
    previous: Option<Vec<f32>>,
    weights: Vec<f64>,
    status: Status,
    how: Match,
    paths: Paths,
}

/// A case with the usual settings: order 1, two points a component.
fn case(name: &'static str, config: Config, losses: &[&[f32]], weights: &[f64], status: Status) -> Case {
    Case {
        name,
        config,
        losses: losses.iter().map(|row| row.to_vec()).collect(),
        beta: None,
        points: None,
        previous: None,
        weights: weights.to_vec(),
        status,
        how: Match::Close,
        paths: Paths::All,
    }
}

impl Case {
    fn exact(mut self) -> Self {
        self.how = Match::Exact;
        self
    }

    fn only(mut self, paths: Paths) -> Self {
        self.paths = paths;
        self
    }

    fn beta(mut self, beta: f32) -> Self {
        self.beta = Some(beta);
        self
    }

    fn points(mut self, points: u32) -> Self {
        self.points = Some(points);
        self
    }

    fn previous(mut self, previous: &[f32]) -> Self {
        self.previous = Some(previous.to_vec());
        self
    }

    /// The case's group between two ordinary ones, which it must not touch.
    fn problem(&self) -> Problem {
        let (components, window) = (self.losses.len(), self.losses[0].len());
        let plan = Plan::new(self.config.clone(), Shape::new(3, components, window).unwrap()).unwrap();
        let ordinary =
            |group: usize| (0..components * window).map(move |i| 1.0 + ((i * 13 + group * 7) % 11) as f32 / 8.0);
        let losses = ordinary(0).chain(self.losses.concat()).chain(ordinary(2)).collect();
        Problem {
            plan,
            losses,
            betas: self.beta.map(|beta| vec![0.5, beta, 0.5]),
            points: self.points.map(|points| vec![window as u32, points, window as u32]),
            previous: self
                .previous
                .as_ref()
                .map(|p| [vec![0.25; components], p.clone(), vec![0.25; components]].concat()),
        }
    }
}

fn softmax(exponents: &[f64]) -> Vec<f64> {
    let e: Vec<f64> = exponents.iter().map(|x| x.exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}

fn cases() -> Vec<Case> {
    // Epsilon shows in f64 wherever scores differ; the cases that are about it turn it on.
    let order_1 = || Config::original().with_order(1).with_beta(1.0).with_epsilon(0.0);
    let weighted = || order_1().with_loss_weighting(LossWeighting::Window).with_epsilon(1e-8);
    let third = 1.0 / 3.0;
    let (ok, bad) = (Status::OK, Status::NON_FINITE);
    let zero_sum = Status::ZERO_SLOPE_SUM;
    let no_mean = Status::ZERO_MEAN_LOSS;
    let negative = Status::NEGATIVE_MEAN_LOSS;
    let mut cases = vec![
        // beta
        case("negative beta far apart", order_1().with_beta(-1.0), &[&[1000.0, 0.0], &[0.0, 1.0]], &[1.0, 0.0], ok)
            .exact(),
        case("positive beta far apart", order_1(), &[&[1000.0, 0.0], &[0.0, 1.0]], &[0.0, 1.0], ok).exact(),
        case("beta 0", order_1().with_beta(0.0), &[&[9.0, 0.0], &[0.0, 1.0], &[3.0, 3.0]], &[third; 3], ok).exact(),
        case("huge beta", order_1().with_beta(8e37), &[&[0.0, 3.0], &[0.0, -3.0]], &[1.0, 0.0], ok).exact(),
        case("beta of its own, NaN", order_1(), &[&[1.0, 2.0], &[1.0, 1.0]], &[0.5; 2], Status::NON_FINITE_BETA)
            .beta(NAN)
            .exact(),
        case("beta of its own, infinite", order_1(), &[&[1.0, 2.0], &[1.0, 1.0]], &[0.5; 2], Status::NON_FINITE_BETA)
            .beta(-INF)
            .exact(),
        case("beta of its own, too large", order_1(), &[&[1.0, 2.0], &[1.0, 1.0]], &[0.5; 2], Status::NON_FINITE_BETA)
            .beta(3e38)
            .exact(),
        case(
            "beta of its own, masking",
            order_1().with_on_non_finite(OnNonFinite::Mask),
            &[&[1.0, 2.0], &[1.0, 1.0]],
            &[0.5; 2],
            Status::NON_FINITE_BETA,
        )
        .beta(NAN)
        .exact(),
        case("beta of its own", order_1(), &[&[1.0, 2.0], &[1.0, 1.0]], &softmax(&[2.0, 0.0]), ok).beta(2.0),
        // equal scores
        case("equal slopes", order_1(), &[&[1.0, 3.0], &[5.0, 7.0], &[-2.0, 0.0]], &[third; 3], ok).exact(),
        case("equal slopes, loss-weighted", weighted(), &[&[1.0, 3.0], &[5.0, 7.0]], &[0.25, 0.75], ok).exact(),
        case("one component", order_1(), &[&[1.0, 3.0]], &[1.0], ok).exact(),
        case("one component, loss-weighted", weighted(), &[&[1e-9, 3e-9]], &[1.0], ok).exact(),
        // normalisation
        case(
            "constant losses, signed sum",
            order_1().with_normalize(Normalize::SignedSum),
            &[&[4.0, 4.0], &[7.5, 7.5], &[0.1, 0.1]],
            &[third; 3],
            zero_sum,
        )
        .exact(),
        case(
            "constant losses, L1",
            order_1().with_normalize(Normalize::L1),
            &[&[4.0, 4.0], &[7.5, 7.5]],
            &[0.5; 2],
            zero_sum,
        )
        .exact(),
        case(
            "constant losses, L2",
            order_1().with_normalize(Normalize::L2),
            &[&[4.0, 4.0], &[7.5, 7.5]],
            &[0.5; 2],
            zero_sum,
        )
        .exact(),
        case(
            "constant losses, normalised and loss-weighted",
            weighted().with_normalize(Normalize::L1),
            &[&[1.0, 1.0], &[3.0, 3.0]],
            &[0.25, 0.75],
            zero_sum,
        )
        .exact(),
        case(
            "signed sum of 0",
            order_1().with_normalize(Normalize::SignedSum),
            &[&[0.0, 2.0], &[3.0, 1.0]],
            &[0.5; 2],
            zero_sum,
        )
        .exact(),
        case(
            "L1 where the signed sum is 0",
            order_1().with_normalize(Normalize::L1),
            &[&[0.0, 2.0], &[3.0, 1.0]],
            &softmax(&[0.5, -0.5]),
            ok,
        ),
        case("L2", order_1().with_normalize(Normalize::L2), &[&[0.0, 3.0], &[4.0, 0.0]], &softmax(&[0.6, -0.8]), ok),
        case(
            "L2 below epsilon",
            order_1().with_normalize(Normalize::L2).with_epsilon(10.0),
            &[&[0.0, 3.0], &[4.0, 0.0]],
            &softmax(&[0.3, -0.4]).iter().map(|w| w / (1.0 + 10.0 / (1.0 + (-0.7f64).exp()))).collect::<Vec<_>>(),
            ok,
        ),
        case(
            "signed sum turns the ranking over",
            order_1().with_normalize(Normalize::SignedSum),
            &[&[3.0, 0.0], &[1.0, 0.0]],
            &softmax(&[0.75, 0.25]),
            ok,
        ),
        case(
            "normalised and loss-weighted",
            weighted().with_normalize(Normalize::L1).with_epsilon(0.0),
            &[&[1.0, 3.0], &[7.0, 5.0]],
            &[
                2.0 * 0.5f64.exp() / (2.0 * 0.5f64.exp() + 6.0 * (-0.5f64).exp()),
                6.0 * (-0.5f64).exp() / (2.0 * 0.5f64.exp() + 6.0 * (-0.5f64).exp()),
            ],
            ok,
        ),
        // loss weighting
        case(
            "all means 0",
            weighted(),
            &[&[-1.0, 1.0], &[-2.0, 2.0]],
            &softmax(&[2.0, 4.0]).iter().map(|w| w / (1.0 + 1e-8)).collect::<Vec<_>>(),
            no_mean,
        ),
        case("all losses 0", weighted(), &[&[0.0, 0.0], &[-0.0, 0.0], &[0.0, 0.0]], &[third; 3], no_mean).exact(),
        case(
            "tiny losses without epsilon",
            weighted().with_epsilon(0.0),
            &[&[2e-9, 4e-9], &[2e-9, 1e-8]],
            &[3.0 / 9.0, 6.0 / 9.0],
            ok,
        ),
        case(
            "tiny losses with epsilon",
            weighted(),
            &[&[1e-9, 3e-9], &[2e-9, 1e-8]],
            &[2e-9 / 1.8e-8, 6e-9 / 1.8e-8],
            ok,
        ),
        case(
            "underflow of every factor times exponential",
            weighted(),
            &[&[-50.0, 50.0], &[2.0, 2.0], &[1.0, 1.0]],
            &[0.0, 2.0 / 3.0, 1.0 / 3.0],
            ok,
        ),
        case(
            "one mean is 0",
            weighted().with_epsilon(0.0),
            &[&[-0.5, 0.5], &[2.0, 2.0], &[6.0, 6.0]],
            &[0.0, 0.25, 0.75],
            ok,
        ),
        case("negative mean, clamped", weighted(), &[&[-1.0, -1.0], &[2.0, 2.0]], &[0.0, 1.0], negative).exact(),
        case(
            "negative mean, as is",
            weighted().with_on_negative_mean(OnNegativeMean::AsIs),
            &[&[-1.0, -1.0], &[2.0, 2.0]],
            &[-1.0, 2.0],
            negative,
        ),
        case("all means negative, clamped", weighted(), &[&[-1.0, -1.0], &[-2.0, -2.0]], &[0.5; 2], negative | no_mean)
            .exact(),
        case(
            "means that cancel, as is, without epsilon",
            weighted().with_on_negative_mean(OnNegativeMean::AsIs),
            &[&[-2.0, -2.0], &[2.0, 2.0]],
            &[0.5; 2],
            negative | no_mean,
        )
        .exact(),
        case(
            "mean of the slope's points",
            order_1().with_loss_weighting(LossWeighting::SlopePoints),
            &[&[1e6, 1.0, 1.0], &[NAN, 3.0, 3.0]],
            &[0.25, 0.75],
            ok,
        )
        .exact(),
        // non-finite losses
        case("NaN, hold without previous", order_1(), &[&[NAN, 1.0], &[2.0, 1.0], &[0.0, 5.0]], &[third; 3], bad)
            .exact(),
        case("NaN, hold", order_1(), &[&[NAN, 1.0], &[2.0, 1.0]], &[0.125, 0.875], bad)
            .previous(&[0.125, 0.875])
            .exact(),
        case("infinity, hold", order_1(), &[&[2.0, 1.0], &[1.0, INF]], &[0.125, 0.875], bad)
            .previous(&[0.125, 0.875])
            .exact(),
        case(
            "NaN, hold with a prior",
            order_1().with_prior([1.0, 3.0]),
            &[&[NAN, 1.0], &[2.0, 1.0]],
            &[0.25, 0.75],
            bad,
        )
        .exact(),
        case(
            "NaN, mask",
            order_1().with_on_non_finite(OnNonFinite::Mask),
            &[&[NAN, 1.0], &[2.0, 1.0], &[0.0, 0.0]],
            &[0.0, softmax(&[-1.0, 0.0])[0], softmax(&[-1.0, 0.0])[1]],
            bad,
        ),
        case(
            "all NaN, mask",
            order_1().with_on_non_finite(OnNonFinite::Mask),
            &[&[NAN, 1.0], &[-INF, 1.0]],
            &[0.5; 2],
            bad,
        )
        .exact(),
        case(
            "only a component without a prior left, mask",
            order_1().with_on_non_finite(OnNonFinite::Mask).with_prior([1.0, 0.0]),
            &[&[NAN, 1.0], &[0.0, 1.0]],
            &[1.0, 0.0],
            bad,
        )
        .exact(),
        case(
            "NaN, propagate",
            order_1().with_on_non_finite(OnNonFinite::Propagate),
            &[&[NAN, 1.0], &[2.0, 1.0]],
            &[f64::NAN; 2],
            bad,
        )
        .exact(),
        case("signalling NaN", order_1(), &[&[f32::from_bits(0x7f80_0001), 1.0], &[2.0, 1.0]], &[0.5; 2], bad).exact(),
        case("non-finite outside the points", order_1(), &[&[NAN, 0.0, 0.0], &[INF, 1.0, 1.0]], &[0.5; 2], ok).exact(),
        case(
            "non-finite outside the slope, inside the mean",
            weighted(),
            &[&[NAN, 0.0, 0.0], &[3.0, 1.0, 1.0]],
            &[0.5; 2],
            bad,
        )
        .exact(),
        case("slope overflows f32", order_1(), &[&[-3e38, 3e38], &[0.0, 1.0]], &[0.5; 2], bad)
            .only(Paths::Single)
            .exact(),
        case("slope overflows f32 only", order_1(), &[&[-3e38, 3e38], &[0.0, 1.0]], &[1.0, 0.0], ok)
            .only(Paths::Reference)
            .exact(),
        case("mean overflows f32", weighted(), &[&[3e38, 3e38], &[1.0, 1.0]], &[0.5; 2], bad)
            .only(Paths::Single)
            .exact(),
        case("scores at the edge of f32", order_1(), &[&[0.0, 3e38], &[0.0, -3e38]], &[1.0, 0.0], ok).exact(),
        // history
        case("too few points", order_1(), &[&[1.0, 2.0], &[2.0, 1.0]], &[0.5; 2], Status::NOT_READY).points(1).exact(),
        case("no points", order_1(), &[&[1.0, 2.0], &[2.0, 1.0]], &[0.5; 2], Status::NOT_READY).points(0).exact(),
        case("too few points, previous", order_1(), &[&[NAN, 2.0], &[2.0, 1.0]], &[0.75, 0.25], Status::NOT_READY)
            .points(1)
            .previous(&[0.75, 0.25])
            .exact(),
        case("points above the window", order_1(), &[&[1.0, 2.0], &[2.0, 1.0]], &softmax(&[1.0, -1.0]), ok)
            .points(u32::MAX),
        case(
            "a window filled in part",
            weighted().with_epsilon(0.0),
            &[&[NAN, 1.0, 3.0], &[INF, 5.0, 7.0]],
            &[0.25, 0.75],
            ok,
        )
        .points(2)
        .exact(),
        // numbers
        case("more than 104 apart", order_1(), &[&[0.0, 0.0], &[0.0, 105.0]], &[0.0, 1.0], ok)
            .only(Paths::Single)
            .exact(),
        case(
            "large offset, constant",
            order_1().with_normalize(Normalize::L1),
            &[&[1e8, 1e8], &[3.3e7, 3.3e7]],
            &[0.5; 2],
            zero_sum,
        )
        .exact(),
        case(
            "large offset, small trend",
            order_1().with_beta(0.1),
            &[&[1e8, 100_000_008.0], &[1e8, 1e8]],
            &softmax(&[0.8, 0.0]),
            ok,
        ),
        case("subnormal losses", order_1(), &[&[1e-45, 1e-40], &[0.0, 1e-44]], &[0.5; 2], ok),
        // scale, floor, prior
        case("scale n", order_1().with_scale(Scale::Components), &[&[1.0, 2.0], &[1.0, 2.0]], &[1.0; 2], ok).exact(),
        case("floor", order_1().with_floor(0.125), &[&[0.0, 0.0], &[0.0, 500.0]], &[0.125, 0.875], ok).exact(),
        case("largest floor", order_1().with_floor(0.5), &[&[0.0, 0.0], &[0.0, 500.0]], &[0.5, 0.5], ok).exact(),
        case(
            "floor, scale n",
            order_1().with_floor(0.125).with_scale(Scale::Components),
            &[&[0.0, 0.0], &[0.0, 500.0]],
            &[0.25, 1.75],
            ok,
        )
        .exact(),
        case(
            "floor, mask",
            order_1().with_floor(0.125).with_on_non_finite(OnNonFinite::Mask),
            &[&[0.0, 0.0], &[0.0, 500.0], &[NAN, 0.0]],
            &[0.125, 0.875, 0.0],
            bad,
        )
        .exact(),
        case("prior", order_1().with_prior([1.0, 3.0]), &[&[1.0, 2.0], &[1.0, 2.0]], &[0.25, 0.75], ok).exact(),
        case("prior of 0", order_1().with_prior([0.0, 3.0]), &[&[1.0, 900.0], &[1.0, 2.0]], &[0.0, 1.0], ok).exact(),
        case(
            "least squares",
            Config::original().with_slope(Slope::LeastSquares).with_beta(1.0),
            &[&[1.0, 2.0, 3.0, 4.0], &[0.0, 1.0, 0.0, 1.0]],
            &softmax(&[1.0, 0.2]),
            ok,
        ),
        case(
            "backward",
            Config::original().with_slope(Slope::Backward { order: Some(2) }).with_beta(1.0),
            &[&[0.0, 1.0, 4.0], &[0.0, 0.0, 0.0]],
            &softmax(&[4.0, 0.0]),
            ok,
        ),
        case(
            "forward",
            Config::original().with_order(2).with_beta(1.0),
            &[&[1.0, 4.0, 9.0], &[0.0, 0.0, 0.0]],
            &softmax(&[2.0, 0.0]),
            ok,
        ),
        case(
            "last difference",
            Config::original().with_slope(Slope::Last).with_beta(1.0),
            &[&[NAN, 4.0, 5.0], &[0.0, 0.0, 0.0]],
            &softmax(&[1.0, 0.0]),
            ok,
        ),
    ];
    // The masking case of a single component must not be forgotten.
    cases.push(case("one component, NaN", order_1(), &[&[NAN, 3.0]], &[1.0], bad).exact());
    cases
}

/// Every case on an f32 path.
pub fn check_single(answer: impl Fn(&Problem) -> Weights<f32>) {
    for case in cases().iter().filter(|case| case.paths != Paths::Reference) {
        let problem = case.problem();
        let found = answer(&problem);
        let n = case.losses.len();
        assert_eq!(found.status[1], case.status, "{}", case.name);
        for (value, &expected) in found.weights[n..2 * n].iter().zip(&case.weights) {
            let close = match case.how {
                Match::Exact => bits(&[*value]) == bits(&[expected as f32]) || ulps(*value, expected as f32) <= 2,
                Match::Close => (f64::from(*value) - expected).abs() <= 2e-6 * expected.abs() + 1e-37,
            };
            assert!(close, "{}: {value:e}, expected {expected:e}", case.name);
        }
        // Exactly uniform means equal to each other to the last bit, also where a quotient may round either way.
        if case.how == Match::Exact && case.weights.windows(2).all(|w| w[0] == w[1]) {
            assert!(found.weights[n..2 * n].windows(2).all(|w| w[0] == w[1]), "{}: {:?}", case.name, found.weights);
        }
        // The groups beside it have what they have beside an ordinary group.
        let ordinary = Problem { losses: [&problem.losses[..n * case.losses[0].len()]; 3].concat(), ..case.problem() };
        let beside = answer(&ordinary);
        assert_eq!(bits(&found.weights[..n]), bits(&beside.weights[..n]), "{}: touches its neighbour", case.name);
    }
}

/// Distance of two finite numbers of one sign in units in the last place: quotients on GPUs may be 2.5 off.
fn ulps(a: f32, b: f32) -> u32 {
    if a.is_finite() && b.is_finite() { a.to_bits().abs_diff(b.to_bits()) } else { u32::MAX }
}

/// Every case on the reference.
pub fn check_reference() {
    for case in cases().iter().filter(|case| case.paths != Paths::Single) {
        let problem = case.problem();
        let wide = |values: &Vec<f32>| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let losses = wide(&problem.losses);
        let (betas, previous) = (problem.betas.as_ref().map(wide), problem.previous.as_ref().map(wide));
        let batch = Batch {
            losses: &losses,
            betas: betas.as_deref(),
            points: problem.points.as_deref(),
            previous: previous.as_deref(),
        };
        let found = reference::weigh(&problem.plan, &batch).unwrap();
        let n = case.losses.len();
        assert_eq!(found.status[1], case.status, "{}", case.name);
        for (value, &expected) in found.weights[n..2 * n].iter().zip(&case.weights) {
            let close = match case.how {
                Match::Exact => {
                    value.to_bits() == expected.to_bits() || (value.is_nan() && expected.is_nan()) || *value == expected
                }
                // Expected numbers are decimals where the losses are f32 numbers.
                Match::Close => (value - expected).abs() <= 2e-6 * expected.abs() + 1e-300,
            };
            // Far scores are 1e-400 in exact arithmetic and nearly so in f64.
            let vanishes = expected == 0.0 && value.abs() < 1e-30;
            assert!(close || vanishes, "{}: {value:e}, expected {expected:e}", case.name);
        }
    }
}
