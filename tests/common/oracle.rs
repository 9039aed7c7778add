//! The cases of `tests/data/reference_cases.jsonl`: what the published packages and an 80-digit calculation answered.

use super::problem::{Problem, Tally, compare};
use serde_json::Value;
use softadapt::{Config, OnNegativeMean, Plan, PlanError, Shape, ShapeError, Slope, Status, Weights};

/// One full SoftAdapt call of the file.
pub struct Case {
    pub id: String,
    pub tags: Vec<String>,
    pub variant: String,
    pub beta: f64,
    pub order: Option<i64>,
    /// `[component][time]`; components of the `ragged` family differ in length.
    pub losses: Vec<Vec<f64>>,
    pub exact: Exact,
    /// Of a plain f32 evaluation, per weight, as the file states it.
    pub f32_tolerance: Option<Vec<f64>>,
}

pub enum Exact {
    Known { weights: Vec<f64>, slopes: Vec<f64>, means: Option<Vec<f64>> },
    Undefined,
    Invalid,
    NonFinite,
}

/// All cases of kind `weights`.
pub fn cases() -> Vec<Case> {
    let text = include_str!("../data/reference_cases.jsonl");
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("the file is JSON Lines"))
        .filter(|case| case["kind"] == "weights")
        .map(|case| Case {
            id: case["id"].as_str().expect("id").to_owned(),
            tags: case["tags"].as_array().expect("tags").iter().map(|t| t.as_str().expect("tag").to_owned()).collect(),
            variant: case["variant"].as_str().expect("variant").to_owned(),
            beta: case["beta"].as_f64().expect("beta"),
            order: case["accuracy_order"].as_i64(),
            losses: case["losses"].as_array().expect("losses").iter().map(numbers).collect(),
            exact: match case["exact"]["status"].as_str().expect("status") {
                "ok" => Exact::Known {
                    weights: numbers(&case["exact"]["weights"]),
                    slopes: numbers(&case["exact"]["slopes"]),
                    means: case["exact"].get("means").map(numbers),
                },
                "undefined" => Exact::Undefined,
                "invalid" => Exact::Invalid,
                "nonfinite_input" => Exact::NonFinite,
                other => panic!("unknown status {other}"),
            },
            f32_tolerance: case["f32_tol"].as_array().map(|_| numbers(&case["f32_tol"])),
        })
        .collect()
}

/// Order, losses of one component and exact slope of the cases of kind `slope`.
pub fn slope_cases() -> Vec<(u32, Vec<f64>, f64)> {
    let cases = include_str!("../data/reference_cases.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("the file is JSON Lines"))
        .filter(|case| case["kind"] == "slope");
    cases
        .map(|case| {
            let order = case["accuracy_order"].as_u64().and_then(|o| u32::try_from(o).ok()).expect("an order");
            (order, numbers(&case["losses"][0]), numbers(&case["exact"]["slopes"])[0])
        })
        .collect()
}

/// Numbers, where `"NaN"`, `"Infinity"` and `"-Infinity"` are strings.
fn numbers(value: &Value) -> Vec<f64> {
    let number = |v: &Value| v.as_f64().or_else(|| v.as_str().and_then(|s| s.parse().ok())).unwrap_or(f64::NAN);
    value.as_array().expect("an array of numbers").iter().map(number).collect()
}

/// Why a case makes no plan.
#[derive(Debug)]
pub enum Refused {
    /// A negative order cannot even be written down in a [`Config`].
    NegativeOrder,
    Shape(#[allow(dead_code, reason = "shown when a test fails")] ShapeError),
    Plan(#[allow(dead_code, reason = "shown when a test fails")] PlanError),
}

impl Case {
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }

    /// The preset of the case's variant with its beta and order; negative means as the packages take them.
    pub fn config(&self) -> Result<Config, Refused> {
        let config = match self.variant.as_str() {
            "original" => Config::original(),
            "normalized" => Config::normalized(),
            "loss_weighted" => Config::loss_weighted(),
            other => panic!("unknown variant {other}"),
        };
        let order = self.order.map(u32::try_from).transpose().map_err(|_| Refused::NegativeOrder)?;
        Ok(config.with_beta(self.beta).with_slope(Slope::Forward { order }).with_on_negative_mean(OnNegativeMean::AsIs))
    }

    /// One group of the case's size. Components of different lengths are padded at the front by repeating their oldest
    /// point: only legal where no mean is asked for, and the file has no other such case.
    pub fn plan(&self) -> Result<Plan, Refused> {
        let window = self.losses.iter().map(Vec::len).max().unwrap_or(0);
        let shape = Shape::new(1, self.losses.len(), window).map_err(Refused::Shape)?;
        let mut config = self.config()?;
        if self.order.is_none() && self.has_tag("ragged") {
            config = config.with_order(self.losses[0].len() as u32 - 1);
        }
        Plan::new(config, shape).map_err(Refused::Plan)
    }

    /// Whether the case's components have lengths of their own and padding changes what is asked: the points of a mean, or
    /// the order that follows from the number of points. The components of a group share one window here.
    pub fn is_ragged_beyond_padding(&self) -> bool {
        self.has_tag("ragged") && (self.order.is_none() || self.variant == "loss_weighted")
    }

    /// The losses of [`Case::plan`], `[component][time]`.
    pub fn padded_losses(&self) -> Vec<f64> {
        let window = self.losses.iter().map(Vec::len).max().unwrap_or(0);
        self.losses
            .iter()
            .flat_map(|row| std::iter::repeat_n(row[0], window - row.len()).chain(row.iter().copied()))
            .collect()
    }
}

/// Every case of the oracle through an f32 path: within the derived bounds of the reference, and the packages' own kind of
/// inputs (orders up to 6, `|beta * slope|` below 50) within 1e-5 of the 80-digit weights, absolutely.
///
/// Left out of the latter: two cases without a mean loss, where the packages give zeros and this library the plain
/// softmax; cases whose weights are not determined in f32 at all (infinite bound); and for weights above 1, which only
/// negative mean losses make, the error counts relative to the largest.
pub fn check_oracle(answer: impl Fn(&Problem) -> Weights<f32>) {
    let (mut compared, mut strict) = (0, 0);
    for case in cases() {
        let Ok(plan) = case.plan() else { continue };
        let losses: Vec<f32> = case.padded_losses().iter().map(|&loss| loss as f32).collect();
        let problem = Problem { plan, losses, betas: None, points: None, previous: None };
        let found = answer(&problem);
        compare(&problem, &found, &mut Tally::default(), &case.id);
        compared += 1;
        let Exact::Known { weights, slopes, .. } = &case.exact else { continue };
        let steep = slopes.iter().fold(0.0f64, |m, s| m.max((case.beta * s).abs()));
        let left_out = case.is_ragged_beyond_padding()
            || found.status[0].contains(Status::ZERO_MEAN_LOSS)
            || problem.exact().1.weights.iter().any(|bound| bound.is_infinite());
        if left_out || steep >= 50.0 || problem.plan.order().is_none_or(|order| order > 6) {
            continue;
        }
        let largest = weights.iter().fold(1.0f64, |m, w| m.max(w.abs()));
        for (value, exact) in found.weights.iter().zip(weights) {
            let error = (f64::from(*value) - exact).abs();
            assert!(error < 1e-5 * largest, "{}: {value:e}, exact {exact:e}", case.id);
        }
        strict += 1;
    }
    assert!(compared > 350 && strict > 250, "{compared} cases, {strict} held to 1e-5");
}
