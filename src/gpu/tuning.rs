//! How a kernel is laid out on the device: the one place that chooses, and says what it chose.
//!
//! The choice depends on the number of components, the layout and the device, never on the number of groups: a group's
//! result must not depend on the batch around it.

use super::slots::Stage;
use crate::plan::Plan;
use crate::shape::Layout;
use std::fmt;

/// The largest workgroup that any kernel asks for: what WebGPU guarantees.
pub(crate) const MAX_WORKGROUP: u32 = 256;

/// The most rows that one lane owns: `ROUNDS` of `shaders/options/rounds_many.wgsl`.
pub(crate) const MAX_ROUNDS: u32 = 16;

/// Bytes per lane in workgroup memory: the reductions' vector and word, and a row of the tile.
const REDUCTION_BYTES: u32 = 16 + 4;
/// `TILE_PITCH` words of `shaders/window_tiled.wgsl`.
const TILE_ROW_BYTES: u32 = 9 * 4;

/// `total` workgroups along x, y and z, with as few idle ones as two dimensions allow; z is 0 if there are none. `None` if
/// two dimensions are not enough.
pub(crate) fn spread(total: u64, per_dimension: u32) -> Option<[u32; 3]> {
    let y = total.div_ceil(per_dimension.into()).max(1);
    let x = total.div_ceil(y).max(1);
    (y <= per_dimension.into()).then_some([x as u32, y as u32, u32::from(total > 0)])
}

/// What was chosen for a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tuning {
    /// Invocations per workgroup.
    pub workgroup: u32,
    /// Lanes that share a group.
    pub team: u32,
    /// Components that each lane owns at most.
    pub rounds: u32,
    /// Whether neighbouring lanes own neighbouring groups, or neighbouring components.
    pub groups_innermost: bool,
    /// Whether windows pass through workgroup memory.
    pub tiled: bool,
    /// Whether teams reduce by subgroup shuffles, or through workgroup memory.
    pub subgroups: bool,
    /// Workgroups along x, y and z.
    pub workgroups: [u32; 3],
}

impl Tuning {
    /// The choice for a stage of a plan on a device whose subgroups have `subgroup_sizes` (smallest, largest) lanes.
    ///
    /// `None` if the batch has more workgroups than any device can count in two dimensions.
    pub(crate) fn choose(
        plan: &Plan,
        stage: Stage,
        subgroup_sizes: Option<(u32, u32)>,
        workgroups_per_dimension: u32,
    ) -> Option<Self> {
        let shape = plan.shape();
        let components = shape.max_components().max(1) as u32;
        // Neighbouring lanes read neighbouring words: along whichever axis these lie.
        let groups_innermost = match shape.layout() {
            Layout::RowMajor => false,
            Layout::TimeMajor => shape.offsets().is_none(),
            Layout::Strided(strides) => strides.group < strides.component,
        };
        let smallest_team = components.div_ceil(MAX_ROUNDS).next_power_of_two();
        let (team, workgroup) = if groups_innermost {
            // At least eight neighbouring groups a workgroup: 32 bytes, the sector that memory moves.
            let team = components.next_power_of_two().min(32).max(smallest_team);
            (team, (team * 32).clamp(64, MAX_WORKGROUP))
        } else {
            let team = components.next_power_of_two().min(MAX_WORKGROUP);
            (team, team.max(64))
        };
        let tiled = stage.reads_losses() && shape.layout() == Layout::RowMajor;
        let subgroups = !groups_innermost
            && subgroup_sizes.is_some_and(|(smallest, largest)| {
                smallest >= team && largest > 0 && workgroup.is_multiple_of(largest)
            });
        let groups = shape.groups() as u64;
        let total = groups.div_ceil(u64::from(workgroup / team));
        let workgroups = spread(total, workgroups_per_dimension)?;
        Some(Self {
            workgroup,
            team,
            rounds: components.div_ceil(team),
            groups_innermost,
            tiled,
            subgroups,
            workgroups,
        })
    }

    /// Workgroup memory that the kernel declares, in bytes.
    #[must_use]
    pub fn workgroup_bytes(&self) -> u32 {
        let tile = if self.tiled { TILE_ROW_BYTES } else { 0 };
        let reductions = if self.subgroups { 0 } else { REDUCTION_BYTES };
        self.workgroup * (tile + reductions)
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "workgroups of {}, {} lanes a group, {} component(s) a lane, {} innermost, windows {}, reductions by {}",
            self.workgroup,
            self.team,
            self.rounds,
            if self.groups_innermost { "groups" } else { "components" },
            if self.tiled { "through workgroup memory" } else { "read directly" },
            if self.subgroups { "subgroup shuffles" } else { "workgroup memory" },
        )
    }
}
