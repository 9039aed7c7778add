//! The shader texts, joined from the files in `shaders/`.

use super::slots::{KernelOptions, declarations};
use super::tuning::Tuning;
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
    pub(crate) many_rounds: bool,
    pub(crate) tiled: bool,
    pub(crate) subgroups: bool,
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
            many_rounds: tuning.rounds > 1,
            tiled: tuning.tiled,
            subgroups: tuning.subgroups,
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
        [
            shader!("params"),
            &declarations(self.shared),
            shader!("status"),
            shader!("numerics"),
            option!(self.many_rounds, "options/rounds_many", "options/rounds_one"),
            option!(self.ragged, "options/groups_ragged", "options/groups_uniform"),
            option!(self.prior, "options/prior_table", "options/prior_none"),
            option!(self.per_group_beta, "options/beta_per_group", "options/beta_shared"),
            option!(self.per_group_points, "options/points_per_group", "options/points_full"),
            option!(self.weighted, "options/means_loaded", "options/means_none"),
            option!(self.status, "options/status_written", "options/status_none"),
            shader!("team"),
            option!(self.subgroups, "team_subgroup", "team_workgroup"),
            shader!("row"),
            option!(self.tiled, "window_tiled", "window_direct"),
            shader!("slopes"),
            shader!("average"),
            shader!("normalize"),
            shader!("softmax"),
            shader!("fused"),
        ]
        .join("\n")
    }
}
