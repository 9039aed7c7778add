//! The parameter block of a plan: the Rust side of `struct Params` in `shaders/params.wgsl`.
//! `src/gpu/tests.rs` compares the two field by field.

use super::tuning::Tuning;
use crate::coefficients;
use crate::config::{Config, Score, Slope};
use crate::plan::Plan;
use bytemuck::{Pod, Zeroable};

/// `struct Params` of the shaders, in the uniform address space.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Params {
    pub(crate) groups: u32,
    pub(crate) workgroups_x: u32,
    pub(crate) components: u32,
    pub(crate) window: u32,
    pub(crate) slope_points: u32,
    pub(crate) mean_points: u32,
    pub(crate) points_read: u32,
    pub(crate) first_point: u32,
    pub(crate) loss_group: u32,
    pub(crate) loss_component: u32,
    pub(crate) loss_time: u32,
    pub(crate) weight_group: u32,
    pub(crate) weight_component: u32,
    pub(crate) prior_start: u32,
    pub(crate) beta: f32,
    pub(crate) epsilon_mantissa: f32,
    pub(crate) epsilon_exponent: i32,
    pub(crate) epsilon_norm: f32,
    pub(crate) floor: f32,
    pub(crate) least_squares_factor: f32,
    pub(crate) differences: [f32; DIFFERENCES],
}

/// Places for coefficients in the block: the highest order's.
const DIFFERENCES: usize = 20;
const _: () = assert!(DIFFERENCES == crate::MAX_ORDER as usize, "every order's coefficients fit the block");
const _: () = assert!(size_of::<Params>().is_multiple_of(16), "a uniform structure with vec4 members is padded to 16");

impl Params {
    pub(crate) fn new(plan: &Plan, tuning: &Tuning, points_read: usize) -> Self {
        let shape = plan.shape();
        let config = plan.config();
        let strides = shape.strides();
        // Bindings are below 2 GiB, so every index into one fits 32 bits; larger plans are refused when bound.
        let word = |elements: u64| u32::try_from(elements).unwrap_or(u32::MAX);
        let count = |number: usize| word(number as u64);
        let epsilon = wide(config.epsilon);
        let mut differences = [0.0; DIFFERENCES];
        let is_least_squares = is_least_squares(config);
        if !is_least_squares {
            for (place, d) in differences.iter_mut().zip(plan.differences()) {
                *place = *d as f32;
            }
        }
        Self {
            groups: count(shape.groups()),
            workgroups_x: tuning.workgroups[0],
            components: count(shape.max_components()),
            window: count(shape.window()),
            slope_points: count(plan.slope_points()),
            mean_points: count(plan.mean_points()),
            points_read: count(points_read),
            first_point: count(shape.window() - points_read),
            loss_group: word(strides.group),
            loss_component: word(strides.component),
            loss_time: word(strides.time),
            weight_group: word(strides.weight_group),
            weight_component: word(strides.weight_component),
            prior_start: count(shape.offsets().map_or(0, <[u32]>::len)),
            beta: config.beta as f32,
            epsilon_mantissa: epsilon.0,
            epsilon_exponent: epsilon.1,
            epsilon_norm: config.epsilon as f32,
            floor: config.floor as f32,
            least_squares_factor: if is_least_squares {
                coefficients::least_squares_factor(plan.slope_points()) as f32
            } else {
                0.0
            },
            differences,
        }
    }
}

pub(crate) fn is_least_squares(config: &Config) -> bool {
    config.score == Score::Slope(Slope::LeastSquares)
}

/// A number that is not negative as mantissa in [1, 2] and exponent: `struct Wide` of the shaders. Products of priors, losses
/// and exponentials span far more than f32's exponents.
fn wide(value: f64) -> (f32, i32) {
    if value == 0.0 {
        return (0.0, 0);
    }
    // Subnormal f64 numbers get a mantissa below 1, which is as good.
    let exponent = value.log2().floor().max(-1022.0);
    ((value / exponent.exp2()) as f32, exponent as i32)
}

/// The words of [`Slot::Table`](super::Slot::Table): offsets, then mantissa and exponent of each prior factor.
pub(crate) fn table(plan: &Plan) -> Vec<u32> {
    let prior = plan.config().prior.iter().flatten().flat_map(|&factor| {
        let (mantissa, exponent) = wide(factor);
        [mantissa.to_bits(), exponent.cast_unsigned()]
    });
    plan.shape().offsets().unwrap_or(&[]).iter().copied().chain(prior).collect()
}
