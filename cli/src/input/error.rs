//! What can be wrong with a log, with the place where it is.

use super::Source;
use crate::runs::{Duplicate, Unit};
use std::fmt;
use std::io;

/// A problem at a place of a source.
#[derive(Debug)]
pub(crate) struct InputError {
    source: Source,
    place: Option<(Unit, u64)>,
    column: Option<String>,
    problem: Box<Problem>,
}

impl InputError {
    /// A problem of a source as a whole.
    pub(crate) fn new(source: &Source, problem: Problem) -> Self {
        Fault::from(problem).of(source)
    }

    /// A problem of two values.
    pub(crate) fn duplicate(sources: &[Source], duplicate: Duplicate) -> Self {
        let Duplicate { run, component, step, first, second } = duplicate;
        let first = first.map(|place| at(&sources[place.source()], Some((place.unit(), place.number()))));
        let problem = Problem::Duplicate { run, component, step, first };
        Fault::new(second.unit(), second.number(), problem).of(&sources[second.source()])
    }
}

/// A source and a place in it, in words.
fn at(source: &Source, place: Option<(Unit, u64)>) -> String {
    match place {
        None => source.to_string(),
        // As compilers write it: editors find such a place.
        Some((Unit::Line, line)) => format!("{source}:{line}"),
        Some((Unit::Row, row)) => format!("{source}, row {row}"),
        Some((Unit::RowGroup, group)) => format!("{source}, row group {group}"),
        Some((Unit::Batch, batch)) => format!("{source}, record batch {batch}"),
        Some((Unit::Record, record)) => format!("{source}, record {record}"),
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&at(&self.source, self.place))?;
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
    pub(super) place: Option<(Unit, u64)>,
    pub(super) column: Option<String>,
    /// Boxed, so that results that carry it stay small.
    pub(super) problem: Box<Problem>,
}

impl Fault {
    /// A problem of one line, row or record, counted from 1.
    pub(super) fn new(unit: Unit, number: u64, problem: Problem) -> Self {
        Self { place: Some((unit, number)), column: None, problem: Box::new(problem) }
    }

    pub(super) fn of(self, source: &Source) -> InputError {
        InputError { source: source.clone(), place: self.place, column: self.column, problem: self.problem }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self { place: None, column: None, problem: Box::new(problem) }
    }
}

/// Names that a message shows.
pub(super) const SHOWN: usize = 8;

/// What is wrong.
#[derive(Debug)]
pub(crate) enum Problem {
    /// A folder without anything that can be read.
    NoLogs,
    /// A pattern that matches no file.
    NoMatch,
    /// A pattern of files that is none.
    Pattern {
        reason: String,
    },
    /// The options leave nothing over.
    NothingSelected {
        names: Vec<String>,
    },
    /// A format that is known, but not read.
    Unsupported {
        what: &'static str,
    },
    /// Bytes that are not what their format says.
    Damaged {
        what: &'static str,
        reason: String,
    },
    /// A checksum of an event file.
    Checksum {
        of: &'static str,
    },
    LongRecord {
        length: u64,
    },
    NotAnEvent,
    /// A list where lines of objects should be.
    JsonArray,
    Json {
        reason: String,
        /// Column of the line, from 1.
        position: usize,
    },
    /// A component without a name, in formats that have no columns.
    EmptyKey,
    /// Something that is no name.
    NotAName {
        what: &'static str,
    },
    /// Something that cannot be a loss.
    NoLoss {
        what: &'static str,
    },
    ColumnType {
        wanted: &'static str,
        found: String,
    },
    Open(io::Error),
    Read(io::Error),
    Empty,
    Utf16,
    /// Lines that end as on computers before 2001.
    CarriageReturns,
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
    /// A step before one that came already, where order matters.
    StepTooLate {
        run: String,
        step: i64,
        after: i64,
    },
    /// A component that was not there when its run began, where that matters.
    ComponentTooLate {
        run: String,
        component: String,
        step: i64,
    },
    /// As `Duplicate`, from a sink that does not know the names of sources.
    Doubled(Box<Duplicate>),
    /// The sink wants no more, for a reason that it tells itself.
    Stopped,
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
        /// Where the first value is, if that is still known.
        first: Option<String>,
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
            Self::NoLogs => f.write_str(
                "holds no logs: files named *.csv, *.jsonl, *.parquet, *.arrow (compressed too) or *tfevents* are looked for",
            ),
            Self::NoMatch => f.write_str("matches nothing: there is no such file"),
            Self::Pattern { reason } => write!(f, "is no pattern of files: {reason}"),
            Self::NothingSelected { names } => {
                write!(f, "no component is left by --select and --strip-prefix: there are {}", list(names))
            }
            Self::Unsupported { what } => write!(f, "is {what}"),
            Self::Damaged { what, reason } => {
                let reason = reason.split('\n').next().unwrap_or_default();
                write!(f, "its {what} data is damaged or incomplete ({reason}): write the file again")
            }
            Self::Checksum { of } => write!(
                f,
                "the checksum of its {of} is wrong: the file is damaged here (copy it again, or cut it before this record)"
            ),
            Self::LongRecord { length } => {
                write!(f, "says that it has {length} bytes, which no event has: the file is damaged here")
            }
            Self::NotAnEvent => f.write_str("is no TensorBoard event, although its checksum is right"),
            Self::JsonArray => {
                f.write_str("is a list, but JSON Lines have one object a line (jq: `jq -c '.[]' FILE`)")
            }
            Self::Json { reason, position } => write!(f, "is no JSON object: {reason} at character {position}"),
            Self::EmptyKey => f.write_str("a component has an empty name"),
            Self::NotAName { what } => write!(f, "holds {what}, but has to name something"),
            Self::NoLoss { what } => {
                write!(f, "holds {what}, which is no loss: leave it out with --select or --strip-prefix")
            }
            Self::ColumnType { wanted, found } => {
                write!(f, "holds {found}, but has to hold {wanted}: convert it, or leave it out with --select")
            }
            Self::Open(error) => write!(f, "cannot be opened: {error}"),
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Empty => f.write_str("is empty: the first line has to name the columns"),
            Self::Utf16 => f.write_str("is UTF-16 text: save it as UTF-8"),
            Self::CarriageReturns => {
                f.write_str("has lines that end in a carriage return alone: end them with line feeds, or with both")
            }
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
            Self::StepTooLate { run, step, after } => write!(
                f,
                "step {step} of run {run:?} comes after its step {after}: sort the log by step, or let --sort do it (in memory)"
            ),
            Self::ComponentTooLate { run, component, step } => write!(
                f,
                "component {component:?} of run {run:?} appears at step {step} only, after weights without it: --sort gives it missing losses before (in memory)"
            ),
            Self::Doubled(duplicate) => write!(f, "second value for step {}", duplicate.step),
            Self::Stopped => f.write_str("reading was stopped"),
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
            Self::Duplicate { run, component, step, first } => {
                write!(f, "second value for run {run:?}, step {step}, component {component:?}")?;
                match first {
                    Some(first) => write!(f, "; the first is at {first}")?,
                    None => f.write_str("; the first is above")?,
                }
                f.write_str(" (choose one with --on-duplicate last or first)")
            }
        }
    }
}

/// A few names in quotes.
fn list(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}
