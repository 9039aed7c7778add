//! Everything that ends the command early, and the exit status that goes with it.

use crate::backend::BackendError;
use crate::input::InputError;
use softadapt::{BalancerError, PlanError};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why the command ends without having done its work.
#[derive(Debug)]
pub(crate) enum Error {
    /// Options that contradict each other or the data.
    Plan(PlanError),
    /// A cadence or smoothing that makes no sense.
    Balancer(BalancerError),
    /// A setting of a sweep that makes no sense.
    Setting { name: String, error: Box<Error> },
    /// Two settings of a sweep that are the same.
    SettingTwice { name: String },
    /// A window outside the range that the library takes.
    Window { reason: String },
    /// An accuracy order for a slope that has none.
    OrderOfSlope { slope: &'static str, order: u32 },
    /// An adapter was named for a path that uses none.
    AdapterOfBackend { backend: &'static str, adapter: String },
    /// A balancer in 64 bits.
    NoReference,
    /// Standard input was named more than once.
    StdinTwice,
    /// A shape for `bench` that is none.
    Shape { text: String, reason: String },
    /// `check` with the reference as its only path.
    NothingToCompare,
    /// Bad data, or a source that cannot be read.
    Input(InputError),
    /// A run that is too large for the library.
    Components { run: String, components: usize },
    /// More data than can be addressed.
    TooLarge { reason: String },
    /// The output cannot be written.
    Output { path: Option<PathBuf>, error: io::Error },
    /// A picture whose name does not say of which kind it is.
    Picture { path: PathBuf },
    /// More runs than a picture has room for.
    ManyRuns { most: usize },
    /// No run of the names that were asked for.
    NoRun { some: Vec<String> },
    /// `view` without a terminal.
    NoTerminal,
    /// The terminal does not do what it is told.
    Terminal { error: io::Error },
    /// A picture cannot be drawn.
    Drawing { reason: String },
    /// The file in which an output waits cannot be written.
    Temporary { error: io::Error },
    /// The path chosen is not there or failed.
    Backend(BackendError),
    /// `check` or `bench` found an answer that is wrong.
    Wrong { findings: usize },
}

/// Why an output is not finished.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Writing it failed.
    Write(io::Error),
    /// What it is made from failed.
    Other(Box<Error>),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(Box::new(error))
    }
}

impl Error {
    /// 2 for misuse, 1 for everything else.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Setting { error, .. } => error.exit_status(),
            Self::Plan(_)
            | Self::Balancer(_)
            | Self::SettingTwice { .. }
            | Self::Picture { .. }
            | Self::ManyRuns { .. }
            | Self::NoRun { .. }
            | Self::NoTerminal
            | Self::Window { .. }
            | Self::OrderOfSlope { .. }
            | Self::AdapterOfBackend { .. }
            | Self::NoReference
            | Self::StdinTwice
            | Self::Shape { .. }
            | Self::NothingToCompare
            | Self::Backend(BackendError::NotBuilt) => 2,
            Self::Input(_)
            | Self::Components { .. }
            | Self::TooLarge { .. }
            | Self::Output { .. }
            | Self::Temporary { .. }
            | Self::Drawing { .. }
            | Self::Terminal { .. }
            | Self::Backend(_)
            | Self::Wrong { .. } => 1,
        }
    }

    /// Whether the reader of standard output has gone, as `head` does when it has seen enough: nobody to tell.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output { path: None, error } if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::Balancer(error) => error.fmt(f),
            Self::SettingTwice { name } => write!(f, "setting {name} is there twice: leave a value out"),
            Self::Setting { name, error } => write!(f, "setting {name}: {error}"),
            Self::Window { reason } => write!(f, "--window: {reason}"),
            Self::TooLarge { reason } => f.write_str(reason),
            Self::OrderOfSlope { slope, order } => {
                write!(f, "--order {order} does not fit --slope {slope}, which has no order: leave one out")
            }
            Self::AdapterOfBackend { backend, adapter } => {
                write!(f, "--adapter {adapter:?} does not fit --backend {backend}, which uses no GPU: leave one out")
            }
            Self::NoReference => f.write_str(
                "--backend reference weighs single windows and replays no training: choose auto, gpu or cpu",
            ),
            Self::StdinTwice => f.write_str("`-` (standard input) can be given once only"),
            Self::Shape { text, reason } => write!(f, "--shape {text}: {reason}"),
            Self::NothingToCompare => {
                f.write_str("--backend reference leaves nothing to compare it with: choose auto, gpu or cpu")
            }
            Self::Input(error) => error.fmt(f),
            Self::Components { run, components } => write!(
                f,
                "run {run:?} has {components} components, at most {} are supported: split it into several runs",
                softadapt::MAX_COMPONENTS
            ),
            Self::Output { path: Some(path), error } => write!(f, "{}: cannot be written: {error}", path.display()),
            Self::Picture { path } => {
                write!(f, "{}: a picture is a .svg or a .png: give it a name that ends so", path.display())
            }
            Self::ManyRuns { most } => {
                write!(
                    f,
                    "a picture has room for {most} runs, --run chooses more: choose fewer, and draw several pictures"
                )
            }
            Self::NoRun { some } if some.is_empty() => f.write_str("the log has no run to draw"),
            Self::NoRun { some } => write!(f, "no run is called as --run says: there are {}", some.join(", ")),
            Self::NoTerminal => {
                f.write_str("standard output is no terminal: `softadapt plot` draws the same into a file")
            }
            Self::Terminal { error } => write!(f, "the terminal cannot be used: {error}"),
            Self::Drawing { reason } => write!(f, "the picture cannot be drawn: {reason}"),
            Self::Temporary { error } => {
                write!(
                    f,
                    "a temporary file cannot be written: {error} (TMPDIR names another place; -o FILE needs none)"
                )
            }
            Self::Output { path: None, error } => write!(f, "standard output cannot be written: {error}"),
            Self::Backend(error) => error.fmt(f),
            Self::Wrong { findings } => {
                write!(f, "{findings} answers are wrong on this machine: choose another --backend and report it")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Plan(error) => Some(error),
            Self::Balancer(error) => Some(error),
            Self::Setting { error, .. } => Some(error),
            Self::Input(error) => Some(error),
            Self::Output { error, .. } | Self::Temporary { error } | Self::Terminal { error } => Some(error),
            Self::Backend(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<BalancerError> for Error {
    fn from(error: BalancerError) -> Self {
        Self::Balancer(error)
    }
}

impl From<InputError> for Error {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}
