//! The parameter block of a plan: the Rust side of `struct Params` in `shaders/params.wgsl`.
//! `tests/shaders.rs` compares the two field by field.

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
    pub(crate) slots: u32,
    pub(crate) window: u32,
    pub(crate) slope_points: u32,
    pub(crate) mean_points: u32,
    pub(crate) points_read: u32,
    pub(crate) loss_group: u32,
    pub(crate) loss_component: u32,
    pub(crate) loss_time: u32,
    pub(crate) weight_group: u32,
    pub(crate) weight_component: u32,
    pub(crate) prior_start: u32,
    pub(crate) beta: f32,
    pub(crate) epsilon: f32,
    pub(crate) epsilon_norm: f32,
    pub(crate) floor: f32,
    pub(crate) least_squares_factor: f32,
    pub(crate) padding: u32,
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
            slots: tuning.rounds,
            window: count(shape.window()),
            slope_points: count(plan.slope_points()),
            mean_points: count(plan.mean_points()),
            points_read: count(points_read),
            loss_group: word(strides.group),
            loss_component: word(strides.component),
            loss_time: word(strides.time),
            weight_group: word(strides.weight_group),
            weight_component: word(strides.weight_component),
            prior_start: count(shape.offsets().map_or(0, <[u32]>::len)),
            beta: config.beta as f32,
            epsilon: (config.epsilon / plan.prior_unit()).min(f64::from(f32::MAX)) as f32,
            epsilon_norm: config.epsilon as f32,
            floor: config.floor as f32,
            least_squares_factor: if is_least_squares {
                coefficients::least_squares_factor(plan.slope_points()) as f32
            } else {
                0.0
            },
            padding: 0,
            differences,
        }
    }
}

pub(crate) fn is_least_squares(config: &Config) -> bool {
    config.score == Score::Slope(Slope::LeastSquares)
}

/// The words of [`Slot::Table`](super::Slot::Table): offsets, then the prior.
pub(crate) fn table(plan: &Plan) -> Vec<u32> {
    let unit = plan.prior_unit();
    let prior = plan.config().prior.iter().flatten().map(|factor| ((factor / unit) as f32).to_bits());
    plan.shape().offsets().unwrap_or(&[]).iter().copied().chain(prior).collect()
}
