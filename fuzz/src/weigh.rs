//! Any configuration, shape and losses: refused, or weights within the error bounds of the reference.
#![allow(clippy::unwrap_used, reason = "a target fails by panicking")]

use crate::problem::{Problem, Tally, compare, outputs, poisoned};
use arbitrary::{Result, Unstructured};
use softadapt::{
    Config, Layout, LossWeighting, Normalize, OnNegativeMean, OnNonFinite, Plan, Scale, Shape, ShapeError, Slope,
    Strides, cpu,
};

/// What is answered has at most so many losses; larger shapes are only planned.
const MOST: usize = 2048;

pub fn check(bytes: &[u8]) {
    // Bytes that end too soon are no problem.
    let _ = run(&mut Unstructured::new(bytes));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let shape = match shape(u)? {
        Ok(shape) => shape,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    let config = config(u, shape.max_components())?;
    let plan = match Plan::new(config, shape) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    assert!(plan.points_used() <= plan.shape().window() && plan.slope_points() >= 2);
    for warning in plan.warnings() {
        assert!(!warning.to_string().is_empty());
    }
    let shape = plan.shape();
    if shape.losses_len().max(shape.weights_len()) > MOST || shape.groups() > 64 {
        return Ok(());
    }
    // What belongs to no row is NaN, and must not be read.
    let mut losses = vec![f32::NAN; shape.losses_len()];
    for group in 0..shape.groups() {
        for component in 0..shape.components(group) {
            let mut last = 1.0;
            for time in 0..shape.window() {
                last = loss(u, last)?;
                losses[shape.loss_index(group, component, time)] = last;
            }
        }
    }
    let groups = shape.groups();
    let betas = u.ratio(1, 3)?.then(|| (0..groups).map(|_| Ok(number(u)? as f32)).collect()).transpose()?;
    let points = u.ratio(1, 3)?.then(|| (0..groups).map(|_| Ok(u.arbitrary::<u8>()?.into())).collect()).transpose()?;
    let previous = u.ratio(1, 3)?.then(|| (0..shape.weights_len()).map(|_| loss(u, 0.5)).collect()).transpose()?;
    let problem = Problem { plan, losses, betas, points, previous };
    let mut answer = poisoned(&problem.plan);
    cpu::weigh_into(&problem.plan, &problem.batch(), &mut outputs(&mut answer)).unwrap();
    compare(&problem, &answer, &mut Tally::default(), "fuzzed");
    Ok(())
}

fn shape(u: &mut Unstructured<'_>) -> Result<std::result::Result<Shape, ShapeError>> {
    let window = if u.ratio(1, 20)? { u.arbitrary()? } else { u.int_in_range(1..=24)? };
    if u.ratio(1, 3)? {
        // Offsets in any order, or steps between them.
        let mut offsets: Vec<u32> = Vec::new();
        let any = u.ratio(1, 8)?;
        let mut end = 0u32;
        for _ in 0..u.int_in_range(0..=9)? {
            offsets.push(if any { u.arbitrary()? } else { end });
            end = end.saturating_add(u.int_in_range(0..=20)?);
        }
        let shape = Shape::ragged(offsets, window);
        return Ok(if u.arbitrary()? { shape.and_then(|shape| shape.with_layout(Layout::TimeMajor)) } else { shape });
    }
    let size = |u: &mut Unstructured<'_>, most: usize| -> Result<usize> {
        if u.ratio(1, 20)? { u.arbitrary() } else { u.int_in_range(0..=most) }
    };
    let shape = Shape::new(size(u, 20)?, size(u, 24)?, window);
    let layout = match u.int_in_range(0..=3)? {
        0 | 1 => Layout::RowMajor,
        2 => Layout::TimeMajor,
        _ => {
            let mut stride = || -> Result<u64> {
                Ok(match u.int_in_range(0..=9)? {
                    0 => u.arbitrary()?,
                    1..=4 => u.int_in_range(0..=4)?,
                    5 | 6 => u.int_in_range(0..=40)?,
                    _ => u.int_in_range(0..=900)?,
                })
            };
            Layout::Strided(Strides {
                group: stride()?,
                component: stride()?,
                time: stride()?,
                weight_group: stride()?,
                weight_component: stride()?,
            })
        }
    };
    Ok(shape.and_then(|shape| shape.with_layout(layout)))
}

