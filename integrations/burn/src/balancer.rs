//! The balancer as a training loop sees it.

use crate::device;
use crate::engine::{Command, Engine};
use crate::error::{SetupError, StepError};
use crate::operation::BalancerOperation;
use burn::backend::{Dispatch, DispatchTensor, TensorMetadata};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use softadapt::{BalancerConfig, BalancerPlan, BalancerState, BatchError, Feed, Layout, Shape, StateError, cpu};
use std::fmt;
use std::sync::{Arc, Once};

/// Weights for the losses of one model, or of each member of a population, from the history of those losses.
///
/// History, weights and everything else that changes live on the device. A step reads the losses where Burn has put them
/// and makes one small tensor for the weights; nothing is read back and nothing waits.
///
/// Losses are `[components]` for one model, `[members, components]` for a population, of any float type (weights are
/// computed in f32), contiguous or not, with or without autodiff. Weights come back in the shape and type of the losses,
/// **without autodiff**: constants to whatever they are multiplied with.
///
/// On a device that is not one of Burn's wgpu backend (or whose queue is unknown: see
/// [`register_device`](crate::register_device)) the balancer works on the CPU, with the same results within the core's
/// derived bound, and every step waits for the losses. It says so once, as a warning through the `log` crate, and
/// [`LossBalancer::is_on_gpu`] tells.
///
/// Give the **unweighted** losses: weights of weighted losses chase their own tail.
pub struct LossBalancer {
    plan: BalancerPlan,
    device: Device,
    place: Place,
}

/// Where the state is.
enum Place {
    Gpu(Box<OnGpu>),
    Cpu(Box<cpu::Balancer>),
}

/// A state on the device.
struct OnGpu {
    engine: Arc<Engine>,
    /// The weights after the last command.
    weights: DispatchTensor,
}

impl OnGpu {
    fn new(engine: Engine, dims: [usize; 2], device: &Device) -> Self {
        let engine = Arc::new(engine);
        let start = Tensor::<2>::zeros(dims, (device, DType::F32)).into_dispatch();
        let weights = Dispatch::softadapt_run(start.clone(), start, engine.clone(), Command::Read);
        Self { engine, weights }
    }

    /// Runs a command, with losses if it takes some, and keeps the weights after it.
    fn run(&mut self, losses: Option<DispatchTensor>, command: Command) {
        let losses = losses.unwrap_or_else(|| self.weights.clone());
        self.weights = Dispatch::softadapt_run(losses, self.weights.clone(), self.engine.clone(), command);
    }

    /// The failure of an earlier command.
    fn check(&self) -> Result<(), StepError> {
        match self.engine.failure() {
            Some(message) => Err(StepError::Failed { message }),
            None => Ok(()),
        }
    }
}

impl LossBalancer {
    /// A balancer for one model.
    ///
    /// `history` is how many points of each loss are remembered, 2 to [`MAX_WINDOW`](softadapt::MAX_WINDOW): the
    /// slope uses the newest of them, `order + 1` if the configuration has an accuracy order, all without one; mean losses
    /// are taken over all. 5 is a good start.
    ///
    /// ```no_run
    /// use softadapt_burn::LossBalancer;
    /// use softadapt_burn::softadapt::{BalancerConfig, Config};
    /// # fn example(losses: burn::tensor::Tensor<1>) -> Result<(), Box<dyn std::error::Error>> {
    /// # let device = burn::tensor::Device::default();
    /// let config = BalancerConfig::new(Config::loss_weighted());
    /// let mut balancer = LossBalancer::new(config, 3, 5, &device)?;
    /// // Every step, with `losses` the three unweighted losses:
    /// let total = balancer.combine(losses)?;
    /// let gradients = total.backward();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A configuration that does not fit, or a device that cannot run the kernel.
    pub fn new(config: BalancerConfig, components: usize, history: usize, device: &Device) -> Result<Self, SetupError> {
        Self::population(config, 1, components, history, device)
    }

    /// A balancer for a population: `members` models whose losses come as one tensor `[members, components]`. Members do
    /// not touch each other.
    ///
    /// # Errors
    /// As [`LossBalancer::new`].
    pub fn population(
        config: BalancerConfig,
        members: usize,
        components: usize,
        history: usize,
        device: &Device,
    ) -> Result<Self, SetupError> {
        let shape = Shape::new(members, components, history).map_err(|error| SetupError::Plan(error.into()))?;
        Self::from_plan(BalancerPlan::new(config, shape)?, device)
    }

