//! The shader texts, joined from the files in `shaders/`.

use super::slots::{KernelOptions, declarations};
use super::tuning::{Reads, Tuning};
use crate::balancer::{BalancerConfig, BetaSchedule, Feed, Smoothing};
use crate::plan::Plan;

/// Everything that changes the module's text, which holds the entry points of all stages. What can be an `override` is
/// one instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// Inputs and outputs are ranges of the same buffers.
    pub(crate) shared: bool,
    pub(crate) ragged: bool,
    pub(crate) prior: bool,
    pub(crate) status: bool,
    pub(crate) per_group_beta: bool,
    pub(crate) per_group_points: bool,
    pub(crate) weighted: bool,
    /// Components that a lane owns: the length of its private arrays.
    pub(crate) rounds: u32,
    pub(crate) reads: Reads,
    pub(crate) team: Team,
    /// `None` for the kernels of a batch.
    pub(crate) balancer: Option<BalancerSource>,
}

/// What changes the text of a balancer's kernels beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BalancerSource {
    pub(crate) order_grows: bool,
    pub(crate) scheduled: bool,
    pub(crate) epoch: bool,
    pub(crate) log: bool,
    pub(crate) publish: Publish,
}

/// How lanes that share a group reduce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Team {
    Alone,
    Subgroup,
    Workgroup,
}

/// The kinds of smoothing, without their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Publish {
    Plain,
    Exponential,
    Cycle,
}

impl BalancerSource {
    pub(crate) fn new(config: &BalancerConfig) -> Self {
        Self {
            order_grows: config.order_grows(),
            scheduled: config.beta_schedule != BetaSchedule::Constant,
            epoch: config.feed == Feed::EpochMean,
            log: config.log > 0,
            publish: match config.smoothing {
                Smoothing::None => Publish::Plain,
                Smoothing::Exponential { .. } => Publish::Exponential,
                Smoothing::CycleMean => Publish::Cycle,
            },
        }
    }
}

impl Source {
    pub(crate) fn new(plan: &Plan, options: KernelOptions, tuning: &Tuning, shared: bool) -> Self {
        Self {
            shared,
            ragged: plan.shape().offsets().is_some(),
            prior: plan.config().prior.is_some(),
            status: options.status,
            per_group_beta: options.per_group_beta,
            per_group_points: options.per_group_points,
            weighted: plan.is_loss_weighted(),
            rounds: tuning.rounds,
            reads: tuning.reads,
            team: match (tuning.team, tuning.subgroups) {
                (1, _) => Team::Alone,
                (_, true) => Team::Subgroup,
                (_, false) => Team::Workgroup,
            },
            balancer: None,
        }
    }

    /// The whole module.
    pub(crate) fn text(self) -> String {
        macro_rules! shader {
            ($name:literal) => {
                include_str!(concat!("../../shaders/", $name, ".wgsl"))
            };
        }
        macro_rules! option {
            ($chosen:expr, $yes:literal, $no:literal) => {
                if $chosen { shader!($yes) } else { shader!($no) }
            };
        }
        let balancer = self.balancer;
        let is_balancer = balancer.is_some();
        let order_grows = balancer.is_some_and(|b| b.order_grows);
        let scheduled = balancer.is_some_and(|b| b.scheduled);
        let rounds = format!("const ROUNDS: u32 = {}u;\n", self.rounds);
        let mut parts = vec![
            shader!("params"),
            shader!("status"),
            shader!("numerics"),
            &rounds,
            option!(self.ragged, "options/groups_ragged", "options/groups_uniform"),
            option!(self.prior, "options/prior_table", "options/prior_none"),
            option!(self.per_group_beta, "options/beta_per_group", "options/beta_shared"),
            option!(scheduled, "options/schedule_steps", "options/schedule_none"),
            if is_balancer {
                shader!("options/points_ring")
            } else {
                option!(self.per_group_points, "options/points_per_group", "options/points_full")
            },
            option!(order_grows, "options/stencil_growing", "options/stencil_fixed"),
            option!(self.weighted, "options/means_loaded", "options/means_none"),
            option!(self.status, "options/status_written", "options/status_none"),
            shader!("team"),
            match self.team {
                Team::Alone => shader!("team_alone"),
                Team::Subgroup => shader!("team_subgroup"),
                Team::Workgroup => shader!("team_workgroup"),
            },
            shader!("row"),
            match self.reads {
                _ if is_balancer => shader!("window_ring"),
                Reads::Direct => shader!("window_direct"),
                Reads::Vectors => shader!("window_vectors"),
                Reads::Whole => shader!("window_whole"),
                Reads::Tiled => shader!("window_tiled"),
            },
            shader!("slopes"),
            shader!("average"),
            shader!("normalize"),
            shader!("softmax"),
        ];
        match balancer {
            None => parts.extend([shader!("options/publish_batch"), shader!("fused")]),
            Some(balancer) => parts.extend([
                shader!("balancer"),
                option!(balancer.epoch, "options/losses_epoch", "options/losses_pushed"),
                match balancer.publish {
                    Publish::Plain => shader!("options/publish_plain"),
                    Publish::Exponential => shader!("options/publish_exponential"),
                    Publish::Cycle => shader!("options/publish_cycle"),
                },
                option!(balancer.log, "options/log_kept", "options/log_none"),
                shader!("step"),
                shader!("accumulate"),
                shader!("reset"),
                shader!("copy"),
            ]),
        }
        let declarations = declarations(self.shared, is_balancer, self.reads);
        parts.push(&declarations);
        parts.join("\n")
    }
}