/// A number of any kind.
fn number(u: &mut Unstructured<'_>) -> Result<f64> {
    Ok(match u.int_in_range(0..=7)? {
        0 => u.arbitrary()?,
        1 => f64::from(u.arbitrary::<f32>()?),
        2 => *u.choose(&[0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-45, 8e37, -8e37, 1e300])?,
        3 => f64::from(u.arbitrary::<i16>()?) / 256.0,
        4 => *u.choose(&[0.1, 1.0, -1.0, 10.0, 1e-8])?,
        _ => f64::from(u.arbitrary::<i8>()?) / 8.0,
    })
}

/// A loss, often near the one before.
fn loss(u: &mut Unstructured<'_>, last: f32) -> Result<f32> {
    Ok(match u.int_in_range(0..=15)? {
        0 => f32::from_bits(u.arbitrary()?),
        1 => number(u)? as f32,
        2 => *u.choose(&[f32::NAN, f32::INFINITY, -f32::INFINITY, 3e38, -3e38, 1e-45, 0.0, -0.0, 1e8])?,
        3 | 4 => last,
        5 => -last,
        6 => f32::from_bits(last.to_bits().wrapping_add(u.int_in_range(0..=3)?)),
        7..=9 => last * (f32::from(u.arbitrary::<u8>()?) / 128.0),
        _ => last + f32::from(u.arbitrary::<i8>()?) / 64.0,
    })
}

fn config(u: &mut Unstructured<'_>, components: usize) -> Result<Config> {
    let order = |u: &mut Unstructured<'_>| -> Result<Option<u32>> {
        Ok(match u.int_in_range(0..=5)? {
            0 => None,
            1 => Some(u.int_in_range(0..=25)?),
            _ => Some(u.int_in_range(1..=4)?),
        })
    };
    let slope = match u.int_in_range(0..=4)? {
        0 | 1 => Slope::Forward { order: order(u)? },
        2 => Slope::Backward { order: order(u)? },
        3 => Slope::LeastSquares,
        _ => Slope::Last,
    };
    let mut config = Config::original()
        .with_slope(slope)
        .with_normalize(*u.choose(&[Normalize::None, Normalize::SignedSum, Normalize::L1, Normalize::L2])?)
        .with_loss_weighting(*u.choose(&[LossWeighting::None, LossWeighting::Window, LossWeighting::SlopePoints])?)
        .with_on_non_finite(*u.choose(&[OnNonFinite::Hold, OnNonFinite::Mask, OnNonFinite::Propagate])?)
        .with_on_negative_mean(*u.choose(&[OnNegativeMean::Clamp, OnNegativeMean::AsIs])?)
        .with_scale(*u.choose(&[Scale::One, Scale::Components])?)
        .with_beta(number(u)?)
        .with_epsilon(if u.ratio(1, 4)? { number(u)? } else { *u.choose(&[1e-8, 0.0, 1e-3, 1e-30])? });
    if u.ratio(1, 4)? {
        let count = if u.ratio(1, 12)? { u.int_in_range(0..=30)? } else { components.min(64) };
        let factors: Result<Vec<f64>> = (0..count).map(|_| Ok(number(u)?.abs())).collect();
        config = config.with_prior(factors?);
    }
    if u.ratio(1, 4)? {
        let share = f64::from(u.arbitrary::<u8>()?) / 255.0;
        let floor = if u.ratio(1, 12)? { number(u)? } else { share / components.max(1) as f64 };
        config = config.with_floor(floor);
    }
    Ok(config)
}