    /// A balancer for a plan, whose groups are the members.
    ///
    /// # Errors
    /// The plan's shape is ragged or not in the row-major layout; a device that cannot run the kernel.
    pub fn from_plan(plan: BalancerPlan, device: &Device) -> Result<Self, SetupError> {
        let shape = plan.shape();
        let (Some(components), Layout::RowMajor) = (shape.uniform_components(), shape.layout()) else {
            return Err(SetupError::Shape);
        };
        let dims = [shape.groups(), components];
        let device = device.clone().inner();
        let place = match device::handles(&device) {
            Ok(handles) => Place::Gpu(Box::new(OnGpu::new(Engine::new(handles, &plan)?, dims, &device))),
            Err(reason) => {
                static SAID: Once = Once::new();
                SAID.call_once(|| {
                    log::warn!("softadapt weighs losses on the CPU and waits for them each step: {reason}");
                });
                Place::Cpu(Box::new(cpu::Balancer::new(&plan)))
            }
        };
        Ok(Self { plan, device, place })
    }

    /// The configuration and the shape.
    #[must_use]
    pub fn plan(&self) -> &BalancerPlan {
        &self.plan
    }

    /// The device, without autodiff.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether weights are computed on the device, without waiting. If not, the reason is in the log.
    #[must_use]
    pub fn is_on_gpu(&self) -> bool {
        matches!(self.place, Place::Gpu { .. })
    }

    /// Takes one step's losses and returns the weights after it.
    ///
    /// # Errors
    /// Losses of the wrong shape or on another device, a configuration for the means of epochs, or the failure of an earlier
    /// step on the device. The state is unchanged then.
    pub fn step<const D: usize>(&mut self, losses: Tensor<D>) -> Result<Tensor<D>, StepError> {
        self.check_feed(Feed::EveryPush)?;
        self.feed(losses, Command::Push)
    }

    /// Takes one step's losses, weighs them with the weights after it, and adds them up: the total loss, `[1]`. Its gradient
    /// is the sum of the losses' gradients times their weights; a population's total is the sum over the members, whose
    /// gradients do not mix.
    ///
    /// # Errors
    /// As [`LossBalancer::step`].
    pub fn combine<const D: usize>(&mut self, losses: Tensor<D>) -> Result<Tensor<1>, StepError> {
        let weights = self.step(losses.clone())?;
        Ok((losses * weights).sum())
    }

    /// Adds a batch's losses to the open epoch, for configurations with [`Feed::EpochMean`], and returns the weights, which
    /// stay as they are until the epoch is closed.
    ///
    /// # Errors
    /// As [`LossBalancer::step`]; a configuration for pushes.
    pub fn accumulate<const D: usize>(&mut self, losses: Tensor<D>) -> Result<Tensor<D>, StepError> {
        self.check_feed(Feed::EpochMean)?;
        self.feed(losses, Command::Accumulate)
    }

    /// Takes the mean of the open epoch's batches as one point, updates the weights, and opens the next epoch.
    ///
    /// # Errors
    /// A configuration for pushes; the failure of an earlier step on the device.
    pub fn close_epoch(&mut self) -> Result<(), StepError> {
        self.check_feed(Feed::EpochMean)?;
        self.command(Command::CloseEpoch, |balancer| Ok(balancer.close_epoch()?))
    }

    /// Puts members back to the start: no history, initial weights.
    ///
    /// # Errors
    /// A member that does not exist; the failure of an earlier step on the device.
    pub fn reset(&mut self, members: &[usize]) -> Result<(), StepError> {
        self.plan.check_groups(members)?;
        self.command(Command::Reset(members.into()), |balancer| Ok(balancer.reset(members)?))
    }

    /// Copies members' histories and weights onto others, as (from, to): for population-based training, beside the same copy
    /// of their parameters.
    ///
    /// # Errors
    /// A member that does not exist, or one that is replaced and named again; the failure of an earlier step on the device.
    pub fn copy(&mut self, pairs: &[(usize, usize)]) -> Result<(), StepError> {
        self.plan.check_copies(pairs)?;
        self.command(Command::Copy(pairs.into()), |balancer| Ok(balancer.copy(pairs)?))
    }

    /// Gives each member its own beta from the next step on, for configurations with `per_group_beta`.
    ///
    /// # Errors
    /// A number of betas that is not the number of members, or a configuration without; the failure of an earlier step on
    /// the device.
    pub fn set_betas(&mut self, betas: &[f32]) -> Result<(), StepError> {
        let expected = if self.plan.config().per_group_beta { self.plan.shape().groups() } else { 0 };
        if betas.len() != expected || expected == 0 {
            return Err(StepError::Betas { given: betas.len(), expected });
        }
        self.command(Command::Betas(betas.into()), |balancer| {
            if let Some(own) = balancer.betas_mut() {
                own.copy_from_slice(betas);
            }
            Ok(())
        })
    }

