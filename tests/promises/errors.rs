//! Weights, slopes and means against the f64 reference, cell by cell.

use crate::common::problem::{Problem, Random, bits};
use crate::{Extent, Path};
use rayon::prelude::*;
use softadapt::reference::ErrorBounds;
use softadapt::{Config, Layout, Plan, Shape, Status, Weights};
use std::fmt;

/// Groups of a cell with their shape and order: components, window, order, groups of the full run.
///
/// Mostly small ones: what a group costs on a software adapter grows with its lanes.
const SHAPES: [(usize, usize, u32, usize); 11] = [
    (2, 2, 1, 740_000),
    (3, 5, 2, 150_000),
    (3, 5, 4, 200_000),
    (3, 64, 8, 6_000),
    (8, 16, 1, 12_000),
    (8, 16, 4, 12_000),
    (16, 8, 3, 6_000),
    (16, 40, 12, 3_000),
    (33, 5, 2, 4_000),
    (64, 32, 4, 1_500),
    (257, 9, 8, 600),
];
type Variant = (&'static str, fn() -> Config);
const VARIANTS: [Variant; 3] =
    [("original", Config::original), ("normalized", Config::normalized), ("loss-weighted", Config::loss_weighted)];
const BETAS: [f64; 3] = [0.1, 1.0, -5.0];

/// A sample takes one group of so many.
const SAMPLE: usize = 50;

/// Losses of one problem, about.
const LOSSES: usize = 200_000;

/// What the losses of a group are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As training makes them: falling from 0.1 .. 10, with noise.
    Ordinary,
    /// Everything that costs digits: offsets of 1e8 with a small trend, slopes that cancel, scales of 1e30 and 1e-30, both
    /// signs, components of very different size.
    Adversarial,
}

fn losses_of_group(random: &mut Random, kind: Kind, shape: &Shape, group: usize, losses: &mut [f32]) {
    let attack = match kind {
        Kind::Ordinary => None,
        Kind::Adversarial => Some(random.below(7)),
    };
    for component in 0..shape.components(group) {
        let level = 10f64.powf(random.between(-1.0, 1.0));
        let rate = random.between(-0.02, 0.2);
        let noise = random.pick(&[0.0, 0.01, 0.3]);
        let jump = 10f64.powf(random.between(-30.0, 30.0));
        for time in 0..shape.window() {
            let t = time as f64;
            let ordinary = level * (-rate * t).exp() * (1.0 + noise * random.between(-1.0, 1.0));
            let loss = match attack {
                None => ordinary,
                Some(0) => 1e8 - 3.0 * level * t,
                // The components' slopes cancel in their sum.
                Some(1) => level + [t, -t][component % 2] * (1.0 + 1e-6 * random.unit()),
                Some(2) => 1e30 * ordinary,
                Some(3) => 1e-30 * ordinary,
                Some(4) => ordinary * [1.0, -1.0][random.below(2)],
                Some(5) => jump * ordinary,
                // Every point is the last one's neighbour in f32.
                _ => f64::from(f32::from_bits((level as f32).to_bits() + random.below(4) as u32)),
            };
            losses[shape.loss_index(group, component, time)] = loss as f32;
        }
    }
}

/// The largest errors of one kind of number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worst {
    pub(crate) compared: u64,
    /// Numbers that the bound says nothing about: cancellation left no digits.
    pub(crate) open: u64,
    /// Largest absolute error, and the bound there.
    pub(crate) absolute: f64,
    pub(crate) bound: f64,
    /// Largest error as a share of the exact number.
    pub(crate) relative: f64,
    /// Largest error as a share of its bound.
    pub(crate) share: f64,
}

