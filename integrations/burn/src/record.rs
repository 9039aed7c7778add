//! The balancer's state in Burn's checkpoints.

use crate::balancer::LossBalancer;
use crate::error::{LoadError, StepError};
use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Int, Tensor, TensorData};
use softadapt::BalancerState;

/// A balancer's whole state as a Burn module: history, weights, status, counters. It goes into records as any module does,
/// alone or as a field beside the model.
///
/// ```no_run
/// use burn::module::Module;
/// use burn::store::ModuleRecord;
/// use softadapt_burn::{BalancerRecord, LossBalancer};
/// # #[derive(Module, Debug)]
/// # struct Model { layer: burn::nn::Linear }
///
/// #[derive(Module, Debug)]
/// struct Checkpoint {
///     model: Model,
///     balancer: BalancerRecord,
/// }
///
/// # fn example(model: Model, balancer: &mut LossBalancer) -> Result<(), Box<dyn std::error::Error>> {
/// // Save.
/// let checkpoint = Checkpoint { model: model.clone(), balancer: balancer.to_record()? };
/// checkpoint.save_file("checkpoint.bpk")?;
///
/// // Go on from there, with a model and a balancer of the same making.
/// let fresh = Checkpoint { model, balancer: balancer.to_record()? };
/// let checkpoint = fresh.load_record(ModuleRecord::load("checkpoint.bpk")?);
/// balancer.load_record(&checkpoint.balancer)?;
/// # Ok(())
/// # }
/// ```
#[derive(Module, Debug)]
pub struct BalancerRecord {
    /// Number of bytes, then the bytes of a [`BalancerState`], four to a word, the last word filled up with zeros.
    words: Param<Tensor<1, Int>>,
}

impl LossBalancer {
    /// The state as a module for Burn's records. Waits for the device.
    ///
    /// # Errors
    /// As [`LossBalancer::state`].
    pub fn to_record(&self) -> Result<BalancerRecord, StepError> {
        let bytes = self.state()?.to_bytes();
        let words = std::iter::once(bytes.len() as i32).chain(bytes.chunks(4).map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            i32::from_le_bytes(word)
        }));
        let words: Vec<i32> = words.collect();
        let data = TensorData::new(words.clone(), [words.len()]);
        let tensor = Tensor::from_data(data, (self.device(), DType::I32));
        Ok(BalancerRecord { words: Param::initialized(ParamId::new(), tensor) })
    }

    /// Takes over the state of a record, of a balancer with the same plan on any backend.
    ///
    /// # Errors
    /// The record holds no state, or that of another plan. The balancer is unchanged then.
    pub fn load_record(&mut self, record: &BalancerRecord) -> Result<(), LoadError> {
        let words: Vec<i32> =
            record.words.val().try_into_vec_as().map_err(|error| LoadError::Read { message: error.to_string() })?;
        let bytes: Vec<u8> = words.iter().skip(1).flat_map(|word| word.to_le_bytes()).collect();
        let length = words.first().map_or(0, |&length| usize::try_from(length).unwrap_or(0));
        let state = BalancerState::from_bytes(self.plan(), &bytes[..length.min(bytes.len())])?;
        Ok(self.load(&state)?)
    }
}
