//! The parameter block of a balancer: the Rust side of `struct Balance` in `shaders/balancer.wgsl`, and the values of the
//! overrides. `src/gpu/tests.rs` compares them with the shaders.

use crate::balancer::schedule::Schedule;
use crate::balancer::{BalancerPlan, Feed, Smoothing, Window};
use crate::config::{Score, Slope};
use crate::{coefficients, gpu};
use bytemuck::{Pod, Zeroable};

/// `struct Balance` of the shaders, in the uniform address space.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Balance {
    pub(crate) clocks: u32,
    pub(crate) steps: u32,
    pub(crate) cycle: u32,
    pub(crate) batches: u32,
    pub(crate) ring: u32,
    pub(crate) cycle_sums: u32,
    pub(crate) epoch_newest: u32,
    pub(crate) epoch_older: u32,
    pub(crate) log_length: u32,
    pub(crate) log_steps: u32,
    pub(crate) log_status: u32,
    pub(crate) log_weights: u32,
    pub(crate) first: u32,
    pub(crate) every: u32,
    pub(crate) steps_fold: u32,
    pub(crate) rows: u32,
    pub(crate) initial: u32,
    pub(crate) stencils: u32,
    pub(crate) keep: f32,
    pub(crate) take: f32,
    pub(crate) schedule_from: f32,
    pub(crate) schedule_to: f32,
    pub(crate) schedule_over: u32,
    pub(crate) padding: u32,
}

const _: () = assert!(size_of::<Balance>().is_multiple_of(16), "uniform structures are padded to 16");

impl Balance {
    pub(crate) fn new(plan: &BalancerPlan) -> Self {
        let (config, layout) = (plan.config(), plan.layout());
        // Bindings are below 2 GiB, so every place in one fits 32 bits; larger plans are refused before.
        let word = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let part = |place: Option<usize>| place.map_or(0, word);
        let keep = if let Smoothing::Exponential { keep } = config.smoothing { keep } else { 0.0 };
        let schedule = Schedule::new(config.beta_schedule);
        let fixed = gpu::params::table(plan.plan()).len();
        Self {
            clocks: word(layout.clocks),
            steps: word(layout.steps),
            cycle: part(layout.cycle),
            batches: part(layout.batches),
            ring: word(layout.ring),
            cycle_sums: part(layout.cycle_sums),
            epoch_newest: part(layout.epoch_sums),
            epoch_older: part(layout.epoch_sums.map(|start| start + layout.rows)),
            log_length: word(layout.log),
            log_steps: word(layout.log_steps),
            log_status: word(layout.log_status),
            log_weights: word(layout.log_weights),
            first: config.first_update(),
            every: config.every,
            steps_fold: plan.steps_fold(),
            rows: word(layout.rows),
            initial: word(fixed),
            stencils: word(fixed + plan.initial().len()),
            keep: keep as f32,
            take: (1.0 - keep) as f32,
            schedule_from: schedule.map_or(1.0, |s| s.from),
            schedule_to: schedule.map_or(1.0, |s| s.to),
            schedule_over: schedule.map_or(1, |s| s.over),
            padding: 0,
        }
    }
}

/// The words of the balancer's table: those of its plan, initial weights, and where the accuracy order grows, the
/// coefficients `d_j` of every order up to the window's.
pub(crate) fn table(plan: &BalancerPlan) -> Vec<u32> {
    let mut words = gpu::params::table(plan.plan());
    words.extend(plan.initial().iter().map(|weight| weight.to_bits()));
    if plan.config().order_grows() {
        let Score::Slope(slope) = plan.config().config.score;
        for order in 1..plan.shape().window() {
            let exact = match slope {
                Slope::Backward { .. } => coefficients::backward(order),
                _ => coefficients::forward(order),
            };
            words.extend(exact.iter().map(|&d| (d as f32).to_bits()));
        }
    }
    words
}

/// Values of the overrides that only a balancer's texts have.
pub(crate) fn constants(plan: &BalancerPlan) -> [(&'static str, u32); 6] {
    let config = plan.config();
    let is_cosine = Schedule::new(config.beta_schedule).is_some_and(|schedule| schedule.is_cosine);
    let averages = config.smoothing == Smoothing::CycleMean;
    [
        ("UPDATES_ALWAYS", (config.every == 1 && config.first_update() == 1).into()),
        ("COMPUTES_ALWAYS", averages.into()),
        ("TUMBLING", (config.window == Window::Tumbling).into()),
        ("SCHEDULE_COSINE", is_cosine.into()),
        ("HAS_CYCLE", averages.into()),
        ("HAS_EPOCH", (config.feed == Feed::EpochMean).into()),
    ]
}
