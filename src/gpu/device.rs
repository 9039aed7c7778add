//! Asking a device whether calls went well, without its host's handlers and without waiting.

use super::error::DeviceError;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs calls inside error scopes of our own, so that neither the host's scopes nor its handlers see our errors.
///
/// Scopes are per thread and hold the first error only. On native backends they answer at once; in a browser the answer
/// comes later, and then counts as none: the host sees the consequence at its submit.
pub(crate) fn scoped<T>(device: &wgpu::Device, calls: impl FnOnce() -> T) -> Result<T, DeviceError> {
    let filters = [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal];
    let [validation, out_of_memory, internal] = filters.map(|filter| device.push_error_scope(filter));
    let result = calls();
    // Scopes are a stack.
    let errors = [poll_once(internal.pop()), poll_once(out_of_memory.pop()), poll_once(validation.pop())];
    match errors.into_iter().flatten().next() {
        Some(error) => Err(DeviceError::of(error)),
        None => Ok(result),
    }
}

/// The answer of a future that is ready, or nothing.
fn poll_once<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => None,
    }
}

/// Makes a buffer of `size` bytes.
pub(crate) fn empty_buffer(
    device: &wgpu::Device,
    label: &str,
    size: u64,
    usage: wgpu::BufferUsages,
) -> Result<wgpu::Buffer, DeviceError> {
    scoped(device, || {
        device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
    })
}

/// Makes a buffer that holds `contents`.
///
/// Mapping it is also the one call that fails on a lost device: after a loss wgpu 30 creates and submits without a word.
pub(crate) fn filled_buffer(
    device: &wgpu::Device,
    label: &str,
    usage: wgpu::BufferUsages,
    contents: &[u8],
) -> Result<wgpu::Buffer, DeviceError> {
    let buffer = scoped(device, || {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: contents.len() as u64,
            usage,
            mapped_at_creation: true,
        })
    })?;
    buffer.slice(..).get_mapped_range_mut().map_err(|_| DeviceError::Lost)?.copy_from_slice(contents);
    buffer.unmap();
    Ok(buffer)
}

/// Whether the device can no longer be used. Makes a buffer of 16 bytes to find out; never waits.
#[must_use]
pub fn is_lost(device: &wgpu::Device) -> bool {
    filled_buffer(device, "softadapt liveness probe", wgpu::BufferUsages::UNIFORM, &[0; 16]) == Err(DeviceError::Lost)
}
