//! The options, and the library's configuration that they stand for.

use crate::error::Error;
use crate::input::{self, ColumnNames, InputFormat, Selection};
use crate::runs::OnDuplicate;
use clap::{Args, Parser, Subcommand, ValueEnum};
use globset::GlobMatcher;
use softadapt::{Config, LossWeighting, Normalize, OnNegativeMean, OnNonFinite, Scale, Score, Slope};
use std::path::PathBuf;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "softadapt",
    version,
    about = "Adaptive loss weights (SoftAdapt) for thousands of experiments at once",
    long_about = None
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Weights for every run of loss logs (CSV)
    Weigh(Box<WeighArguments>),
    /// The graphics adapters of this machine and what matters about them
    Devices,
    /// Compares the GPU, CPU and reference paths on this machine
    Check(CheckArguments),
    /// Times the GPU, CPU and reference paths on this machine
    Bench(BenchArguments),
}

const WEIGH_HELP: &str = "\
Input, told apart by the header:
  long form   run,step,component,value         other columns are ignored
  wide form   run,step,<component>,...         an empty column is no component of that run
Steps may come unsorted. An empty field, nan or inf is a loss that is missing; so is a component
without a row at a step that its run has.

Output: run,component,weight,slope,mean_loss,status, one line a component in input order. The status
is `ok` or flags joined by `|`: not-ready, non-finite, zero-slope-sum, zero-mean-loss, negative-mean-loss.

Exit status: 0 done, 1 bad data or a failed read or write, 2 options that make no sense.";

#[derive(Debug, Args)]
#[command(after_help = WEIGH_HELP)]
pub(crate) struct WeighArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// How many of each run's newest steps count
    #[arg(long, value_name = "STEPS", default_value_t = 5)]
    pub(crate) window: usize,
    #[command(flatten)]
    pub(crate) backend: BackendArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    /// No summary and no progress bar
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Where an answer goes and how it is written.
#[derive(Debug, Args)]
pub(crate) struct OutputArguments {
    /// Form of the output [default: by the end of its name, else csv]
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<Format>,
    /// Where the output goes, instead of standard output; replaced only once everything is written
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
}