    /// The weights after the last call, `[members, components]`. Does not wait.
    #[must_use]
    pub fn weights(&self) -> Tensor<2> {
        let dims = [self.plan.shape().groups(), self.components()];
        match &self.place {
            Place::Gpu(gpu) => {
                let weights = gpu.weights.clone();
                if weights.shape().num_dims() == 2 {
                    Tensor::from_dispatch(weights)
                } else {
                    Tensor::<1>::from_dispatch(weights).reshape(dims)
                }
            }
            Place::Cpu(balancer) => {
                let data = TensorData::new(balancer.weights().to_vec(), dims);
                Tensor::from_data(data, (&self.device, DType::F32))
            }
        }
    }

    /// The whole state in host memory: history, weights, status, log. Waits for the device.
    ///
    /// # Errors
    /// The failure of an earlier step on the device, or of reading back.
    pub fn state(&self) -> Result<BalancerState, StepError> {
        match &self.place {
            Place::Cpu(balancer) => Ok(balancer.state()),
            Place::Gpu(gpu) => {
                let words = Dispatch::softadapt_snapshot(gpu.weights.clone(), gpu.engine.clone());
                let data = Tensor::<1, Int>::from_dispatch(words)
                    .try_into_data()
                    .map_err(|error| StepError::Read { message: error.to_string() })?;
                gpu.check()?;
                self.plan.read_snapshot(data.as_bytes()).map_err(|error| StepError::Read { message: error.to_string() })
            }
        }
    }

    /// Takes over a state, of a balancer with the same plan on any backend: training goes on as if it had never stopped.
    ///
    /// # Errors
    /// The state of another plan.
    pub fn load(&mut self, state: &BalancerState) -> Result<(), StateError> {
        let state = BalancerState::from_bytes(&self.plan, &state.to_bytes())?;
        match &mut self.place {
            Place::Cpu(balancer) => balancer.load(&state)?,
            Place::Gpu(gpu) => gpu.run(None, Command::Load(Arc::new(state))),
        }
        Ok(())
    }

    /// The number of components of a member.
    fn components(&self) -> usize {
        self.plan.shape().max_components()
    }

    fn check_feed(&self, feed: Feed) -> Result<(), StepError> {
        let configured = self.plan.config().feed;
        if configured == feed { Ok(()) } else { Err(BatchError::Feed { feed: configured }.into()) }
    }

    /// Checks losses, hands them to a command, and returns the weights after it in the losses' shape and type.
    fn feed<const D: usize>(&mut self, losses: Tensor<D>, command: Command) -> Result<Tensor<D>, StepError> {
        let expected = [self.plan.shape().groups(), self.components()];
        let dims = losses.dims();
        if dims[..] != expected && (expected[0] != 1 || dims[..] != expected[1..]) {
            return Err(StepError::Shape { found: dims.to_vec(), expected });
        }
        let losses = losses.inner();
        if losses.device() != self.device {
            let [found, expected] = [&losses.device(), &self.device].map(|device| format!("{device:?}"));
            return Err(StepError::Device { found, expected });
        }
        let dtype = losses.dtype();
        let losses = if dtype == DType::F32 { losses } else { losses.cast(DType::F32) };
        let weights = match &mut self.place {
            Place::Gpu(gpu) => {
                gpu.check()?;
                gpu.run(Some(losses.into_dispatch()), command);
                Tensor::from_dispatch(gpu.weights.clone())
            }
            Place::Cpu(balancer) => {
                let values: Vec<f32> =
                    losses.try_into_vec_as().map_err(|error| StepError::Read { message: error.to_string() })?;
                match command {
                    Command::Accumulate => balancer.accumulate(&values)?,
                    _ => balancer.push(&values)?,
                }
                let data = TensorData::new(balancer.weights().to_vec(), dims);
                Tensor::from_data(data, (&self.device, DType::F32))
            }
        };
        Ok(if dtype == DType::F32 { weights } else { weights.cast(dtype) })
    }

    /// Runs a command without losses.
    fn command(
        &mut self,
        command: Command,
        on_cpu: impl FnOnce(&mut cpu::Balancer) -> Result<(), StepError>,
    ) -> Result<(), StepError> {
        match &mut self.place {
            Place::Cpu(balancer) => on_cpu(balancer),
            Place::Gpu(gpu) => {
                gpu.check()?;
                gpu.run(None, command);
                Ok(())
            }
        }
    }
}

impl fmt::Debug for LossBalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossBalancer")
            .field("plan", &self.plan)
            .field("device", &self.device)
            .field("is_on_gpu", &self.is_on_gpu())
            .finish_non_exhaustive()
    }
}
