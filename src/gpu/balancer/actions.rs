//! What a balancer's kernels do: entry points, and which of them reads or writes which buffer.

use crate::balancer::{BalancerPlan, Feed};
use crate::gpu::slots::{Role, Slot};

/// A kernel of a balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Push (of losses, or of the open epoch's mean) and weights.
    Step,
    /// A batch's losses to the open epoch.
    Accumulate,
    /// A new start for listed groups.
    ResetListed,
    /// A new start for masked groups.
    ResetMasked,
    /// Groups' states onto others.
    Copy,
}

impl Action {
    pub(crate) const ALL: [Self; 5] = [Self::Step, Self::Accumulate, Self::ResetListed, Self::ResetMasked, Self::Copy];

    /// The shader's entry point.
    pub(crate) fn entry_point(self) -> &'static str {
        match self {
            Self::Step => "step_stage",
            Self::Accumulate => "accumulate_stage",
            Self::ResetListed => "reset_listed",
            Self::ResetMasked => "reset_masked",
            Self::Copy => "copy_groups",
        }
    }

    /// The slots that it uses, in the order of their binding numbers.
    pub(crate) fn slots(self, plan: &BalancerPlan) -> Vec<(Slot, Role)> {
        let config = plan.config();
        let is_ragged = plan.shape().offsets().is_some();
        let steps = self == Self::Step;
        let resets = matches!(self, Self::ResetListed | Self::ResetMasked);
        let role = |slot: Slot| -> Option<Role> {
            let input = |used: bool| used.then_some(Role::Input);
            let output = |used: bool| used.then_some(Role::Output);
            match slot {
                Slot::Losses => input(self == Self::Accumulate || steps && config.feed == Feed::EveryPush),
                Slot::Weights | Slot::Status => output(self != Self::Accumulate),
                Slot::Betas => input(steps && config.per_group_beta),
                Slot::Table => {
                    input(is_ragged || resets || steps && (config.config.prior.is_some() || config.order_grows()))
                }
                Slot::State => output(true),
                Slot::WeightLog => output(config.log > 0 && self != Self::Accumulate),
                Slot::Chosen => input(resets || self == Self::Copy),
                Slot::Points | Slot::Slopes | Slot::Means | Slot::Scores => None,
            }
        };
        Slot::ALL.into_iter().filter_map(|slot| role(slot).map(|role| (slot, role))).collect()
    }
}
