//! The buffers of the kernels: one table says their binding numbers, names, and which stage reads or writes them.
//!
//! Shader declarations are generated from it ([`declarations`]), bind group layouts and checks follow it.

use super::tuning::{Choice, Reads};
use crate::plan::Plan;
use std::fmt;

/// A compute stage with an entry point of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Losses to slopes.
    Slopes,
    /// Losses to mean losses.
    Average,
    /// Slopes to scores (and status).
    Normalize,
    /// Scores and mean losses to weights and status.
    Softmax,
    /// Losses to weights and status in one dispatch.
    Fused,
}

impl Stage {
    /// All stages, the staged ones in the order in which they run.
    pub const ALL: [Self; 5] = [Self::Slopes, Self::Average, Self::Normalize, Self::Softmax, Self::Fused];

    /// The shader's entry point.
    #[must_use]
    pub fn entry_point(self) -> &'static str {
        match self {
            Self::Slopes => "slopes_stage",
            Self::Average => "average_stage",
            Self::Normalize => "normalize_stage",
            Self::Softmax => "softmax_stage",
            Self::Fused => "fused",
        }
    }

    /// How many of the newest points of every row the stage reads.
    pub(crate) fn points_read(self, plan: &Plan) -> usize {
        match self {
            Self::Slopes => plan.slope_points(),
            Self::Average => plan.mean_points(),
            Self::Fused => plan.points_used(),
            Self::Normalize | Self::Softmax => 0,
        }
    }

    /// Whether the stage reads windows of losses.
    pub(crate) fn reads_losses(self) -> bool {
        matches!(self, Self::Slopes | Self::Average | Self::Fused)
    }
}

/// A buffer that a kernel reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Slot {
    /// f32 losses in the plan's layout.
    Losses,
    /// f32 weights in the plan's layout. Under `keep_previous` they hold the previous update's when the kernel starts.
    Weights,
    /// One [`Status`](crate::Status) word per group.
    Status,
    /// f32, one beta per group; its owner may rewrite it between dispatches.
    Betas,
    /// u32, the number of points each group has so far.
    Points,
    /// f32 slopes, laid out as the weights.
    Slopes,
    /// f32 mean losses, laid out as the weights.
    Means,
    /// f32 normalised slopes, laid out as the weights.
    Scores,
    /// Offsets, prior and what else is fixed; owned by the kernel.
    Table,
    /// What a balancer remembers; owned by it.
    State,
    /// A balancer's log of updates; owned by it.
    WeightLog,
    /// u32, which groups of a balancer are meant: a list of groups, a mask with one word per group, or pairs of groups.
    Chosen,
}

/// How a stage uses a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Read.
    Input,
    /// Written. What was in it is not read, with two exceptions: previous weights stay under `keep_previous`, and the stage
    /// `softmax` keeps the flag that the stage `normalize` wrote to the status words.
    Output,
}

impl Slot {
    /// All slots in the order of their binding numbers, which start at 1: 0 is the parameter block.
    pub const ALL: [Self; 12] = [
        Self::Losses,
        Self::Weights,
        Self::Status,
        Self::Betas,
        Self::Points,
        Self::Slopes,
        Self::Means,
        Self::Scores,
        Self::Table,
        Self::State,
        Self::WeightLog,
        Self::Chosen,
    ];

    /// The binding number in group 0.
    #[must_use]
    pub fn binding(self) -> u32 {
        self as u32 + 1
    }

