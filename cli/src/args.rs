//! The options, and the library's configuration that they stand for.

use crate::error::Error;
use crate::input::{self, ColumnNames, InputFormat, Selection};
use crate::runs::OnDuplicate;
use crate::sweep::{Family, Setting};
use clap::{Args, Parser, Subcommand, ValueEnum};
use globset::GlobMatcher;
use softadapt::{
    BalancerConfig, BetaSchedule, Config, InitialWeights, LossWeighting, Normalize, OnNegativeMean, OnNonFinite, Scale,
    Score, Slope, Smoothing, Window,
};
use std::path::{Path, PathBuf};

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
    /// Weights for every run of loss logs
    Weigh(Box<WeighArguments>),
    /// Weights at every update of every run, as a trainer would have had them
    Replay(Box<ReplayArguments>),
    /// A picture of losses and weights over steps
    Plot(Box<PlotArguments>),
    /// Losses and weights in the terminal
    View(Box<ViewArguments>),
    /// Many settings at once, and what they do to the weights
    Sweep(Box<SweepArguments>),
    /// The graphics adapters of this machine and what matters about them
    Devices,
    /// Compares the GPU, CPU and reference paths on this machine
    Check(CheckArguments),
    /// Times the GPU, CPU and reference paths on this machine
    Bench(BenchArguments),
    /// Completions for a shell, to standard output
    Completions {
        /// Such as bash: softadapt completions bash > ~/.local/share/bash-completion/completions/softadapt
        shell: clap_complete::Shell,
    },
    /// Man pages, into a folder
    Man {
        /// Such as ~/.local/share/man/man1
        folder: PathBuf,
    },
}

const WEIGH_HELP: &str = "\
Input, told apart by its first bytes (gzip and zstd are unpacked), in tables by the header:
  long form   run,step,component,value         other columns are ignored
  wide form   run,step,<component>,...         an empty column is no component of that run
  CSV, JSON Lines, Parquet, Arrow IPC, and TensorBoard event files: a folder is a run, its scalars are components.
Steps may come unsorted. An empty field, null, nan or inf is a loss that is missing; so is a component
without a row at a step that its run has.

Output: run,component,weight,slope,mean_loss,status, one line a component in input order. The status
is `ok` or flags joined by `|`: not-ready, non-finite, zero-slope-sum, zero-mean-loss, negative-mean-loss.

