//! The paths that compute weights, behind one door; the only file that knows which of them were built.

use crate::args::{BackendArguments, BackendChoice};
use crate::error::Error;
use softadapt::{
    BalancerPlan, BalancerState, Batch, BatchError, CopyError, Outputs, Plan, StateError, Weights, cpu, reference,
};
use std::fmt;
use std::time::Duration;

#[cfg(feature = "gpu")]
use softadapt::host::{self, AdapterChoice, Context, DevicePath};

/// Weights in the precision of the path that computed them.
#[derive(Debug)]
pub(crate) enum Answer {
    /// From the CPU or GPU path.
    Single(Weights<f32>),
    /// From the reference.
    Double(Weights<f64>),
}

/// Why a path is not there or failed.
#[derive(Debug)]
pub(crate) enum BackendError {
    /// The GPU was asked for, but the command was built without it.
    #[cfg_attr(feature = "gpu", expect(dead_code, reason = "only without the feature"))]
    NotBuilt,
    /// The GPU path says so.
    #[cfg(feature = "gpu")]
    Gpu(Box<host::HostError>),
    /// What the library refuses although it was checked before: a fault of this program.
    Fault(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => f.write_str("built without the feature `gpu`: use --backend cpu or rebuild with it"),
            #[cfg(feature = "gpu")]
            Self::Gpu(error) => write!(f, "{error}; --backend cpu needs no GPU"),
            Self::Fault(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BackendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotBuilt => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(error) => Some(error),
            Self::Fault(error) => Some(&**error),
        }
    }
}

impl From<BatchError> for BackendError {
    fn from(error: BatchError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<CopyError> for BackendError {
    fn from(error: CopyError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<StateError> for BackendError {
    fn from(error: StateError) -> Self {
        Self::Fault(error.into())
    }
}

#[cfg(feature = "gpu")]
impl From<host::HostError> for BackendError {
    fn from(error: host::HostError) -> Self {
        Self::Gpu(Box::new(error))
    }
}

/// A path in f32, opened once and used for any number of batches.
#[derive(Debug)]
pub(crate) enum Single {
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu(Box<Context>),
}

impl Single {
    /// The GPU of this name, or the best adapter there is, software ones included.
    ///
    /// # Errors
    /// No such adapter.
    #[cfg(feature = "gpu")]
    fn gpu(adapter: Option<&str>) -> Result<Self, BackendError> {
        Self::open(&adapter.map_or(AdapterChoice::Any, |name| AdapterChoice::Named(name.to_owned())))
    }

    #[cfg(feature = "gpu")]
    fn open(choice: &AdapterChoice) -> Result<Self, BackendError> {
        Ok(Self::Gpu(Box::new(Context::new(choice)?)))
    }

    #[cfg(not(feature = "gpu"))]
    fn gpu(_adapter: Option<&str>) -> Result<Self, BackendError> {
        Err(BackendError::NotBuilt)
    }

    /// Everything about a batch.
    ///
    /// # Errors
    /// What the path says.
    pub(crate) fn weigh(&self, plan: &Plan, batch: &Batch<'_, f32>) -> Result<Weights<f32>, BackendError> {
        match self {
            Self::Cpu => Ok(cpu::weigh(plan, batch)?),
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => Ok(context.weigh(plan, batch)?),
        }
    }

    /// Only what `outputs` asks for: with weights and status alone the GPU takes its fused kernel.
    ///
    /// # Errors
    /// What the path says.
    pub(crate) fn weigh_into(
        &self,
        plan: &Plan,
        batch: &Batch<'_, f32>,
        outputs: &mut Outputs<'_, f32>,
    ) -> Result<(), BackendError> {
        match self {
            Self::Cpu => Ok(cpu::weigh_into(plan, batch, outputs)?),
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => Ok(context.weigh_into(plan, batch, outputs)?),
        }
    }

    /// Times on the device alone, where there is one: for each kind of kernel its name, and the time of every run with
    /// the weights of the last one or the reason why there are none.
    #[cfg(feature = "gpu")]
    pub(crate) fn device_times(&self, plan: &Plan, losses: &[f32], runs: usize) -> Vec<DeviceTime> {
        let Self::Gpu(context) = self else { return Vec::new() };
        [("fused", DevicePath::Fused), ("staged", DevicePath::Staged), ("copy", DevicePath::Copy)]
            .into_iter()
            .map(|(path, kind)| {
                let measured = context.measure(plan, losses, kind, runs);
                let measured = measured.map(|times| (times.runs, times.weights));
                DeviceTime { path, measured: measured.map_err(BackendError::from) }
            })
            .collect()
    }

    #[cfg(not(feature = "gpu"))]
    pub(crate) fn device_times(&self, _plan: &Plan, _losses: &[f32], _runs: usize) -> Vec<DeviceTime> {
        Vec::new()
    }

    /// The word for it on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => "gpu",
        }
    }

    /// The adapter's name, for a GPU.
    pub(crate) fn adapter(&self) -> Option<&str> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => Some(&context.adapter().name),
        }
    }
}

