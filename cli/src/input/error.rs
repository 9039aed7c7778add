//! What can be wrong with a log, with the place where it is.

use super::Source;
use std::fmt;
use std::io;

/// A problem at a place of a source.
#[derive(Debug)]
pub(crate) struct InputError {
    source: Source,
    line: Option<u64>,
    column: Option<String>,
    problem: Box<Problem>,
}

impl InputError {
    /// A problem of a source as a whole.
    pub(crate) fn new(source: &Source, problem: Problem) -> Self {
        Fault::from(problem).of(source)
    }

    /// A problem of one line.
    pub(crate) fn at_line(source: &Source, line: u64, problem: Problem) -> Self {
        Fault { line: Some(line), ..Fault::from(problem) }.of(source)
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if let Some(column) = &self.column {
            write!(f, "column {column:?}: ")?;
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for InputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.problem {
            Problem::Open(error) | Problem::Read(error) => Some(error),
            _ => None,
        }
    }
}

/// An [`InputError`] whose reader does not know what its source is called.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: Option<u64>,
    pub(super) column: Option<String>,
    /// Boxed, so that results that carry it stay small.
    pub(super) problem: Box<Problem>,
}

impl Fault {
    pub(super) fn of(self, source: &Source) -> InputError {
        InputError { source: source.clone(), line: self.line, column: self.column, problem: self.problem }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self { line: None, column: None, problem: Box::new(problem) }
    }
}

/// What is wrong.
#[derive(Debug)]
pub(crate) enum Problem {
    Directory,
    Open(io::Error),
    Read(io::Error),
    Empty,
    Utf16,
    NotUtf8 {
        text: String,
    },
    NoColumn {
        name: String,
        option: &'static str,
        header: Vec<String>,
    },
    NoComponents,
    UnnamedColumn {
        position: usize,
    },
    ColumnTwice {
        name: String,
    },
    Fields {
        fields: usize,
        columns: usize,
        /// Whether the last field goes over several lines.
        open_quote: bool,
    },
    EmptyName,
    NotANumber {
        text: String,
    },
    Step {
        text: String,
        fault: StepFault,
    },
    Duplicate {
        run: String,
        component: String,
        step: i64,
        /// Source and line of the first value.
        first: (Source, u64),
    },
}

/// Why a field is not a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepFault {
    Empty,
    NotANumber,
    Fraction,
    OutOfRange,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("is a directory: name the files in it, such as `DIR/*.csv`"),
            Self::Open(error) => write!(f, "cannot be opened: {error}"),
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Empty => f.write_str("is empty: the first line has to name the columns"),
            Self::Utf16 => f.write_str("is UTF-16 text: save it as UTF-8"),
            Self::NotUtf8 { text } => write!(f, "{text:?} is not UTF-8 text: save the file as UTF-8"),
            Self::NoColumn { name, option, header } => {
                write!(f, "no column {name:?} among {}: name it with {option}", list(header))?;
                if let [only] = &header[..]
                    && let Some(separator) = [';', '\t'].into_iter().find(|&c| only.contains(c))
                {
                    write!(f, " (fields have to be separated by commas, not {separator:?})")?;
                }
                Ok(())
            }
            Self::NoComponents => f.write_str("the header names no component besides run and step"),
            Self::UnnamedColumn { position } => {
                write!(f, "column {position} has no name: name it or leave it out (pandas: `to_csv(..., index=False)`)")
            }
            Self::ColumnTwice { name } => write!(f, "two columns are called {name:?}: rename one"),
            Self::Fields { fields, columns, open_quote } => {
                write!(f, "{fields} fields, but the header has {columns} columns")?;
                if *open_quote {
                    f.write_str(": the last one goes over several lines, is a quote left open?")?;
                } else if fields > columns {
                    f.write_str(": fields that hold commas have to be quoted")?;
                }
                Ok(())
            }
            Self::EmptyName => f.write_str("is empty, but has to name something"),
            Self::NotANumber { text } => {
                write!(f, "{text:?} is not a number (leave the field empty if the value is missing)")
            }
            Self::Step { text, fault } => match fault {
                StepFault::Empty => f.write_str("is empty, but has to be an integer"),
                StepFault::NotANumber => write!(f, "{text:?} is not an integer"),
                StepFault::Fraction => write!(f, "{text:?} has a fraction, but steps are integers"),
                StepFault::OutOfRange => write!(
                    f,
                    "{text:?} is out of range: steps are 64-bit integers, at most 2^53 if written with a point or exponent"
                ),
            },
            Self::Duplicate { run, component, step, first: (source, line) } => write!(
                f,
                "second value for run {run:?}, step {step}, component {component:?}; the first is at {source}:{line} (choose one with --on-duplicate last or first)"
            ),
        }
    }
}

/// A few names in quotes.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}