    /// The name in shaders and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Losses => "losses",
            Self::Weights => "weights",
            Self::Status => "status",
            Self::Betas => "betas",
            Self::Points => "points",
            Self::Slopes => "slopes",
            Self::Means => "means",
            Self::Scores => "scores",
            Self::Table => "table",
            Self::State => "state",
            Self::WeightLog => "weight_log",
            Self::Chosen => "chosen",
        }
    }

    /// Words (of four bytes) that a plan needs in it; at least one, since wgpu binds no empty range. Those of a balancer
    /// are not the plan's to know.
    pub(crate) fn words(self, plan: &Plan) -> u64 {
        let shape = plan.shape();
        let words = match self {
            Self::Losses => shape.losses_len(),
            Self::Weights | Self::Slopes | Self::Means | Self::Scores => shape.weights_len(),
            Self::Status | Self::Betas | Self::Points => shape.groups(),
            Self::Table => {
                shape.offsets().map_or(0, <[u32]>::len) + 2 * plan.config().prior.as_ref().map_or(0, Vec::len)
            }
            Self::State | Self::WeightLog | Self::Chosen => 0,
        };
        words.max(1) as u64
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a kernel is asked for beside its plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KernelOptions {
    /// Write a status word per group ([`Slot::Status`]).
    pub status: bool,
    /// Read a beta per group ([`Slot::Betas`]) instead of the configuration's.
    pub per_group_beta: bool,
    /// Read how many points each group has ([`Slot::Points`]); otherwise all windows are full.
    pub per_group_points: bool,
    /// The weights buffer holds the weights of the previous update: groups that are not ready or hold keep them.
    /// Otherwise they get neutral ones.
    pub keep_previous: bool,
    /// Compute mean losses also where they take no part in the weights. For [`Kernels::staged`](super::Kernels::staged); a
    /// single kernel has no use for it.
    pub means: bool,
    /// How the kernel is laid out on the device, as far as the library is not to choose.
    pub choice: Choice,
}

/// The slots that a stage of a plan uses, in the order of their binding numbers.
pub(crate) fn slots(stage: Stage, plan: &Plan, options: KernelOptions) -> Vec<(Slot, Role)> {
    let weighted = plan.is_loss_weighted();
    let role = |slot: Slot| -> Option<Role> {
        let input = |used: bool| used.then_some(Role::Input);
        let output = |used: bool| used.then_some(Role::Output);
        match slot {
            Slot::Losses => input(stage.reads_losses()),
            Slot::Weights => output(matches!(stage, Stage::Softmax | Stage::Fused)),
            Slot::Status => output(options.status && matches!(stage, Stage::Normalize | Stage::Softmax | Stage::Fused)),
            Slot::Betas => input(options.per_group_beta && matches!(stage, Stage::Softmax | Stage::Fused)),
            Slot::Points => input(options.per_group_points && stage != Stage::Normalize),
            Slot::Slopes => match stage {
                Stage::Slopes => Some(Role::Output),
                Stage::Normalize => Some(Role::Input),
                _ => None,
            },
            Slot::Means => match stage {
                Stage::Average => Some(Role::Output),
                Stage::Normalize | Stage::Softmax => input(weighted),
                _ => None,
            },
            Slot::Scores => match stage {
                Stage::Normalize => Some(Role::Output),
                Stage::Softmax => Some(Role::Input),
                _ => None,
            },
            Slot::Table => input(
                plan.shape().offsets().is_some()
                    || (plan.config().prior.is_some() && matches!(stage, Stage::Softmax | Stage::Fused)),
            ),
            Slot::State | Slot::WeightLog | Slot::Chosen => None,
        }
    };
    Slot::ALL.into_iter().filter_map(|slot| role(slot).map(|role| (slot, role))).collect()
}

/// Whether a slot is declared writable: outputs and what stages hand to each other always are, and with `shared` buffers
/// everything but the kernel's own table.
///
/// wgpu lets disjoint ranges of one buffer be bound together only if all of them are writable, and trainers keep many
/// tensors in one buffer. The access mode is part of the text, so there are two texts of every kernel.
pub(crate) fn is_writable(slot: Slot, shared: bool) -> bool {
    match slot {
        Slot::Weights | Slot::Status | Slot::Slopes | Slot::Means | Slot::Scores => true,
        Slot::State | Slot::WeightLog => true,
        Slot::Losses | Slot::Betas | Slot::Points => shared,
        Slot::Table | Slot::Chosen => false,
    }
}

/// The binding number of a balancer's own parameters, behind those of the slots.
pub(crate) const BALANCE_BINDING: u32 = Slot::ALL.len() as u32 + 1;

/// WGSL declarations of all storage bindings; of a balancer's parameters, too, if the text is one's. Which of them an entry
/// point uses decides what has to be bound.
pub(crate) fn declarations(shared: bool, balancer: bool, reads: Reads) -> String {
    let mut text = String::new();
    for slot in Slot::ALL {
        let access = if is_writable(slot, shared) { "read_write" } else { "read" };
        let (binding, name) = (slot.binding(), slot.name());
        let element = if slot == Slot::Losses && reads == Reads::Vectors { "vec4<u32>" } else { "u32" };
        text.push_str(&format!("@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;\n"));
    }
    if balancer {
        text.push_str(&format!("@group(0) @binding({BALANCE_BINDING}) var<uniform> balance: Balance;\n"));
    }
    text
}
