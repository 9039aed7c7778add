//! The balancer as an operation of Burn's: what the fused and the plain backend run.

use crate::engine::{Command, Engine};
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use std::sync::Arc;

/// Commands to an engine as tensor operations. Fusion runs them later, and may exchange operations that do not depend on
/// each other by their tensors: so every command takes the weights of the one before it as an input that it does not read.
#[backend_extension(Cube, Fusion: cfg(feature = "fusion"))]
pub(crate) trait BalancerOperation: Backend {
    /// Runs a command; returns the weights after it, in the shape of the losses if it takes some, else of `previous`.
    #[fusion(meta = |losses, previous, _engine, command| {
        if command.takes_losses() { losses.clone() } else { previous.clone() }
    })]
    fn softadapt_run(
        losses: FloatTensor<Self>,
        previous: FloatTensor<Self>,
        engine: Arc<Engine>,
        command: Command,
    ) -> FloatTensor<Self>;

    /// The engine's whole state, as words.
    #[fusion(meta = |_previous, engine| TensorSpec::new(snapshot_shape(engine), DType::I32))]
    fn softadapt_snapshot(previous: FloatTensor<Self>, engine: Arc<Engine>) -> IntTensor<Self>;
}

fn snapshot_shape(engine: &Engine) -> Shape {
    Shape::from([engine.snapshot_bytes() as usize / 4])
}

impl BalancerOperation for CubeBackend {
    fn softadapt_run(losses: CubeTensor, previous: CubeTensor, engine: Arc<Engine>, command: Command) -> CubeTensor {
        let losses = into_contiguous(losses);
        let shape = if command.takes_losses() { losses.shape() } else { previous.shape() };
        let (client, device) = (losses.client.clone(), losses.device.clone());
        match engine.run(&client, losses.handle, &command) {
            Some(handle) => CubeTensor::new_contiguous(client, device, shape, handle, DType::F32),
            // The failure itself waits for the next call; these weights must not pass for weights.
            None => Self::float_full(shape, f32::NAN.into(), &device, burn::tensor::FloatDType::F32),
        }
    }

    fn softadapt_snapshot(previous: CubeTensor, engine: Arc<Engine>) -> CubeTensor {
        let (client, device) = (previous.client.clone(), previous.device.clone());
        let shape = snapshot_shape(&engine);
        let handle = engine.snapshot(&client).unwrap_or_else(|| client.empty(4 * shape.num_elements()));
        CubeTensor::new_contiguous(client, device, shape, handle, DType::I32)
    }
}
