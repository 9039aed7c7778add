//! What a source holds, by its first bytes: names of files lie.

use super::error::Problem;
use super::source::Source;
use crate::progress::Progress;
use std::fs::File;
use std::io::{self, Read};

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values, long or wide
    Csv,
}

/// Bytes that tell formats apart.
const HEAD: usize = 64;

/// A source that has been opened, and what is in it.
pub(super) struct Content<'a> {
    pub(super) format: Format,
    head: Vec<u8>,
    rest: Box<dyn Read + 'a>,
}

impl<'a> Content<'a> {
    /// Opens a source and looks through one layer of compression.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub(super) fn open(source: &Source, progress: &'a Progress) -> Result<Self, Problem> {
        let raw: Box<dyn Read + 'a> = match &source.path {
            None => Box::new(progress.watch(io::stdin().lock())),
            Some(path) => Box::new(progress.watch(File::open(path).map_err(Problem::Open)?)),
        };
        let (head, rest) = peek(raw)?;
        let (head, rest) = match Compression::of(&head) {
            None => (head, rest),
            Some(compression) => peek(compression.open(io::Cursor::new(head).chain(rest)).map_err(Problem::Read)?)?,
        };
        Ok(Self { format: Format::Csv, head, rest })
    }

    /// Everything from the first byte.
    pub(super) fn stream(self) -> impl Read + use<'a> {
        io::Cursor::new(self.head).chain(self.rest)
    }
}

fn peek<'a>(mut input: Box<dyn Read + 'a>) -> Result<(Vec<u8>, Box<dyn Read + 'a>), Problem> {
    let mut head = Vec::with_capacity(HEAD);
    input.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(Problem::Read)?;
    Ok((head, input))
}

/// How bytes are packed.
#[derive(Clone, Copy, Debug)]
enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    fn open<'a>(self, input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            // Files may be several that were put behind one another.
            Self::Gzip => Box::new(Unpacked { name: "gzip", input: flate2::read::MultiGzDecoder::new(input) }),
            Self::Zstd => Box::new(Unpacked { name: "zstd", input: zstd::Decoder::new(input)? }),
        })
    }
}

/// Says of errors where they come from: "unexpected end of file" alone is no help.
struct Unpacked<R> {
    name: &'static str,
    input: R,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, format!("its {} data is damaged or incomplete ({error})", self.name)),
        })
    }
}
