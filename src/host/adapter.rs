//! Which adapters there are, and which one to take.

use super::error::HostError;
use std::fmt;

/// Which adapter a [`Context`](super::Context) takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterChoice {
    /// The fastest kind there is, a software one if there is no other.
    #[default]
    Any,
    /// The fastest that is no software adapter.
    Hardware,
    /// A software adapter.
    Software,
    /// The first whose name contains this, upper and lower case alike.
    Named(String),
}

impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Hardware => f.write_str("hardware"),
            Self::Software => f.write_str("software"),
            Self::Named(name) => write!(f, "named \"{name}\""),
        }
    }
}

/// What matters for us about an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterReport {
    /// The adapter's name.
    pub name: String,
    /// The API it is reached through, such as `vulkan`.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `software` or `unknown`.
    pub kind: String,
    /// Whether it computes on the CPU.
    pub is_software: bool,
    /// Bytes of the largest binding.
    pub max_binding_bytes: u64,
    /// Bytes of the largest buffer.
    pub max_buffer_bytes: u64,
    /// Storage buffers of a stage.
    pub max_storage_buffers: u32,
    /// Invocations of a workgroup.
    pub max_workgroup_invocations: u32,
    /// Bytes of workgroup memory.
    pub max_workgroup_bytes: u32,
    /// Lanes of the smallest and largest subgroup; `None` without the feature.
    pub subgroup_sizes: Option<(u32, u32)>,
    /// Whether it can measure time on the device.
    pub timestamps: bool,
}

impl AdapterReport {
    fn new(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let limits = adapter.limits();
        let features = adapter.features();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete GPU",
            wgpu::DeviceType::IntegratedGpu => "integrated GPU",
            wgpu::DeviceType::VirtualGpu => "virtual GPU",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "unknown",
        };
        let sizes = (info.subgroup_min_size, info.subgroup_max_size);
        Self {
            name: info.name,
            backend: info.backend.to_string(),
            driver: [info.driver, info.driver_info].join(" ").trim().to_owned(),
            kind: kind.to_owned(),
            is_software: info.device_type == wgpu::DeviceType::Cpu,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            subgroup_sizes: features.contains(wgpu::Features::SUBGROUP).then_some(sizes),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        }
    }
}

/// Name, backend, driver and kind in one line.
impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.kind, self.backend, self.driver)
    }
}

/// All adapters of all backends that the binary was built with, the fastest kinds first.
pub async fn adapters_async() -> Vec<AdapterReport> {
    find().await.into_iter().map(|(_, report)| report).collect()
}

/// All adapters that can run our kernels, the fastest kinds first.
async fn find() -> Vec<(wgpu::Adapter, AdapterReport)> {
    let rank = |report: &AdapterReport| match report.kind.as_str() {
        "discrete GPU" => 0,
        "integrated GPU" => 1,
        "virtual GPU" => 2,
        "unknown" => 3,
        _ => 4,
    };
    // OpenGL only where there is nothing better: its drivers write to standard error while they look for displays.
    let mut adapters = Vec::new();
    // wgpu panics on a request for backends that the binary was built without.
    let built = wgpu::Instance::enabled_backend_features();
    for backends in [wgpu::Backends::PRIMARY, wgpu::Backends::SECONDARY].map(|backends| backends & built) {
        if adapters.is_empty() && !backends.is_empty() {
            let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle().with_env();
            descriptor.backends &= backends;
            adapters = wgpu::Instance::new(descriptor).enumerate_adapters(backends).await;
        }
    }
    let mut found: Vec<_> = adapters
        .into_iter()
        .map(|adapter| (AdapterReport::new(&adapter), adapter))
        // OpenGL ES below 3.1 has no compute shaders.
        .filter(|(report, _)| report.max_workgroup_invocations > 0 && report.max_storage_buffers > 1)
        .map(|(report, adapter)| (adapter, report))
        .collect();
    // Stable: wgpu lists its preferred backends first.
    found.sort_by_key(|(_, report)| rank(report));
    found
}

/// The adapter of a choice.
pub(super) async fn choose(choice: &AdapterChoice) -> Result<(wgpu::Adapter, AdapterReport), HostError> {
    let found = find().await;
    let available = found.iter().map(|(_, report)| report.name.clone()).collect();
    let fits = |report: &AdapterReport| match choice {
        AdapterChoice::Any => true,
        AdapterChoice::Hardware => !report.is_software,
        AdapterChoice::Software => report.is_software,
        AdapterChoice::Named(name) => report.name.to_lowercase().contains(&name.to_lowercase()),
    };
    found
        .into_iter()
        .find(|(_, report)| fits(report))
        .ok_or_else(|| HostError::NoAdapter { wanted: choice.to_string(), available })
}