impl Worst {
    /// Whether the number is as it should be.
    fn add(&mut self, found: f32, exact: f64, bound: f64) -> bool {
        let found = f64::from(found);
        if exact.is_nan() || found.is_nan() {
            return exact.is_nan() && found.is_nan();
        }
        if bound == f64::INFINITY {
            self.open += 1;
            return true;
        }
        self.compared += 1;
        let error = (found - exact).abs();
        if error > self.absolute {
            (self.absolute, self.bound) = (error, bound);
        }
        if error > 0.0 {
            self.share = self.share.max(error / bound);
            // Smaller numbers may be flushed to zero.
            if exact.abs() >= f64::from(f32::MIN_POSITIVE) {
                self.relative = self.relative.max(error / exact.abs());
            }
        }
        error <= bound
    }

    pub(crate) fn join(self, other: Self) -> Self {
        let larger = if self.absolute >= other.absolute { self } else { other };
        Self {
            compared: self.compared + other.compared,
            open: self.open + other.open,
            relative: self.relative.max(other.relative),
            share: self.share.max(other.share),
            ..larger
        }
    }
}

/// Weights, slopes and means of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) groups: u64,
    pub(crate) weights: Worst,
    pub(crate) slopes: Worst,
    pub(crate) means: Worst,
}

impl Findings {
    fn add(
        &mut self,
        problem: &Problem,
        (exact, bounds): &(Weights<f64>, ErrorBounds),
        answer: &Weights<f32>,
        path: &Path,
    ) {
        let shape = problem.plan.shape();
        self.groups += shape.groups() as u64;
        for group in 0..shape.groups() {
            let index = || (0..shape.components(group)).map(|component| shape.weight_index(group, component));
            // A mean that may have the other sign, a sum that may be zero, leave these flags open.
            let open = index().any(|i| !bounds.weights[i].is_finite() || exact.means[i].abs() <= bounds.means[i]);
            let doubtful = Status::ZERO_SLOPE_SUM | Status::ZERO_MEAN_LOSS | Status::NEGATIVE_MEAN_LOSS;
            let ignored = if open { doubtful.bits() } else { 0 };
            let different = (exact.status[group].bits() ^ answer.status[group].bits()) & !ignored;
            let name = || format!("{}, group {group} of {:?}", path.name(), problem.plan);
            assert!(different == 0, "{}: status {}, not {}", name(), answer.status[group], exact.status[group]);
            for i in index() {
                for (what, worst, found, exact, bound) in [
                    ("weight", &mut self.weights, answer.weights[i], exact.weights[i], bounds.weights[i]),
                    ("slope", &mut self.slopes, answer.slopes[i], exact.slopes[i], bounds.slopes[i]),
                    ("mean", &mut self.means, answer.means[i], exact.means[i], bounds.means[i]),
                ] {
                    let right = worst.add(found, exact, bound);
                    assert!(right, "{}: {what} {found:e}, not {exact:e} within {bound:e}", name());
                }
            }
        }
    }

    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            groups: self.groups + other.groups,
            weights: self.weights.join(other.weights),
            slopes: self.slopes.join(other.slopes),
            means: self.means.join(other.means),
        }
    }
}

/// How far two paths are apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Apart {
    pub(crate) weights: u64,
    pub(crate) different: u64,
    pub(crate) absolute: f64,
}

impl Apart {
    fn add(&mut self, a: &[f32], b: &[f32]) {
        for (&a, &b) in a.iter().zip(b) {
            self.weights += 1;
            self.different += u64::from(a.to_bits() != b.to_bits());
            // NaN in both was compared with the reference.
            self.absolute = self.absolute.max((f64::from(a) - f64::from(b)).abs());
        }
    }

    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            weights: self.weights + other.weights,
            different: self.different + other.different,
            absolute: self.absolute.max(other.absolute),
        }
    }
}

/// A configuration, a shape and a kind of losses.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) components: usize,
    pub(crate) window: usize,
    pub(crate) order: u32,
    pub(crate) variant: usize,
    pub(crate) beta: f64,
    pub(crate) kind: Kind,
    groups: usize,
}

