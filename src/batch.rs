//! The slices that the paths in host memory read and write.

use crate::error::BatchError;
use crate::plan::Plan;
use crate::status::Status;

/// What a path in host memory reads: `f64` on [`reference`](crate::reference), `f32` elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, T> {
    /// Losses in the plan's layout, [`Shape::losses_len`](crate::Shape::losses_len) elements.
    pub losses: &'a [T],
    /// One beta per group, instead of the configuration's; `[groups]`.
    pub betas: Option<&'a [T]>,
    /// How many points each group has so far, `[groups]`: the newest ones of its window count, older places are not
    /// read. A number above the window means a full one. `None`: all windows are full.
    pub points: Option<&'a [u32]>,
    /// Weights of the previous update, [`Shape::weights_len`](crate::Shape::weights_len) elements: what groups keep that
    /// are not ready or hold.
    pub previous: Option<&'a [T]>,
}

impl<'a, T> Batch<'a, T> {
    /// Full windows, the configuration's beta, no previous weights.
    #[must_use]
    pub fn new(losses: &'a [T]) -> Self {
        Self { losses, betas: None, points: None, previous: None }
    }

    pub(crate) fn check(&self, plan: &Plan) -> Result<(), BatchError> {
        let shape = plan.shape();
        check_length("losses", Some(self.losses.len()), shape.losses_len())?;
        check_length("betas", self.betas.map(<[T]>::len), shape.groups())?;
        check_length("points", self.points.map(<[u32]>::len), shape.groups())?;
        check_length("previous", self.previous.map(<[T]>::len), shape.weights_len())
    }
}

/// What a path in host memory writes. Places that belong to no component (custom strides) are left as they are.
#[derive(Debug)]
pub struct Outputs<'a, T> {
    /// Weights in the plan's layout, [`Shape::weights_len`](crate::Shape::weights_len) elements.
    pub weights: &'a mut [T],
    /// One status word per group, `[groups]`, on request.
    pub status: Option<&'a mut [Status]>,
    /// Slopes before normalising, laid out as the weights, on request. NaN where a loss that takes part is not finite
    /// and where the group is not ready.
    pub slopes: Option<&'a mut [T]>,
    /// Mean losses (of the whole window unless the configuration says otherwise), laid out as the weights, on request.
    /// NaN where a loss in the mean is not finite; that alone does not touch the weights of a configuration without loss
    /// weighting.
    pub means: Option<&'a mut [T]>,
}

impl<'a, T> Outputs<'a, T> {
    /// Weights only.
    pub fn new(weights: &'a mut [T]) -> Self {
        Self { weights, status: None, slopes: None, means: None }
    }

    pub(crate) fn check(&self, plan: &Plan) -> Result<(), BatchError> {
        let shape = plan.shape();
        check_length("weights", Some(self.weights.len()), shape.weights_len())?;
        check_length("status", self.status.as_deref().map(<[Status]>::len), shape.groups())?;
        check_length("slopes", self.slopes.as_deref().map(<[T]>::len), shape.weights_len())?;
        check_length("means", self.means.as_deref().map(<[T]>::len), shape.weights_len())
    }
}

fn check_length(what: &'static str, length: Option<usize>, needed: usize) -> Result<(), BatchError> {
    match length {
        Some(length) if length != needed => Err(BatchError::Length { what, length, needed }),
        _ => Ok(()),
    }
}

/// Weights and everything that can be said about them, in the plan's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights<T> {
    /// Weights, [`Shape::weights_len`](crate::Shape::weights_len) elements.
    pub weights: Vec<T>,
    /// One status word per group.
    pub status: Vec<Status>,
    /// Slopes before normalising, laid out as the weights; see [`Outputs::slopes`].
    pub slopes: Vec<T>,
    /// Mean losses, laid out as the weights; see [`Outputs::means`].
    pub means: Vec<T>,
}

impl<T: Copy + Default> Weights<T> {
    /// Zeros of the plan's shape.
    pub(crate) fn zeros(plan: &Plan) -> Self {
        let rows = vec![T::default(); plan.shape().weights_len()];
        Self {
            weights: rows.clone(),
            status: vec![Status::OK; plan.shape().groups()],
            slopes: rows.clone(),
            means: rows,
        }
    }

    pub(crate) fn outputs(&mut self) -> Outputs<'_, T> {
        Outputs {
            weights: &mut self.weights,
            status: Some(&mut self.status),
            slopes: Some(&mut self.slopes),
            means: Some(&mut self.means),
        }
    }
}