/// A balancer on a path in f32.
#[derive(Debug)]
pub(crate) enum Balancer {
    Cpu(Box<cpu::Balancer>),
    #[cfg(feature = "gpu")]
    Gpu(Box<host::Balancer>),
}

impl Balancer {
    /// Goes on from a state of this plan.
    ///
    /// # Errors
    /// What the path says.
    pub(crate) fn resume(path: &Single, plan: &BalancerPlan, state: &BalancerState) -> Result<Self, BackendError> {
        match path {
            Single::Cpu => {
                let mut balancer = cpu::Balancer::new(plan);
                balancer.load(state)?;
                Ok(Self::Cpu(Box::new(balancer)))
            }
            #[cfg(feature = "gpu")]
            Single::Gpu(context) => {
                let balancer = context.balancer(plan)?;
                balancer.load(state)?;
                Ok(Self::Gpu(Box::new(balancer)))
            }
        }
    }

    /// Takes one step's losses.
    ///
    /// # Errors
    /// What the path says.
    pub(crate) fn push(&mut self, losses: &[f32]) -> Result<(), BackendError> {
        match self {
            Self::Cpu(balancer) => Ok(balancer.push(losses)?),
            #[cfg(feature = "gpu")]
            Self::Gpu(balancer) => Ok(balancer.push(losses)?),
        }
    }

    /// Everything that it remembers, its log included.
    ///
    /// # Errors
    /// What the path says.
    pub(crate) fn state(&self) -> Result<BalancerState, BackendError> {
        match self {
            Self::Cpu(balancer) => Ok(balancer.state()),
            #[cfg(feature = "gpu")]
            Self::Gpu(balancer) => Ok(balancer.state()?),
        }
    }
}

/// The device of the GPU path.
///
/// # Errors
/// No such adapter, or options that ask for another path.
#[cfg(feature = "gpu")]
pub(crate) fn context(arguments: &BackendArguments) -> Result<Context, Error> {
    refuse_adapter(arguments)?;
    let choice = arguments.adapter.as_ref().map_or(AdapterChoice::Any, |name| AdapterChoice::Named(name.clone()));
    Ok(Context::new(&choice).map_err(|error| BackendError::Gpu(Box::new(error)))?)
}

/// What `check` and `bench` compare with the reference.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) paths: Vec<Single>,
    /// Why there is no GPU among them, although one would have been welcome.
    pub(crate) missing: Option<BackendError>,
}

impl Paths {
    /// The paths that the options ask for: `auto` is the CPU and the GPU, if there is one.
    ///
    /// # Errors
    /// No such adapter, or options that contradict each other.
    pub(crate) fn open(arguments: &BackendArguments) -> Result<Self, Error> {
        refuse_adapter(arguments)?;
        let adapter = arguments.adapter.as_deref();
        let found = |paths| Self { paths, missing: None };
        Ok(match arguments.backend {
            BackendChoice::Reference => found(Vec::new()),
            BackendChoice::Cpu => found(vec![Single::Cpu]),
            BackendChoice::Gpu => found(vec![Single::gpu(adapter)?]),
            BackendChoice::Auto => match Single::gpu(adapter) {
                Ok(gpu) => found(vec![Single::Cpu, gpu]),
                Err(error) if adapter.is_some() => return Err(error.into()),
                Err(error) => Self { paths: vec![Single::Cpu], missing: Some(error) },
            },
        })
    }
}

/// What [`Single::device_times`] saw of one kind of kernel.
#[derive(Debug)]
pub(crate) struct DeviceTime {
    pub(crate) path: &'static str,
    /// Time of every run; weights of the last, none for a mere copy.
    pub(crate) measured: Result<(Vec<Duration>, Vec<f32>), BackendError>,
}

/// What computes, in words.
impl fmt::Display for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => {
                let threads = rayon::current_num_threads();
                write!(f, "CPU path, {threads} thread{}", if threads == 1 { "" } else { "s" })
            }
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => write!(f, "GPU path, {}", context.adapter()),
        }
    }
}

/// The path of `weigh`, `replay` and `sweep`.
#[derive(Debug)]
pub(crate) enum Backend {
    Reference,
    Single {
        path: Single,
        /// Why it is not the GPU, if that was left to the command.
        no_gpu: Option<String>,
    },
}

impl Backend {
    /// Opens what the options ask for.
    ///
    /// # Errors
    /// No such adapter, or options that contradict each other.
    pub(crate) fn open(arguments: &BackendArguments) -> Result<Self, Error> {
        refuse_adapter(arguments)?;
        let adapter = arguments.adapter.as_deref();
        let asked = |path| Self::Single { path, no_gpu: None };
        Ok(match arguments.backend {
            BackendChoice::Reference => Self::Reference,
            BackendChoice::Cpu => asked(Single::Cpu),
            BackendChoice::Gpu => asked(Single::gpu(adapter)?),
            // A named adapter is one that is wanted.
            BackendChoice::Auto if adapter.is_some() => asked(Single::gpu(adapter)?),
            BackendChoice::Auto => Self::hardware_or_cpu(),
        })
    }

