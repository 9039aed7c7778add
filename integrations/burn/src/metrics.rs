//! Loss weights as metrics of burn-train, so that its dashboard plots them.
//!
//! burn-train asks a training step's output for the input of each metric. So the output says what its weights are, and a
//! learner takes one [`LossWeightMetric`] per component:
//!
//! ```no_run
//! use burn::tensor::Tensor;
//! use burn_train::metric::Adaptor;
//! use softadapt_burn::metrics::{LossWeightMetric, LossWeights};
//!
//! struct Output {
//!     weights: Tensor<1>,
//!     // losses, predictions ...
//! }
//!
//! impl Adaptor<LossWeights> for Output {
//!     fn adapt(&self) -> LossWeights {
//!         LossWeights::new(self.weights.clone())
//!     }
//! }
//!
//! // SupervisedTraining::new(...).metric_train_numeric(each of these)
//! let metrics = LossWeightMetric::all(["cross_entropy", "reconstruction", "sparsity"]);
//! ```
//!
//! Metrics read the weights back, on burn-train's own thread.

use burn::tensor::{Tensor, TensorReadError};
use burn_train::metric::state::{FormatOptions, NumericMetricState};
use burn_train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry, SerializedEntry,
};
use std::fmt;
use std::sync::Arc;

/// The weights that a step used: the input of [`LossWeightMetric`].
#[derive(Clone, Debug)]
pub struct LossWeights {
    weights: Tensor<1>,
}

impl LossWeights {
    /// Weights of one model, `[components]`, or of a population, `[members, components]`, of which the metric shows the mean
    /// over the members.
    #[must_use]
    pub fn new<const D: usize>(weights: Tensor<D>) -> Self {
        let weights = weights.inner();
        let components = weights.dims().last().copied().unwrap_or(1);
        let members = weights.dims().iter().product::<usize>() / components.max(1);
        Self { weights: weights.reshape([members, components]).mean_dim(0).reshape([components]) }
    }
}

/// The weight of one component, by step, with the mean over the epoch.
#[derive(Clone)]
pub struct LossWeightMetric {
    name: MetricName,
    component: usize,
    state: NumericMetricState,
}

impl LossWeightMetric {
    /// The metric "`name` weight" of a component, numbered from 0. A component that does not exist shows as NaN.
    #[must_use]
    pub fn new(component: usize, name: &str) -> Self {
        Self { name: Arc::new(format!("{name} weight")), component, state: NumericMetricState::default() }
    }

    /// One metric for each component, in the order of the losses.
    #[must_use]
    pub fn all<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        names.into_iter().enumerate().map(|(component, name)| Self::new(component, name)).collect()
    }

    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name()).precision(4)
    }
}

impl fmt::Debug for LossWeightMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossWeightMetric")
            .field("name", &self.name)
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}

impl Metric for LossWeightMetric {
    type Input = LossWeights;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        // A weight is neither good nor bad; the dashboard wants one of them.
        NumericAttributes { unit: None, higher_is_better: false }.into()
    }

    fn update(&mut self, item: &LossWeights, _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        let weights = item.weights.clone().try_into_vec_as::<f64>()?;
        self.state.update(weights.get(self.component).copied().unwrap_or(f64::NAN), 1);
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for LossWeightMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}
