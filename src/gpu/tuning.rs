//! How a kernel is laid out on the device: the one place that chooses, and says what it chose.
//!
//! The choice is a line of [`TABLE`], unless the caller makes one ([`Choice`]). It depends on the configuration, the number of
//! components, the layout and the device, never on the number of groups: nothing about a group depends on the batch around it.
//! No choice changes a bit of any result.

use super::error::KernelError;
use super::slots::Stage;
use crate::balancer::BalancerPlan;
use crate::plan::Plan;
use crate::shape::Layout;
use std::fmt;

/// The largest workgroup that any kernel asks for: what `WebGPU` guarantees.
pub(crate) const MAX_WORKGROUP: u32 = 256;

/// The most components that one lane owns.
pub(crate) const MAX_ROUNDS: u32 = 16;

/// Workgroup memory that every `WebGPU` device and `SwiftShader` offer, less the balancer's own words.
const MAX_WORKGROUP_BYTES: u32 = 16_352;

/// Bytes per lane in workgroup memory: the reductions' vector and word, and a row of the tile (`TILE_PITCH` words of
/// `shaders/window_tiled.wgsl`).
const REDUCTION_BYTES: u32 = 16 + 4;
const TILE_ROW_BYTES: u32 = 9 * 4;

/// Points, and components of a lane that has a group to itself, up to which kernels are specialised to their number, for compilers
/// to unroll the loops over them. More would gain little, and cost a pipeline for every number.
const UNROLLED: usize = 8;

/// How the points of a row reach the lane that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reads {
    /// Word by word, in any layout.
    Direct,
    /// Four words at a time: row-major windows of a multiple of four points.
    Vectors,
    /// Through workgroup memory, all rows of the workgroup at once: row-major windows of few points, all of which count.
    Whole,
    /// Through workgroup memory, eight points of every lane's row at a time: row-major windows.
    Tiled,
}

/// What a caller can choose about a kernel; what is `None` comes from the library's table. Results do not depend on it, speed
/// does: `softadapt bench --tune` finds out how on a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Choice {
    /// Invocations per workgroup: a power of two, at most 256.
    pub workgroup: Option<u32>,
    /// Components that each lane owns at most: a power of two, at most 16.
    pub rounds: Option<u32>,
    /// How losses are read.
    pub reads: Option<Reads>,
    /// Whether lanes that share a group may use subgroup shuffles.
    pub subgroups: Option<bool>,
}

/// Which plans a line of the table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// Neighbouring groups lie side by side: time-major batches and the balancer's ring.
    GroupsInnermost,
    /// Row-major.
    RowMajor,
    /// Everything else: neighbouring components side by side.
    ComponentsInnermost,
}

/// A line of the table: the first that fits a plan counts.
struct Line {
    rows: Rows,
    /// The most points that are read.
    points: usize,
    reads: Reads,
    /// Components that each lane owns at most.
    rounds: u32,
    /// Invocations per workgroup, unless a group has more lanes.
    workgroup: u32,
}

/// **Not measured on hardware yet.** What the lines rest on instead is counted in `benches/README.md`, section "What the GPU
/// kernels are made of"; `softadapt bench --tune` measures them.
///
/// Small groups are bound by instructions as much as by memory (three components of five points are 72 bytes, for which a GPU
/// has time for some 20 instructions of a warp). A lane of its own for every component repeats per component what is needed
/// once a group and idles where their number is no power of two: lanes own several components, of which the work interleaves.
const TABLE: [Line; 6] = [
    // Coalesced for any number of components: lanes of neighbouring groups read neighbouring words. Without partners no barrier.
    Line { rows: Rows::GroupsInnermost, points: usize::MAX, reads: Reads::Direct, rounds: 16, workgroup: 64 },
    // Loads of 16 bytes; two of them are a sector. Up to four sectors a row a lane's reads stay in its cache until they are used up.
    Line { rows: Rows::RowMajor, points: 32, reads: Reads::Vectors, rounds: 4, workgroup: 64 },
    // A lane's rows are too short to be read one by one: 32 lanes would touch 15 cache lines with each load, and copying their
    // rows together touches one.
    Line { rows: Rows::RowMajor, points: 8, reads: Reads::Whole, rounds: 4, workgroup: 64 },
    // The newest points of longer rows: sectors of their own, whoever reads them.
    Line { rows: Rows::RowMajor, points: 8, reads: Reads::Direct, rounds: 4, workgroup: 64 },
    // Rows too long for a cache that all lanes share.
    Line { rows: Rows::RowMajor, points: usize::MAX, reads: Reads::Tiled, rounds: 4, workgroup: 64 },
    Line { rows: Rows::ComponentsInnermost, points: usize::MAX, reads: Reads::Direct, rounds: 1, workgroup: 64 },
];

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
    /// Components that each lane owns at most: a power of two.
    pub rounds: u32,
    /// Whether neighbouring lanes own neighbouring groups, or neighbouring components.
    pub groups_innermost: bool,
    /// How losses are read; [`Reads::Direct`] if they are not.
    pub reads: Reads,
    /// Whether teams of several lanes reduce by subgroup shuffles, or through workgroup memory.
    pub subgroups: bool,
    /// Workgroups along x, y and z.
    pub workgroups: [u32; 3],
    /// Words that each lane copies for [`Reads::Whole`].
    pub(crate) turns: u32,
    /// Components, points read and points of the slope that the kernel is specialised to; 0 where it is not.
    pub(crate) components: u32,
    pub(crate) points_read: u32,
    pub(crate) slope_points: u32,
}