impl Cell {
    fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for (components, window, order, groups) in SHAPES {
            for variant in 0..VARIANTS.len() {
                for beta in BETAS {
                    // Half the groups of each kind.
                    for kind in [Kind::Ordinary, Kind::Adversarial] {
                        cells.push(Self { components, window, order, variant, beta, kind, groups: groups / 2 });
                    }
                }
            }
        }
        cells
    }

    fn problem(&self, seed: u64, groups: usize) -> Problem {
        let random = &mut Random(seed);
        let layout = random.pick(&[Layout::RowMajor, Layout::TimeMajor]);
        let shape = Shape::new(groups, self.components, self.window).unwrap().with_layout(layout).unwrap();
        let config = VARIANTS[self.variant].1().with_beta(self.beta).with_order(self.order);
        let plan = Plan::new(config, shape).unwrap();
        let shape = plan.shape().clone();
        let mut losses = vec![f32::NAN; shape.losses_len()];
        for group in 0..groups {
            losses_of_group(random, self.kind, &shape, group, &mut losses);
        }
        Problem { plan, losses, betas: None, points: None, previous: None }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { components, window, order, variant, beta, .. } = self;
        write!(f, "{components} | {window} | {order} | {} | {beta}", VARIANTS[*variant].0)
    }
}

/// What was found in a cell: a path each, and each pair of paths.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) cell: Cell,
    pub(crate) paths: Vec<Findings>,
    pub(crate) pairs: Vec<Apart>,
}

/// The pairs of so many paths, in the order of [`Found::pairs`].
pub(crate) fn pairs(paths: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..paths).flat_map(move |a| (a + 1..paths).map(move |b| (a, b)))
}

/// Compares all cells on all paths; a number beyond its bound is a panic.
pub(crate) fn measure(paths: &[Path], extent: Extent) -> Vec<Found> {
    let mut all = Vec::new();
    let cells = Cell::all().len();
    for (number, cell) in Cell::all().into_iter().enumerate() {
        let groups = if extent == Extent::Full { cell.groups } else { cell.groups / SAMPLE };
        let at_once = (LOSSES / (cell.components * cell.window)).max(1);
        let parts: Vec<usize> = (0..groups).step_by(at_once).map(|start| at_once.min(groups - start)).collect();
        let nothing = || Found {
            cell,
            paths: vec![Findings::default(); paths.len()],
            pairs: pairs(paths.len()).map(|_| Apart::default()).collect(),
        };
        let found = parts
            .into_par_iter()
            .enumerate()
            .map(|(part, groups)| {
                let problem = cell.problem((number as u64) << 32 | part as u64, groups);
                let truth = problem.exact();
                let mut found = nothing();
                let answers: Vec<Weights<f32>> = paths.iter().map(|path| path.details(&problem)).collect();
                for ((path, answer), findings) in paths.iter().zip(&answers).zip(&mut found.paths) {
                    findings.add(&problem, &truth, answer, path);
                    if part % 8 > 0 {
                        continue;
                    }
                    let alone = path.weights(&problem);
                    assert_eq!(bits(&alone.weights), bits(&answer.weights), "{}: weights alone", path.name());
                    assert_eq!(alone.status, answer.status, "{}: status alone", path.name());
                }
                for ((a, b), apart) in pairs(paths.len()).zip(&mut found.pairs) {
                    apart.add(&answers[a].weights, &answers[b].weights);
                }
                found
            })
            .reduce(nothing, |a, b| Found {
                cell,
                paths: a.paths.into_iter().zip(b.paths).map(|(a, b)| a.join(b)).collect(),
                pairs: a.pairs.into_iter().zip(b.pairs).map(|(a, b)| a.join(b)).collect(),
            });
        let weights = found.paths[0].weights;
        // Otherwise the cell says nothing.
        assert!(4 * weights.compared > weights.open, "{cell}: {weights:?}");
        if extent == Extent::Full {
            eprintln!("errors: cell {} of {}: {:?}", number + 1, cells, found.paths);
        }
        all.push(found);
    }
    all
}
