//! The staged kernels of a plan, in the order in which they run.

use super::bindings::{Bindings, BoundKernel};
use super::error::{BindError, KernelError};
use super::kernels::{Kernel, Kernels};
use super::requirements::BufferRequirement;
use super::slots::{KernelOptions, Role, Slot, Stage};
use crate::config::Normalize;
use crate::plan::Plan;

/// The kernels of the stages that a plan has: slopes, average (under loss weighting or if asked for), normalize (unless
/// there is nothing to divide by), softmax. Each leaves its result in a buffer of the caller.
#[derive(Clone, Debug)]
pub struct Staged {
    /// Losses to slopes.
    pub slopes: Kernel,
    /// Losses to means; `None` if nobody needs them.
    pub average: Option<Kernel>,
    /// Slopes to scores; `None` without normalisation.
    pub normalize: Option<Kernel>,
    /// Scores and means to weights. Without normalisation, slopes are the scores.
    pub softmax: Kernel,
}

impl Kernels {
    /// Makes all stages of a plan ready.
    ///
    /// # Errors
    /// As [`Kernels::kernel`].
    pub fn staged(&self, plan: &Plan, options: KernelOptions) -> Result<Staged, KernelError> {
        let kernel = |stage| self.kernel(plan, stage, options);
        let when = |wanted: bool, stage| wanted.then(|| kernel(stage)).transpose();
        Ok(Staged {
            slopes: kernel(Stage::Slopes)?,
            average: when(plan.is_loss_weighted() || options.means, Stage::Average)?,
            normalize: when(plan.config().normalize != Normalize::None, Stage::Normalize)?,
            softmax: kernel(Stage::Softmax)?,
        })
    }
}

impl Staged {
    /// The kernels in the order in which they run.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        [Some(&self.slopes), self.average.as_ref(), self.normalize.as_ref(), Some(&self.softmax)].into_iter().flatten()
    }

    /// Every buffer that [`Staged::bind`] wants, with the bytes and usages it needs.
    #[must_use]
    pub fn buffers(&self) -> Vec<BufferRequirement> {
        let mut all: Vec<BufferRequirement> = Vec::new();
        for needed in self.kernels().flat_map(Kernel::buffers) {
            // Without normalisation the slopes are the scores.
            let replaced = self.normalize.is_none() && needed.slot == Slot::Scores;
            match all.iter_mut().find(|known| known.slot == needed.slot) {
                _ if replaced => {}
                // What one stage writes for another to read is an output.
                Some(known) if needed.role == Role::Output => known.role = Role::Output,
                Some(_) => {}
                None => all.push(needed),
            }
        }
        all
    }

    /// Binds all stages to one set of buffers; each takes those it uses. Record them in the order given.
    ///
    /// Without normalisation the slopes serve as scores, and `scores` is not used.
    ///
    /// # Errors
    /// As [`Kernel::bind`], of the first stage that does not fit, except that buffers no stage uses are ignored.
    pub fn bind(&self, bindings: &Bindings<'_>) -> Result<Vec<BoundKernel>, BindError> {
        self.kernels()
            .map(|kernel| {
                let uses = |slot: Slot| kernel.slots.iter().any(|&(s, _)| s == slot);
                fn only<'b>(used: bool, given: &Option<wgpu::BufferBinding<'b>>) -> Option<wgpu::BufferBinding<'b>> {
                    given.clone().filter(|_| used)
                }
                let scores = if self.normalize.is_some() { &bindings.scores } else { &bindings.slopes };
                kernel.bind(&Bindings {
                    losses: only(uses(Slot::Losses), &bindings.losses),
                    weights: only(uses(Slot::Weights), &bindings.weights),
                    status: only(uses(Slot::Status), &bindings.status),
                    betas: only(uses(Slot::Betas), &bindings.betas),
                    points: only(uses(Slot::Points), &bindings.points),
                    slopes: only(uses(Slot::Slopes), &bindings.slopes),
                    means: only(uses(Slot::Means), &bindings.means),
                    scores: only(uses(Slot::Scores), scores),
                })
            })
            .collect()
    }
}