impl Tuning {
    /// The choice for a stage of a plan on a device whose subgroups have `subgroup_sizes` (smallest, largest) lanes.
    pub(crate) fn choose(
        plan: &Plan,
        stage: Stage,
        choice: Choice,
        subgroup_sizes: Option<(u32, u32)>,
        workgroups_per_dimension: u32,
    ) -> Result<Self, KernelError> {
        let shape = plan.shape();
        let components = shape.max_components().max(1) as u32;
        let points = stage.points_read(plan);
        let rows = rows_of(plan);
        let groups_innermost = rows == Rows::GroupsInnermost;

        let mut chosen = None;
        for line in TABLE.iter().filter(|line| line.rows == rows && points <= line.points) {
            let rounds = choice.rounds.unwrap_or(line.rounds);
            if !rounds.is_power_of_two() || rounds > MAX_ROUNDS {
                let needed = "a power of two, at most 16";
                return Err(KernelError::Choice { what: "rounds", chosen: rounds.to_string(), needed });
            }
            // Fewer lanes than needed cannot be; nor more than there are.
            let team = components
                .div_ceil(rounds)
                .next_power_of_two()
                .max(components.div_ceil(MAX_ROUNDS).next_power_of_two());
            let team = team.min(MAX_WORKGROUP);
            let rounds = components.div_ceil(team).next_power_of_two();
            let enough = if groups_innermost && team > 1 {
                // At least eight neighbouring groups a workgroup: 32 bytes, the sector that memory moves.
                (team * 32).clamp(64, MAX_WORKGROUP)
            } else {
                team.max(line.workgroup)
            };
            let workgroup = choice.workgroup.unwrap_or(enough);
            if !workgroup.is_power_of_two() || workgroup > MAX_WORKGROUP || workgroup < team {
                let needed = "a power of two, at most 256, at least the lanes of a group";
                return Err(KernelError::Choice { what: "workgroup", chosen: workgroup.to_string(), needed });
            }
            let subgroups = choice.subgroups.unwrap_or(true)
                && !groups_innermost
                && team > 1
                && subgroup_sizes.is_some_and(|(smallest, largest)| {
                    smallest >= team && largest > 0 && workgroup.is_multiple_of(largest)
                });
            let reads = if stage.reads_losses() { choice.reads.unwrap_or(line.reads) } else { Reads::Direct };
            let specialised =
                |number: usize, wanted: bool| if wanted && number <= UNROLLED { number as u32 } else { 0 };
            let unrolls_points = stage.reads_losses() && points <= UNROLLED;
            let tuning = Self {
                workgroup,
                team,
                rounds,
                groups_innermost,
                reads,
                subgroups,
                workgroups: [0; 3],
                turns: (workgroup / team * components * shape.window() as u32).div_ceil(workgroup),
                components: shape.uniform_components().map_or(0, |components| specialised(components, team == 1)),
                points_read: specialised(points, unrolls_points),
                slope_points: specialised(plan.slope_points(), unrolls_points),
            };
            if tuning.can_read(plan, points) {
                chosen = Some(tuning);
                break;
            }
            if let Some(reads) = choice.reads {
                let needed = "a way of reading that the layout and the window allow";
                return Err(KernelError::Choice { what: "reads", chosen: format!("{reads:?}"), needed });
            }
        }
        let too_many = KernelError::TooManyGroups { groups: shape.groups() };
        let mut tuning = chosen.ok_or_else(|| too_many.clone())?;
        let total = (shape.groups() as u64).div_ceil(u64::from(tuning.workgroup / tuning.team));
        tuning.workgroups = spread(total, workgroups_per_dimension).ok_or(too_many)?;
        Ok(tuning)
    }

