//! The only file that waits.
//!
//! wgpu 30 panics in `Device::poll` when a device is really lost while it waits, so every wait of ours is guarded.

use crate::gpu::DeviceError;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Waits for a future that needs no polling of a device.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// Waits for a future whose progress depends on a device's submissions.
pub(super) fn drive<T, E: From<DeviceError>>(
    device: &wgpu::Device,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
        // Everything that the future waits for has been submitted by now; waiting for the device completes it.
        let waited = catch_unwind(AssertUnwindSafe(|| device.poll(wgpu::PollType::wait_indefinitely())));
        match waited {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(DeviceError::Internal { message: error.to_string() }.into()),
            Err(_) => return Err(DeviceError::Lost.into()),
        }
    }
}