Examples:
  softadapt weigh logs/*.csv --variant loss-weighted --beta 0.1 -o weights.csv
  softadapt weigh runs/ --strip-prefix loss/ --window 10 --slope least-squares    a folder of TensorBoard runs
  zcat log.jsonl.gz | softadapt weigh - --format json

Exit status: 0 done, 1 bad data or a failed read or write, 2 options that make no sense.";

#[derive(Debug, Args)]
#[command(after_help = WEIGH_HELP)]
pub(crate) struct WeighArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    #[command(flatten)]
    pub(crate) backend: BackendArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
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
        self.format.unwrap_or_else(|| Format::of(self.output.as_deref()))
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

impl Format {
    /// What the name of a file asks for.
    fn of(path: Option<&Path>) -> Self {
        match path.and_then(|path| path.extension()?.to_str()) {
            Some("parquet") => Self::Parquet,
            Some("json" | "jsonl" | "ndjson") => Self::Json,
            _ => Self::Csv,
        }
    }
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
    /// No summary and no progress bar
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Runs that are followed step by step.
#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,
    /// Sort the log in memory first
    #[arg(long, help_heading = "Input")]
    pub(crate) sort: bool,
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

impl SlopeChoice {
    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::LeastSquares => "least-squares",
            Self::Last => "last",
        }
    }
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

/// One setting.
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
    /// How many of a run's newest steps count
    #[arg(long, value_name = "STEPS", default_value_t = 5)]
    pub(crate) window: usize,
    /// How the rate of change is estimated [default: forward]
    #[arg(long, value_enum)]
    slope: Option<SlopeChoice>,
    #[command(flatten)]
    switches: SwitchArguments,
}

impl ConfigArguments {
    /// The configuration that the options stand for; not yet validated.
    ///
    /// # Errors
    /// An order for a slope that has none.
    pub(crate) fn config(&self) -> Result<Config, Error> {
        let slope = self.slope.unwrap_or(SlopeChoice::Forward);
        let config = self.switches.config(self.variant, slope, self.order)?;
        Ok(match self.beta {
            Some(beta) => config.with_beta(beta),
            None => config,
        })
    }
}

/// What settings of a sweep have in common.
#[derive(Debug, Args)]
#[command(next_help_heading = "Weights")]
struct SwitchArguments {
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

impl SwitchArguments {
    fn config(&self, variant: Variant, slope: SlopeChoice, order: Option<u32>) -> Result<Config, Error> {
        let mut config = variant.config();
        let without_order = |kind: Slope| match order {
            Some(order) => Err(Error::OrderOfSlope { slope: slope.name(), order }),
            None => Ok(kind),
        };
        config.score = Score::Slope(match slope {
            SlopeChoice::Forward => Slope::Forward { order },
            SlopeChoice::Backward => Slope::Backward { order },
            SlopeChoice::LeastSquares => without_order(Slope::LeastSquares)?,
            SlopeChoice::Last => without_order(Slope::Last)?,
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

/// When a trainer updates its weights, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Updates")]
pub(crate) struct UpdateArguments {
    /// Steps from one update to the next
    #[arg(long, value_name = "STEPS", default_value_t = 1)]
    every: u32,
    /// Steps up to the first update [default: as --every]
    #[arg(long, value_name = "STEPS")]
    first: Option<u32>,
    /// Forget the steps before an update
    #[arg(long)]
    tumbling: bool,
    /// Share of the old weights that stays at an update, 0 to below 1
    #[arg(long, allow_negative_numbers = true, value_name = "KEEP", conflicts_with = "cycle_mean")]
    smoothing: Option<f64>,
    /// Weights are computed at every step, and an update is their mean
    #[arg(long)]
    cycle_mean: bool,
    /// Factor on beta over the steps of a run: `linear` or `cosine`, and from, to, steps, such as linear,0,1,50
    #[arg(long, value_name = "SHAPE,FROM,TO,STEPS", value_parser = schedule)]
    beta_schedule: Option<BetaSchedule>,
    /// The weights before the first update
    #[arg(long, value_enum, default_value_t = InitialChoice::Neutral)]
    initial: InitialChoice,
}

/// A trainer with one setting.
#[derive(Debug, Args)]
pub(crate) struct TrainerArguments {
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    updates: UpdateArguments,
}

impl TrainerArguments {
    /// The balancer that the options stand for, not yet validated, and its window.
    ///
    /// # Errors
    /// An order for a slope that has none.
    pub(crate) fn balancer(&self) -> Result<(BalancerConfig, usize), Error> {
        Ok((self.updates.balancer(self.config.config()?), self.config.window))
    }
}

const REPLAY_HELP: &str = "\
Output: run,step,component,loss,weight,status, a line a component at every update. Updates come in the order in
which their steps are complete in the log: run after run, or side by side.

Steps of a run have to come in order, and all of its components at its first step; --sort lifts both, in memory.

Examples:
  softadapt replay logs/ -o weights.parquet                every step, from the newest 5 steps
  softadapt replay logs/ --every 10 --smoothing 0.9        every 10th step, smoothed
  softadapt replay log.csv --tumbling --every 5 --first 6 --window 6 --initial ones
                                                           as the training loop of the published packages

Exit status: 0 done, 1 bad data or a failed read or write, 2 options that make no sense.";

#[derive(Debug, Args)]
#[command(after_help = REPLAY_HELP)]
pub(crate) struct ReplayArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    #[command(flatten)]
    pub(crate) trainer: TrainerArguments,
    #[command(flatten)]
    pub(crate) backend: BackendArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    /// A line for every step, with weights and status of the update before
    #[arg(long, help_heading = "Output")]
    pub(crate) all_steps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InitialChoice {
    /// Equal ones
    Neutral,
    /// 1 for every component
    Ones,
}

/// A schedule of beta.
fn schedule(text: &str) -> Result<BetaSchedule, String> {
    let wrong = || "expected a shape, two factors and a number of steps, such as linear,0,1,50".to_owned();
    let [shape, from, to, over] = text.split(',').collect::<Vec<_>>()[..] else { return Err(wrong()) };
    let number = |text: &str| text.trim().parse().map_err(|_| wrong());
    let (from, to, over) = (number(from)?, number(to)?, over.trim().parse().map_err(|_| wrong())?);
    match shape.trim() {
        "linear" => Ok(BetaSchedule::Linear { from, to, over }),
        "cosine" => Ok(BetaSchedule::Cosine { from, to, over }),
        _ => Err(wrong()),
    }
}

impl UpdateArguments {
    /// The balancer that the options stand for; not yet validated.
    pub(crate) fn balancer(&self, config: Config) -> BalancerConfig {
        let mut config = BalancerConfig::new(config).with_every(self.every);
        config.first = self.first;
        if self.tumbling {
            config = config.with_window(Window::Tumbling);
        }
        if let Some(keep) = self.smoothing {
            config = config.with_smoothing(Smoothing::Exponential { keep });
        }
        if self.cycle_mean {
            config = config.with_smoothing(Smoothing::CycleMean);
        }
        if let Some(schedule) = self.beta_schedule {
            config = config.with_beta_schedule(schedule);
        }
        if self.initial == InitialChoice::Ones {
            config = config.with_initial(InitialWeights::Ones);
        }
        config
    }
}

const PLOT_HELP: &str = "\
One picture with a row for each run: its losses, and the weights that `softadapt replay` gives for the same options.
A missing, NaN or infinite loss is a gap. The axis of the losses is logarithmic unless one is 0 or negative.
Colours are told apart by colour-blind people, too. The ending of the file's name says what is drawn: .svg or .png.

Examples:
  softadapt plot logs/ --run 'pinn-*-0[1-3]' -o losses.svg
  softadapt plot log.csv --run baseline --every 10 --smoothing 0.9 -o baseline.png

Exit status: 0 done, 1 bad data or a failed read or write, 2 options that make no sense.";

#[derive(Debug, Args)]
#[command(after_help = PLOT_HELP)]
pub(crate) struct PlotArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    /// Runs to draw, by name or pattern; repeatable [default: the first four]
    #[arg(long = "run", value_name = "PATTERN", value_parser = pattern, help_heading = "Input")]
    pub(crate) runs: Vec<GlobMatcher>,
    #[command(flatten)]
    pub(crate) trainer: TrainerArguments,
    /// Where the picture goes, a .svg or .png
    #[arg(short, long, value_name = "FILE", required = true, help_heading = "Output")]
    pub(crate) output: PathBuf,
}

const VIEW_HELP: &str = "\
Every combination of the values is a setting, as in `softadapt sweep`; shown is what `softadapt replay` gives for it.

Keys: up and down, page up and page down, home and end go through the runs, left and right through the settings; q leaves.

Examples:
  softadapt view logs/ --slope last
  softadapt view log.csv --variant original,loss-weighted --beta 0.1,1 --window 5,10 --every 10";

#[derive(Debug, Args)]
#[command(after_help = VIEW_HELP)]
pub(crate) struct ViewArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    #[command(flatten)]
    pub(crate) updates: UpdateArguments,
}

const SWEEP_HELP: &str = "\
Every combination of the values is a setting, and weighs every step of every run. Output: run,component and a column
for each setting, the weights after the last step of each run; with --every-step after every step.

Summary, for each setting:
  windows, not ready   steps that were weighed; those with too few steps before them, which the rest leaves out
  flagged              windows whose status is not ok
  entropy              of the weights, as a share of the largest possible: 1 is uniform, 0 one component alone
  over 90 %            share of the steps at which one component takes more than that
  turnover             share of the steps at which two components have changed places since the step before

Steps of a run have to come in order, and all of its components at its first step; --sort lifts both, in memory.

Examples:
  softadapt sweep logs/ --beta 0.01,0.1,1 --order 1,2,4
  softadapt sweep logs/ --variant original,loss-weighted --window 5,10 --slope backward --summary settings.csv -o /dev/null

Exit status: 0 done, 1 bad data or a failed read or write, 2 options that make no sense.";

#[derive(Debug, Args)]
#[command(after_help = SWEEP_HELP)]
pub(crate) struct SweepArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    #[command(flatten)]
    pub(crate) backend: BackendArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    /// A line for every step, not only for the last of each run
    #[arg(long, help_heading = "Output")]
    pub(crate) every_step: bool,
    /// Where the summary goes besides standard error; its form is that of its name's end
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) summary: Option<PathBuf>,
    /// Also draw the summary as a heat map, a .svg or .png
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) heat_map: Option<PathBuf>,
}

impl SweepArguments {
    /// Form of the summary's file.
    pub(crate) fn summary_format(&self) -> Format {
        Format::of(self.summary.as_deref())
    }
}

/// Many settings: all combinations of some values.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingArguments {
    /// Published variants
    #[arg(long = "variant", value_enum, value_delimiter = ',', default_values_t = [Variant::Original])]
    variants: Vec<Variant>,
    /// Sensitivities [default: 0.1]
    #[arg(long = "beta", allow_hyphen_values = true, value_delimiter = ',', value_name = "B,..")]
    betas: Vec<f64>,
    /// Accuracy orders of forward and backward slopes [default: window - 1]
    #[arg(long = "order", value_delimiter = ',', value_name = "P,..")]
    orders: Vec<u32>,
    /// How many of the newest steps count
    #[arg(long = "window", value_delimiter = ',', value_name = "STEPS,..", default_values_t = [5])]
    windows: Vec<usize>,
    /// How the rate of change is estimated
    #[arg(long = "slope", value_enum, value_delimiter = ',', default_values_t = [SlopeChoice::Forward])]
    slopes: Vec<SlopeChoice>,
    #[command(flatten)]
    switches: SwitchArguments,
}

impl SettingArguments {
    /// All settings, those together that differ in beta only.
    ///
    /// # Errors
    /// An order for a slope that has none, or a value that is there twice.
    pub(crate) fn families(&self) -> Result<Vec<Family>, Error> {
        let mut families: Vec<Family> = Vec::new();
        let orders: Vec<Option<u32>> =
            if self.orders.is_empty() { vec![None] } else { self.orders.iter().copied().map(Some).collect() };
        for &variant in &self.variants {
            for &slope in &self.slopes {
                for &order in &orders {
                    for &window in &self.windows {
                        let config = self.switches.config(variant, slope, order)?;
                        let used = match slope {
                            SlopeChoice::Forward | SlopeChoice::Backward => {
                                order.unwrap_or_else(|| u32::try_from(window.saturating_sub(1)).unwrap_or(u32::MAX))
                            }
                            SlopeChoice::LeastSquares | SlopeChoice::Last => 0,
                        };
                        let betas = if self.betas.is_empty() { vec![config.beta] } else { self.betas.clone() };
                        let settings = betas.into_iter().map(|beta| {
                            let (variant, slope) = (variant.name(), slope.name());
                            let of_slope = if used == 0 { String::new() } else { format!(" order={used}") };
                            let name = format!("{variant} {slope}{of_slope} window={window} beta={beta}");
                            Setting { name, variant, slope, order: used, window, beta }
                        });
                        families.push(Family { config, window, settings: settings.collect() });
                    }
                }
            }
        }
        let mut names: Vec<&str> = families.iter().flat_map(|family| &family.settings).map(|s| &*s.name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::SettingTwice { name: pair[0].to_owned() }),
            None => Ok(families),
        }
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
    /// Tries every way of laying the kernels out on the GPU, and says which is fastest and what it gains
    #[arg(long, conflicts_with = "gpu_report")]
    pub(crate) tune: bool,
    /// Measures all kernels on the GPU, beside copies of as many bytes, and writes the table to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) gpu_report: Option<PathBuf>,
    /// Small shapes for --tune and --gpu-report: what a software adapter can bear
    #[arg(long)]
    #[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "only measurements on a GPU have a small form"))]
    pub(crate) quick: bool,
    /// One JSON object a line instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}