    #[cfg(feature = "gpu")]
    fn hardware_or_cpu() -> Self {
        match Single::open(&AdapterChoice::Hardware) {
            Ok(path) => Self::Single { path, no_gpu: None },
            Err(error) => {
                let reason = match &error {
                    BackendError::Gpu(host) if matches!(**host, host::HostError::NoAdapter { .. }) => {
                        "no GPU found".to_owned()
                    }
                    // There is one, but it does not work: say so.
                    error => error.to_string(),
                };
                Self::Single { path: Single::Cpu, no_gpu: Some(reason) }
            }
        }
    }

    #[cfg(not(feature = "gpu"))]
    fn hardware_or_cpu() -> Self {
        Self::Single { path: Single::Cpu, no_gpu: Some("built without GPU support".to_owned()) }
    }

    /// The path, if it is one in f32.
    pub(crate) fn single(&self) -> Option<&Single> {
        match self {
            Self::Reference => None,
            Self::Single { path, .. } => Some(path),
        }
    }

    /// Weights, slopes, means and status of a batch without previous weights; `betas`: one a group, instead of the
    /// configuration's.
    ///
    /// # Errors
    /// What the path says.
    pub(crate) fn weigh(
        &self,
        plan: &Plan,
        losses: &[f64],
        points: &[u32],
        betas: Option<&[f64]>,
    ) -> Result<Answer, BackendError> {
        match self {
            Self::Reference => {
                let batch = Batch { points: Some(points), betas, ..Batch::new(losses) };
                Ok(Answer::Double(reference::weigh(plan, &batch)?))
            }
            Self::Single { path, .. } => {
                let losses: Vec<f32> = losses.iter().map(|&x| x as f32).collect();
                let betas: Option<Vec<f32>> = betas.map(|betas| betas.iter().map(|&beta| beta as f32).collect());
                let batch = Batch { points: Some(points), betas: betas.as_deref(), ..Batch::new(&losses) };
                Ok(Answer::Single(path.weigh(plan, &batch)?))
            }
        }
    }
}

/// What computes, for the summary.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference => f.write_str("reference path, 64-bit, 1 thread"),
            Self::Single { path, no_gpu: None } => path.fmt(f),
            Self::Single { path, no_gpu: Some(reason) } => write!(f, "{reason}: {path}"),
        }
    }
}

/// An adapter for a path that uses none is a contradiction.
fn refuse_adapter(arguments: &BackendArguments) -> Result<(), Error> {
    let backend = match arguments.backend {
        BackendChoice::Cpu => "cpu",
        BackendChoice::Reference => "reference",
        BackendChoice::Auto | BackendChoice::Gpu => return Ok(()),
    };
    match &arguments.adapter {
        Some(adapter) => Err(Error::AdapterOfBackend { backend, adapter: adapter.clone() }),
        None => Ok(()),
    }
}

/// The adapters of this machine, a few lines each.
///
/// # Errors
/// Built without GPU support.
#[cfg(feature = "gpu")]
pub(crate) fn describe_adapters() -> Result<Vec<String>, BackendError> {
    Ok(host::adapters().iter().map(describe).collect())
}

#[cfg(not(feature = "gpu"))]
pub(crate) fn describe_adapters() -> Result<Vec<String>, BackendError> {
    Err(BackendError::NotBuilt)
}

#[cfg(feature = "gpu")]
fn describe(adapter: &host::AdapterReport) -> String {
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let subgroups = match adapter.subgroup_sizes {
        Some((least, most)) if least == most => format!("yes, {least} lanes"),
        Some((least, most)) => format!("yes, {least} to {most} lanes"),
        None => "no: portable kernels".to_owned(),
    };
    let role = if adapter.is_software { " (used by --backend gpu only)" } else { "" };
    let rows = [
        ("kind", format!("{}{role}", adapter.kind)),
        ("backend", adapter.backend.clone()),
        ("driver", adapter.driver.clone()),
        ("largest binding", mebibytes(adapter.max_binding_bytes)),
        ("largest buffer", mebibytes(adapter.max_buffer_bytes)),
        ("storage buffers", format!("{} a stage", adapter.max_storage_buffers)),
        (
            "workgroup",
            format!(
                "{} invocations, {} bytes of memory",
                adapter.max_workgroup_invocations, adapter.max_workgroup_bytes
            ),
        ),
        ("subgroups", subgroups),
        ("timestamps", if adapter.timestamps { "yes" } else { "no" }.to_owned()),
    ];
    let mut text = adapter.name.clone();
    for (label, value) in rows {
        text += &format!("\n  {label:<16}{value}");
    }
    text
}
