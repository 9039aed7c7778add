//! Sources and the formats they come in. Every format is one file here whose `read` fills a [`Log`].

mod csv;
mod error;

pub(crate) use error::{InputError, Problem};

use crate::progress::Progress;
use crate::runs::Log;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where a log comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    /// `-` is standard input.
    pub(crate) fn new(path: &Path) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::File(path.to_path_buf()) }
    }

    fn open(&self) -> Result<Box<dyn Read>, Problem> {
        match self {
            Self::Stdin => Ok(Box::new(io::stdin().lock())),
            Self::File(path) if path.is_dir() => Err(Problem::Directory),
            Self::File(path) => Ok(Box::new(File::open(path).map_err(Problem::Open)?)),
        }
    }

    /// Bytes, where they are known beforehand.
    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(path) => path.metadata().ok().filter(|data| data.is_file()).map(|data| data.len()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("<stdin>"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Names of the columns that carry a log. `None`: the usual name.
#[derive(Clone, Debug, Default)]
pub(crate) struct ColumnNames {
    pub(crate) run: Option<String>,
    pub(crate) step: Option<String>,
    pub(crate) component: Option<String>,
    pub(crate) value: Option<String>,
}

/// Reads all sources into one log.
///
/// # Errors
/// The first thing that is wrong, with its source, line and column.
pub(crate) fn read(sources: &[Source], names: &ColumnNames, show_progress: bool) -> Result<Log, InputError> {
    let mut log = Log::default();
    let total = sources.iter().map(Source::bytes).sum::<Option<u64>>();
    let mut progress = Progress::new(show_progress, total);
    for (number, source) in sources.iter().enumerate() {
        let input = source.open().map_err(|problem| InputError::new(source, problem))?;
        csv::read(progress.watch(input), number, names, &mut log).map_err(|fault| fault.of(source))?;
    }
    Ok(log)
}