    /// Whether rows can be read as they would be.
    fn can_read(&self, plan: &Plan, points: usize) -> bool {
        let row_major = plan.shape().layout() == Layout::RowMajor;
        let window = plan.shape().window();
        let possible = match self.reads {
            Reads::Direct => true,
            // A binding holds a vector at least; a ragged batch may have groups and not one row.
            Reads::Vectors => {
                row_major && window.is_multiple_of(4) && (plan.shape().offsets().is_none() || plan.shape().rows() > 0)
            }
            Reads::Whole => row_major && points == window && self.turns <= 64,
            Reads::Tiled => row_major,
        };
        possible && self.workgroup_bytes() <= MAX_WORKGROUP_BYTES
    }

    /// Everything that can be chosen for a stage of a plan: for tools that try it.
    #[must_use]
    pub fn candidates(plan: &Plan, stage: Stage, subgroup_sizes: Option<(u32, u32)>) -> Vec<Choice> {
        let mut choices = Vec::new();
        let mut seen: Vec<Self> = Vec::new();
        for reads in [Reads::Direct, Reads::Vectors, Reads::Whole, Reads::Tiled] {
            for rounds in [1, 2, 4, 8, 16] {
                for workgroup in [64, 128, 256] {
                    for subgroups in [true, false] {
                        let choice = Choice {
                            workgroup: Some(workgroup),
                            rounds: Some(rounds),
                            reads: Some(reads),
                            subgroups: Some(subgroups),
                        };
                        // What makes no difference is there once.
                        match Self::choose(plan, stage, choice, subgroup_sizes, u32::MAX) {
                            Ok(tuning) if !seen.contains(&tuning) => {
                                seen.push(tuning);
                                choices.push(choice);
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
        choices
    }

    /// As [`Tuning::candidates`], for the step of a balancer.
    #[must_use]
    pub fn step_candidates(plan: &BalancerPlan, subgroup_sizes: Option<(u32, u32)>) -> Vec<Choice> {
        let choices = Self::candidates(plan.plan(), Stage::Fused, subgroup_sizes);
        choices.into_iter().filter(|choice| choice.reads == Some(Reads::Direct)).collect()
    }

    /// Workgroup memory that the kernel declares, in bytes.
    #[must_use]
    pub fn workgroup_bytes(&self) -> u32 {
        let read = match self.reads {
            Reads::Direct | Reads::Vectors => 0,
            Reads::Whole => 4 * self.turns,
            Reads::Tiled => TILE_ROW_BYTES,
        };
        let reductions = if self.subgroups || self.team == 1 { 0 } else { REDUCTION_BYTES };
        self.workgroup.saturating_mul(read.saturating_add(reductions))
    }
}

fn rows_of(plan: &Plan) -> Rows {
    // Neighbouring lanes read neighbouring words: along whichever axis these lie.
    match plan.shape().layout() {
        Layout::RowMajor => Rows::RowMajor,
        Layout::TimeMajor if plan.shape().offsets().is_none() => Rows::GroupsInnermost,
        Layout::Strided(strides) if strides.group < strides.component => Rows::GroupsInnermost,
        Layout::TimeMajor | Layout::Strided(_) => Rows::ComponentsInnermost,
    }
}

impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "read directly",
            Self::Vectors => "read four points at a time",
            Self::Whole => "copied whole to workgroup memory",
            Self::Tiled => "through workgroup memory in tiles",
        })
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "workgroups of {}, {} lane(s) a group, {} component(s) a lane, {} innermost, windows {}, reductions by {}",
            self.workgroup,
            self.team,
            self.rounds,
            if self.groups_innermost { "groups" } else { "components" },
            self.reads,
            match (self.team, self.subgroups) {
                (1, _) => "nobody",
                (_, true) => "subgroup shuffles",
                (_, false) => "workgroup memory",
            },
        )
    }
}
