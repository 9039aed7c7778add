//! What a source holds, by its first bytes: names of files lie.

use super::error::Problem;
use super::events;
use super::source::Source;
use crate::progress::Progress;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated values, long or wide
    Csv,
    /// JSON Lines, long or wide
    Jsonl,
    /// Apache Parquet
    Parquet,
    /// Arrow IPC (Feather V2), file or stream
    Arrow,
    /// TensorBoard event file
    Events,
}

impl Format {
    /// The format of a source that starts like this.
    ///
    /// # Errors
    /// It is one that cannot be read.
    fn of(head: &[u8]) -> Result<Self, Problem> {
        const OTHERS: [(&[u8], &str); 8] = [
            (b"FEA1", "a Feather V1 file: save it as Feather V2, Arrow or Parquet"),
            (b"PK\x03\x04", "a ZIP archive or a spreadsheet: unpack it or export it as CSV"),
            (b"BZh", "compressed with bzip2: use gzip or zstd"),
            (b"\xfd7zXZ", "compressed with xz: use gzip or zstd"),
            (b"\x04\x22\x4d\x18", "compressed with lz4: use gzip or zstd"),
            (b"SQLite format 3", "a SQLite database: export its table as CSV or Parquet"),
            (b"\x89HDF", "an HDF5 file: export it as CSV or Parquet"),
            (b"\x1f\x8b", "compressed twice: unpack it once"),
        ];
        if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(Problem::Unsupported { what });
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        Ok(if head.starts_with(b"PAR1") {
            Self::Parquet
        } else if head.starts_with(ARROW_FILE) || head.starts_with(&[0xff; 4]) {
            Self::Arrow
        } else if events::is_start(head) {
            Self::Events
        } else if text.starts_with(b"{") || text.starts_with(b"[") {
            Self::Jsonl
        } else {
            Self::Csv
        })
    }
}

/// First bytes of an Arrow file; a stream has the length of its first message there.
const ARROW_FILE: &[u8] = b"ARROW1";

/// Bytes that tell formats apart.
const HEAD: usize = 64;

/// A source that has been opened, and what is in it.
pub(super) struct Content<'a> {
    pub(super) format: Format,
    /// Where it can be read at any place: a regular file that is not compressed.
    pub(super) file: Option<(&'a Path, &'a Progress)>,
    head: Vec<u8>,
    rest: Box<dyn Read + 'a>,
}

impl<'a> Content<'a> {
    /// Opens a source and looks through one layer of compression.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub(super) fn open(source: &'a Source, progress: &'a Progress, wanted: Option<Format>) -> Result<Self, Problem> {
        let raw: Box<dyn Read + 'a> = match &source.path {
            None => Box::new(progress.watch(io::stdin().lock())),
            Some(path) => Box::new(progress.watch(open(path)?)),
        };
        let (content, compressed) = Self::unpack(raw, wanted)?;
        let path = source.path.as_deref().filter(|path| !compressed && path.is_file());
        Ok(Self { file: path.map(|path| (path, progress)), ..content })
    }

    /// Looks through one layer of compression of bytes in memory.
    ///
    /// # Errors
    /// They cannot be unpacked.
    pub(super) fn of(bytes: &'a [u8], wanted: Option<Format>) -> Result<Self, Problem> {
        Self::unpack(Box::new(bytes), wanted).map(|(content, _)| content)
    }

    /// What `raw` holds, and whether it was compressed.
    fn unpack(raw: Box<dyn Read + 'a>, wanted: Option<Format>) -> Result<(Self, bool), Problem> {
        let (head, rest) = peek(raw)?;
        let compression = Compression::of(&head);
        let (head, rest) = match compression {
            None => (head, rest),
            Some(compression) => peek(compression.open(io::Cursor::new(head).chain(rest)).map_err(Problem::Read)?)?,
        };
        let format = wanted.map_or_else(|| Format::of(&head), Ok)?;
        Ok((Self { format, file: None, head, rest }, compression.is_some()))
    }

    /// Whether it is Arrow's form of files, not that of streams.
    pub(super) fn is_arrow_file(&self) -> bool {
        self.head.starts_with(ARROW_FILE)
    }

    /// Everything at once, for formats that jump about, from sources in which one cannot.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn bytes(self) -> Result<Bytes, Problem> {
        let mut bytes = Vec::new();
        self.stream().read_to_end(&mut bytes).map_err(Problem::Read)?;
        Ok(bytes.into())
    }

    /// Everything from the first byte.
    pub(super) fn stream(self) -> impl Read + use<'a> {
        io::Cursor::new(self.head).chain(self.rest)
    }
}

/// Opens a file.
///
/// # Errors
/// It cannot be opened.
pub(super) fn open(path: &Path) -> Result<File, Problem> {
    File::open(path).map_err(Problem::Open)
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
