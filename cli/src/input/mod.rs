//! Sources and the formats they come in. Every format is one file here whose `read` fills a [`Sink`].

mod arrow;
mod csv;
mod detect;
mod error;
mod events;
mod header;
mod jsonl;
mod memo;
mod parquet;
mod source;
mod table;
mod values;

pub use detect::Format as InputFormat;
pub(crate) use error::{InputError, Problem};
pub(crate) use source::Source;

use crate::error::Error;

use crate::progress::Progress;
use crate::runs::{ComponentId, Sink};
use detect::{Content, Format};
use error::Fault;
use globset::GlobMatcher;
use source::expand;
use std::io::{self, Write};
use std::path::PathBuf;

/// Names of the columns that carry a log. `None`: the usual name.
#[derive(Clone, Debug, Default)]
pub(crate) struct ColumnNames {
    pub(crate) run: Option<String>,
    pub(crate) step: Option<String>,
    pub(crate) component: Option<String>,
    pub(crate) value: Option<String>,
}

/// Which components of a log count, and what they are called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Patterns of full names, one of which has to match; none: all do.
    pub(crate) patterns: Vec<GlobMatcher>,
    /// What full names have to start with; the rest is the component's name.
    pub(crate) prefix: Option<String>,
}

impl Selection {
    /// The component's name, if it counts.
    fn name<'a>(&self, full: &'a str) -> Option<&'a str> {
        if !self.patterns.is_empty() && !self.patterns.iter().any(|pattern| pattern.is_match(full)) {
            return None;
        }
        match &self.prefix {
            // A name that is the prefix has nothing left.
            Some(prefix) => full.strip_prefix(prefix.as_str()).filter(|name| !name.is_empty()),
            None => Some(full),
        }
    }

    fn selects(&self) -> bool {
        !self.patterns.is_empty() || self.prefix.is_some()
    }
}

/// How logs are to be understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) columns: ColumnNames,
    pub(crate) selection: Selection,
    pub(crate) format: Option<Format>,
}

/// What the reader of a format is given besides its source.
pub(super) struct Target<'a> {
    /// Position of the source among all.
    number: usize,
    options: &'a Options,
    sink: &'a mut dyn Sink,
    left_out: &'a mut LeftOut,
}

impl Target<'_> {
    /// The component of a full name, if it counts.
    fn component(&mut self, full: &str) -> Option<ComponentId> {
        if let Some(name) = self.options.selection.name(full) {
            self.left_out.any_selected = true;
            Some(self.sink.component(name))
        } else {
            self.left_out.note(full);
            None
        }
    }
}

/// Components that the options leave out.
#[derive(Debug, Default)]
struct LeftOut {
    any_selected: bool,
    names: Vec<String>,
}

impl LeftOut {
    fn note(&mut self, name: &str) {
        // As many as a message shows, and one more, so that it can say so.
        if self.names.len() <= error::SHOWN && !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }
}

/// Reads all sources into one sink. Returns what a person should know about them although it is no error.
///
/// # Errors
/// The first thing that is wrong, with its source, place and column.
fn read(
    sources: &[Source],
    options: &Options,
    show_progress: bool,
    sink: &mut dyn Sink,
) -> Result<Vec<String>, InputError> {
    let total = sources.iter().map(Source::bytes).sum::<Option<u64>>();
    let progress = Progress::new(show_progress, total);
    let (mut left_out, mut notes) = (LeftOut::default(), Vec::new());
    for (number, source) in sources.iter().enumerate() {
        let content =
            Content::open(source, &progress, options.format).map_err(|problem| InputError::new(source, problem))?;
        let mut target = Target { number, options, sink, left_out: &mut left_out };
        notes.extend(read_content(sources, content, &mut target)?);
    }
    if let [first, ..] = sources
        && options.selection.selects()
        && !left_out.any_selected
        && !left_out.names.is_empty()
    {
        return Err(InputError::new(first, Problem::NothingSelected { names: left_out.names }));
    }
    Ok(notes)
}

/// Reads one of the sources, once it is open. Returns what a person should know.
fn read_content(
    sources: &[Source],
    content: Content<'_>,
    target: &mut Target<'_>,
) -> Result<Option<String>, InputError> {
    let source = &sources[target.number];
    let unfinished = read_one(source, content, target).map_err(|fault| match *fault.problem {
        Problem::Doubled(duplicate) => InputError::duplicate(sources, *duplicate),
        problem => Fault { problem: Box::new(problem), ..fault }.of(source),
    })?;
    Ok(unfinished
        .map(|record| format!("{source}: the last record, {record}, is unfinished; everything before it counts")))
}

/// As [`read`], from memory, as if the bytes came from standard input.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_bytes(bytes: &[u8], options: &Options, sink: &mut dyn Sink) -> Result<Vec<String>, InputError> {
    let source = [Source::STDIN];
    let content = Content::of(bytes, options.format).map_err(|problem| InputError::new(&source[0], problem))?;
    let mut target = Target { number: 0, options, sink, left_out: &mut LeftOut::default() };
    Ok(read_content(&source, content, &mut target)?.into_iter().collect())
}

/// As [`read`]; says on standard error what should be known. Also in a quiet command: something is missing in its answer.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_noted(
    sources: &[Source],
    options: &Options,
    show_progress: bool,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    for note in read(sources, options, show_progress, sink)? {
        let _ = writeln!(io::stderr().lock(), "softadapt: warning: {note}");
    }
    Ok(())
}

/// The sources of a command line.
///
/// # Errors
/// As [`expand`], or standard input is there twice.
pub(crate) fn sources(arguments: &[PathBuf]) -> Result<Vec<Source>, Error> {
    let sources = expand(arguments)?;
    if sources.iter().filter(|source| source.is_stdin()).count() > 1 {
        return Err(Error::StdinTwice);
    }
    Ok(sources)
}

/// Reads one source. Returns the number of a last record that is not whole.
fn read_one(source: &Source, content: Content<'_>, target: &mut Target<'_>) -> Result<Option<u64>, Fault> {
    match content.format {
        Format::Csv => csv::read(content.stream(), target)?,
        Format::Jsonl => jsonl::read(content.stream(), target)?,
        Format::Parquet => match content.file {
            Some((path, progress)) => parquet::read(|| detect::open(path), Some(progress), target)?,
            None => {
                let bytes = content.bytes()?;
                parquet::read(|| Ok(bytes.clone()), None, target)?;
            }
        },
        Format::Arrow if content.is_arrow_file() => match content.file {
            Some((path, _)) => arrow::read_file(|| detect::open(path), target)?,
            None => {
                let bytes = content.bytes()?;
                arrow::read_file(|| Ok(io::Cursor::new(bytes.clone())), target)?;
            }
        },
        Format::Arrow => arrow::read_stream(content.stream(), target)?,
        Format::Events => return events::read(content.stream(), &source.run(), target),
    }
    Ok(None)
}