impl OutputArguments {
    /// The form that was asked for, or that the name of the file asks for.
    pub(crate) fn format(&self) -> Format {
        let end = self.output.as_ref().and_then(|path| path.extension()?.to_str());
        self.format.unwrap_or(match end {
            Some("parquet") => Format::Parquet,
            Some("json" | "jsonl" | "ndjson") => Format::Json,
            _ => Format::Csv,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Csv,
    /// JSON Lines; numbers that are not finite are null
    #[value(alias = "jsonl")]
    Json,
    Parquet,
}

/// Where runs come from and how they are to be understood.
#[derive(Debug, Args)]
pub(crate) struct InputArguments {
    /// Logs that make up one set of runs: files, folders, patterns such as 'logs/**/*.csv'; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only components (columns, tags) whose names match this pattern; repeatable
    #[arg(long, value_name = "PATTERN", value_parser = pattern, help_heading = "Input")]
    select: Vec<GlobMatcher>,
    /// Only components (columns, tags) whose names start like this, which is taken off
    #[arg(long, value_name = "PREFIX", help_heading = "Input")]
    strip_prefix: Option<String>,
    /// If a component of a run has two values for one step
    #[arg(long, value_enum, default_value_t = OnDuplicate::Error, help_heading = "Input")]
    pub(crate) on_duplicate: OnDuplicate,
    /// Form of the input, which is otherwise known by its first bytes
    #[arg(long, value_enum, help_heading = "Input")]
    input_format: Option<InputFormat>,
    /// Column that names the run [default: run]
    #[arg(long, value_name = "NAME", help_heading = "Columns")]
    run_column: Option<String>,
    /// Column of the step [default: step]
    #[arg(long, value_name = "NAME", help_heading = "Columns")]
    step_column: Option<String>,
    /// Column that names the component; makes the input long form [default: component]
    #[arg(long, value_name = "NAME", help_heading = "Columns")]
    component_column: Option<String>,
    /// Column of the loss; makes the input long form [default: value]
    #[arg(long, value_name = "NAME", help_heading = "Columns")]
    value_column: Option<String>,
}

/// A pattern of names.
fn pattern(text: &str) -> Result<GlobMatcher, String> {
    globset::Glob::new(text).map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

impl InputArguments {
    /// What readers need to know.
    pub(crate) fn options(&self) -> input::Options {
        input::Options {
            columns: ColumnNames {
                run: self.run_column.clone(),
                step: self.step_column.clone(),
                component: self.component_column.clone(),
                value: self.value_column.clone(),
            },
            selection: Selection { patterns: self.select.clone(), prefix: self.strip_prefix.clone() },
            format: self.input_format,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Variant {
    /// softmax(beta x slope)
    Original,
    /// Slopes divided by their signed sum, which favours the fastest-falling loss; --normalize l1 keeps the ranking
    Normalized,
    /// softmax(beta x slope) x mean loss
    LossWeighted,
}

impl Variant {
    pub(crate) fn config(self) -> Config {
        match self {
            Self::Original => Config::original(),
            Self::Normalized => Config::normalized(),
            Self::LossWeighted => Config::loss_weighted(),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Normalized => "normalized",
            Self::LossWeighted => "loss-weighted",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SlopeChoice {
    /// At the oldest of the last order + 1 steps, as the published packages do
    Forward,
    /// At the newest step, from the last order + 1
    Backward,
    /// Of the line through the whole window
    LeastSquares,
    /// Newest loss minus the one before
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NormalizeChoice {
    None,
    /// Divided by their sum: the ranking turns over while it is negative
    SignedSum,
    /// Divided by the sum of their magnitudes
    L1,
    /// Divided by their 2-norm
    L2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LossWeightingChoice {
    None,
    /// Mean over the window
    Window,
    /// Mean over the steps that the slope uses
    SlopePoints,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnNonFiniteChoice {
    /// Neutral weights for the run
    Hold,
    /// Weight 0 for the component, the others share the whole
    Mask,
    /// NaN for the run
    Propagate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnNegativeChoice {
    /// Counts as 0
    Clamp,
    /// As the published packages: weights can be negative or huge
    AsIs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScaleChoice {
    One,
    /// The number of the run's components
    Components,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Weights")]
pub(crate) struct ConfigArguments {
    /// Published variant to start from; the options below change single switches of it
    #[arg(long, value_enum, default_value_t = Variant::Original)]
    variant: Variant,
    /// Sensitivity: positive favours losses that rise or fall slowest, negative those that fall fastest [default: 0.1]
    #[arg(long, allow_negative_numbers = true, value_name = "B")]
    beta: Option<f64>,
    /// Accuracy order of a forward or backward slope [default: window - 1]
    #[arg(long, value_name = "P")]
    order: Option<u32>,
    /// How the rate of change is estimated [default: forward]
    #[arg(long, value_enum)]
    slope: Option<SlopeChoice>,
    /// What slopes are divided by [default: the variant's]
    #[arg(long, value_enum)]
    normalize: Option<NormalizeChoice>,
    /// Mean losses that weights are multiplied by [default: the variant's]
    #[arg(long, value_enum)]
    loss_weighting: Option<LossWeightingChoice>,
    /// For runs with a missing, NaN or infinite loss among the steps that count
    #[arg(long, value_enum, default_value_t = OnNonFiniteChoice::Hold)]
    on_non_finite: OnNonFiniteChoice,
    /// For negative mean losses under loss weighting
    #[arg(long, value_enum, default_value_t = OnNegativeChoice::Clamp)]
    on_negative: OnNegativeChoice,
    /// Added to the sum that weights are divided by [default: 1e-8]
    #[arg(long, allow_negative_numbers = true, value_name = "E")]
    epsilon: Option<f64>,
    /// Smallest weight of a component, as a fraction of the sum of the run's weights [default: 0]
    #[arg(long, allow_negative_numbers = true, value_name = "F")]
    floor: Option<f64>,
    /// What the weights of a run add up to
    #[arg(long, value_enum, default_value_t = ScaleChoice::One)]
    scale: ScaleChoice,
}

impl ConfigArguments {
    /// The configuration that the options stand for; not yet validated.
    ///
    /// # Errors
    /// An order for a slope that has none.
    pub(crate) fn config(&self) -> Result<Config, Error> {
        let mut config = self.variant.config();
        let order = self.order;
        let without_order = |slope: Slope, name| match order {
            Some(order) => Err(Error::OrderOfSlope { slope: name, order }),
            None => Ok(slope),
        };
        config.score = Score::Slope(match self.slope.unwrap_or(SlopeChoice::Forward) {
            SlopeChoice::Forward => Slope::Forward { order },
            SlopeChoice::Backward => Slope::Backward { order },
            SlopeChoice::LeastSquares => without_order(Slope::LeastSquares, "least-squares")?,
            SlopeChoice::Last => without_order(Slope::Last, "last")?,
        });
        if let Some(normalize) = self.normalize {
            config.normalize = match normalize {
                NormalizeChoice::None => Normalize::None,
                NormalizeChoice::SignedSum => Normalize::SignedSum,
                NormalizeChoice::L1 => Normalize::L1,
                NormalizeChoice::L2 => Normalize::L2,
            };
        }
        if let Some(weighting) = self.loss_weighting {
            config.loss_weighting = match weighting {
                LossWeightingChoice::None => LossWeighting::None,
                LossWeightingChoice::Window => LossWeighting::Window,
                LossWeightingChoice::SlopePoints => LossWeighting::SlopePoints,
            };
        }
        config.beta = self.beta.unwrap_or(config.beta);
        config.epsilon = self.epsilon.unwrap_or(config.epsilon);
        config.floor = self.floor.unwrap_or(config.floor);
        config.scale = match self.scale {
            ScaleChoice::One => Scale::One,
            ScaleChoice::Components => Scale::Components,
        };
        config.on_non_finite = match self.on_non_finite {
            OnNonFiniteChoice::Hold => OnNonFinite::Hold,
            OnNonFiniteChoice::Mask => OnNonFinite::Mask,
            OnNonFiniteChoice::Propagate => OnNonFinite::Propagate,
        };
        config.on_negative_mean = match self.on_negative {
            OnNegativeChoice::Clamp => OnNegativeMean::Clamp,
            OnNegativeChoice::AsIs => OnNegativeMean::AsIs,
        };
        Ok(config)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendChoice {
    /// The GPU if there is one, else the CPU
    Auto,
    /// Any adapter, software ones too
    Gpu,
    /// All cores, 32-bit floats
    Cpu,
    /// One core, 64-bit floats, straight from the formulas
    Reference,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub(crate) struct BackendArguments {
    /// What computes the weights
    #[arg(long, value_enum, default_value_t = BackendChoice::Auto)]
    pub(crate) backend: BackendChoice,
    /// Part of the name of the graphics adapter to use; see `softadapt devices`
    #[arg(long, value_name = "NAME")]
    pub(crate) adapter: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Random batches to compare
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub(crate) batches: u32,
    /// Start of the random numbers
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) backend: BackendArguments,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// Groups, components and window, such as 100000,3,5; repeatable
    #[arg(long = "shape", value_name = "G,N,W")]
    pub(crate) shapes: Vec<String>,
    /// Published variant to time; repeatable [default: original]
    #[arg(long = "variant", value_enum)]
    pub(crate) variants: Vec<Variant>,
    /// Paths to time: `auto` is all there are
    #[command(flatten)]
    pub(crate) backend: BackendArguments,
    /// One JSON object a line instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}
