//! Weights as burn-train's metrics.
#![cfg(feature = "train")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use burn::data::dataloader::Progress;
use burn::tensor::{Device, Tensor};
use burn_train::metric::{Adaptor, Metric, MetricMetadata, Numeric};
use softadapt_burn::metrics::{LossWeightMetric, LossWeights};

/// What a training step would return.
struct Output {
    weights: Tensor<2>,
}

impl Adaptor<LossWeights> for Output {
    fn adapt(&self) -> LossWeights {
        LossWeights::new(self.weights.clone())
    }
}

#[test]
fn each_component_shows_its_weight_and_its_mean_over_the_epoch() {
    let metadata = MetricMetadata { progress: Progress::new(1, 1, None), iteration: None, lr: None };
    let mut metrics = LossWeightMetric::all(["residual", "boundary"]);
    assert_eq!(
        metrics.iter().map(|metric| metric.name().to_string()).collect::<Vec<_>>(),
        ["residual weight", "boundary weight"]
    );
    for weights in [[[0.25, 0.75], [0.5, 0.5]], [[1.0, 3.0], [2.0, 5.0]]] {
        let output = Output { weights: Tensor::from_floats(weights, &Device::flex().autodiff()) };
        for metric in &mut metrics {
            metric.update(&output.adapt(), &metadata).unwrap();
        }
    }
    // Means over the two members: 0.375 and 0.625, then 1.5 and 4.
    assert_eq!(metrics[0].value().unwrap().current(), 1.5);
    assert_eq!(metrics[1].value().unwrap().current(), 4.0);
    assert_eq!(metrics[0].running_value().unwrap().current(), (0.375 + 1.5) / 2.0);
    assert_eq!(metrics[1].running_value().unwrap().current(), (0.625 + 4.0) / 2.0);
    metrics[0].clear();
    let none = LossWeightMetric::new(7, "no such")
        .update(&LossWeights::new(Tensor::<1>::from_floats([1.0, 2.0], &Device::flex())), &metadata);
    assert!(none.unwrap().serialized.contains("NaN"));
}
