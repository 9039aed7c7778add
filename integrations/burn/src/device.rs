//! wgpu devices that Burn and kernels beside it live on together, and where to find them again.
//!
//! Burn does not hand out the queue of a device that it made by itself, and work on its tensors has to go through that
//! queue. So devices are made here, or made known here, before balancers are made on them.

use crate::error::DeviceError;
use burn::backend::DispatchDevice;
use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuOptions, WgpuSetup};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::wgpu::WgpuDevice;
use softadapt::wgpu;
use std::sync::{Mutex, PoisonError};

/// Handles of the devices known so far. Never shortened, as Burn never forgets a device either.
static KNOWN: Mutex<Vec<(WgpuDevice, Handles)>> = Mutex::new(Vec::new());

/// What is needed to record and submit beside Burn.
#[derive(Clone, Debug)]
pub(crate) struct Handles {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
}

impl From<&WgpuSetup> for Handles {
    fn from(setup: &WgpuSetup) -> Self {
        Self { device: setup.device.clone(), queue: setup.queue.clone() }
    }
}

/// What to ask an adapter for, so that Burn and kernels beside it can live on the device: all features that the adapter
/// has, less the experimental ones and `MAPPABLE_PRIMARY_BUFFERS` (slow on GPUs with memory of their own), and its limits.
///
/// Burn reads features and limits from the **adapter**: on a device with wgpu's defaults it fails later, in the first
/// kernel that uses what only the adapter has (strided copies use 64-bit integers).
#[must_use]
pub fn device_descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    let left_out = wgpu::Features::all_experimental_mask() | wgpu::Features::MAPPABLE_PRIMARY_BUFFERS;
    wgpu::DeviceDescriptor {
        label: Some("shared with Burn"),
        required_features: adapter.features().difference(left_out),
        required_limits: adapter.limits(),
        ..wgpu::DeviceDescriptor::default()
    }
}

/// Makes a wgpu device on the host's adapter and gives it to Burn: the host's kernels use the setup's device and queue,
/// tensors the Burn device. Waits for the driver.
///
/// ```no_run
/// use softadapt_burn::softadapt::wgpu;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
/// let (device, setup) = softadapt_burn::shared_device(instance, adapter)?;
/// let tensor = burn::tensor::Tensor::<1>::from_floats([1.0, 2.0], &device);
/// let buffer = setup.device.create_buffer(&wgpu::BufferDescriptor {
///     label: None,
///     size: 1024,
///     usage: wgpu::BufferUsages::STORAGE,
///     mapped_at_creation: false,
/// });
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The adapter gives no device, or Burn does not take it.
pub fn shared_device(instance: wgpu::Instance, adapter: wgpu::Adapter) -> Result<(Device, WgpuSetup), DeviceError> {
    pollster::block_on(shared_device_async(instance, adapter))
}

/// As [`shared_device`], without waiting.
///
/// # Errors
/// As [`shared_device`].
pub async fn shared_device_async(
    instance: wgpu::Instance,
    adapter: wgpu::Adapter,
) -> Result<(Device, WgpuSetup), DeviceError> {
    let (device, queue) = adapter
        .request_device(&device_descriptor(&adapter))
        .await
        .map_err(|error| DeviceError::Request { message: error.to_string() })?;
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    let burn = Device::wgpu_options()
        .setup(setup.clone())
        .init()
        .map_err(|error| DeviceError::Burn { message: error.to_string() })?;
    register_device(&burn, &setup)?;
    Ok((burn, setup))
}

/// Lets Burn make its device now, with options, and keeps the handles that balancers need. Tensors made on the same
/// selector later ([`Device::default`] for default options) live on this device.
///
/// # Errors
/// Burn finds no adapter, or the device exists already: whoever made it has its setup, for [`register_device`].
pub fn burn_device(options: WgpuOptions) -> Result<(Device, WgpuSetup), DeviceError> {
    let (device, setup) =
        options.init_with_setup().map_err(|error| DeviceError::Burn { message: error.to_string() })?;
    register_device(&device, &setup)?;
    Ok((device, setup))
}

/// Makes a device known that the program made itself, by `init_with_setup()` or from a setup of its own. The setup must be
/// the device's: the first step on another one's fails.
///
/// # Errors
/// The device is not one of Burn's wgpu backend.
pub fn register_device(device: &Device, setup: &WgpuSetup) -> Result<(), DeviceError> {
    let Some(key) = wgpu_device(device) else {
        return Err(DeviceError::NotWgpu { device: format!("{device:?}") });
    };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|(other, _)| *other != key);
    known.push((key, Handles::from(setup)));
    Ok(())
}

/// The handles of a device; those of a wgpu device that nobody has used yet by making it now, with Burn's default options.
///
/// # Errors
/// Why there are none: in words that end up in a warning, since there is another way to go on.
pub(crate) fn handles(device: &Device) -> Result<Handles, String> {
    let Some(key) = wgpu_device(device) else {
        return Err(format!("{device:?} is not a device of Burn's wgpu backend"));
    };
    let find = || {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(other, _)| *other == key).map(|(_, handles)| handles.clone())
    };
    if let Some(handles) = find() {
        return Ok(handles);
    }
    first_use(&key).map_err(|error| {
        format!(
            "Burn keeps the queue of {device:?} to itself ({error}): make the device with burn_device or shared_device, or \
             register_device with its setup, before the first tensor"
        )
    })?;
    find().ok_or_else(|| format!("{device:?} was made, but not registered"))
}

/// Makes a device that does not exist yet.
fn first_use(key: &WgpuDevice) -> Result<(), String> {
    use burn_cubecl::cubecl::wgpu::{AutoGraphicsApi, RuntimeOptions, try_init_setup};
    let options = RuntimeOptions::try_default().map_err(|error| error.to_string())?;
    let setup = try_init_setup::<AutoGraphicsApi>(key, options).map_err(|error| error.to_string())?;
    register_device(&Device::new(CubeDevice::Wgpu(key.clone())), &setup).map_err(|error| error.to_string())
}

fn wgpu_device(device: &Device) -> Option<WgpuDevice> {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Cube(CubeDevice::Wgpu(device)) => Some(device.clone()),
        _ => None,
    }
}
