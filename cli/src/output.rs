//! Tables as CSV, JSON Lines or Parquet, to standard output or into a file that appears complete or not at all.

mod parquet;

use crate::args::Format;
use crate::error::{Error, Failure};
use crate::interrupt;
use crate::runs::Runs;
use softadapt::Weights;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

/// A number that prints in few digits and reads back as itself.
pub(crate) trait Number: Copy + fmt::Display + fmt::LowerExp {
    /// The kind of columns that hold it.
    const KIND: Kind;

    /// Whether it is neither NaN nor infinite.
    fn is_number(self) -> bool;

    /// It as a field.
    fn cell(self) -> Cell<'static>;
}

impl Number for f32 {
    const KIND: Kind = Kind::Single;

    fn is_number(self) -> bool {
        self.is_finite()
    }

    fn cell(self) -> Cell<'static> {
        Cell::Single(self)
    }
}

impl Number for f64 {
    const KIND: Kind = Kind::Double;

    fn is_number(self) -> bool {
        self.is_finite()
    }

    fn cell(self) -> Cell<'static> {
        Cell::Double(self)
    }
}

/// Shortest decimal that reads back as the same number; `nan`, `inf` and `-inf` in words.
#[derive(Clone, Copy, Debug)]
struct Shortest<T>(T);

impl<T: Number> fmt::Display for Shortest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rust prints the fewest digits that identify the number, in both forms.
        let plain = self.0.to_string();
        let scientific = format!("{:e}", self.0);
        match (self.0.is_number(), plain.as_str()) {
            (false, "NaN") => f.write_str("nan"),
            (true, _) if scientific.len() < plain.len() => f.write_str(&scientific),
            _ => f.write_str(&plain),
        }
    }
}

/// What a column of an output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    /// 32-bit floats.
    Single,
    /// 64-bit floats.
    Double,
}

/// A field of an output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Integer(i64),
    Single(f32),
    Double(f64),
}

impl Cell<'_> {
    fn write(self, text: &mut String) {
        text.clear();
        // Writing to a string does not fail.
        let _ = match self {
            Cell::Text(name) => write!(text, "{name}"),
            Cell::Integer(number) => write!(text, "{number}"),
            Cell::Single(number) => write!(text, "{}", Shortest(number)),
            Cell::Double(number) => write!(text, "{}", Shortest(number)),
        };
    }
}

/// A table on its way out, row by row, in any format.
pub(crate) struct Table<'w> {
    columns: Vec<(String, Kind)>,
    writer: Writer<'w>,
    text: String,
}

enum Writer<'w> {
    Csv(Box<csv::Writer<&'w mut (dyn Write + Send)>>),
    Json(&'w mut (dyn Write + Send)),
    Parquet(Box<parquet::Rows<'w>>),
}

impl<'w> Table<'w> {
    /// Writes the header, where there is one.
    ///
    /// # Errors
    /// What the writer says.
    pub(crate) fn new(
        out: &'w mut (dyn Write + Send),
        format: Format,
        columns: Vec<(String, Kind)>,
    ) -> io::Result<Self> {
        let writer = match format {
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(out);
                csv.write_record(columns.iter().map(|(name, _)| name)).map_err(io_error)?;
                Writer::Csv(Box::new(csv))
            }
            Format::Json => Writer::Json(out),
            Format::Parquet => Writer::Parquet(Box::new(parquet::Rows::new(out, &columns)?)),
        };
        Ok(Self { columns, writer, text: String::new() })
    }

    /// Writes a row: a cell for each column, of its kind.
    ///
    /// # Errors
    /// What the writer says.
    pub(crate) fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        match &mut self.writer {
            Writer::Csv(csv) => {
                for cell in cells {
                    match cell {
                        Cell::Text(name) => csv.write_field(name).map_err(io_error)?,
                        cell => {
                            cell.write(&mut self.text);
                            csv.write_field(&self.text).map_err(io_error)?;
                        }
                    }
                }
                csv.write_record(None::<&[u8]>).map_err(io_error)
            }
            Writer::Json(out) => {
                for (i, ((name, _), &cell)) in self.columns.iter().zip(cells).enumerate() {
                    out.write_all(if i == 0 { b"{" } else { b"," })?;
                    serde_json::to_writer(&mut *out, name)?;
                    out.write_all(b":")?;
                    match cell {
                        Cell::Text(name) => serde_json::to_writer(&mut *out, name)?,
                        // JSON has no word for them.
                        Cell::Single(number) if !number.is_finite() => out.write_all(b"null")?,
                        Cell::Double(number) if !number.is_finite() => out.write_all(b"null")?,
                        cell => {
                            cell.write(&mut self.text);
                            out.write_all(self.text.as_bytes())?;
                        }
                    }
                }
                out.write_all(b"}\n")
            }
            Writer::Parquet(rows) => rows.add(cells),
        }
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// What the writer says.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self.writer {
            Writer::Csv(mut csv) => csv.flush(),
            Writer::Json(_) => Ok(()),
            Writer::Parquet(rows) => rows.finish(),
        }
    }
}

/// The error of the writer itself: the crate's own conversion hides its kind, and with it a closed pipe.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Writes one line a component, run after run.
///
/// # Errors
/// What the writer says.
pub(crate) fn write_weights<T: Number>(
    out: &mut (dyn Write + Send),
    format: Format,
    runs: &Runs,
    weights: &Weights<T>,
) -> io::Result<()> {
    let kinds = [Kind::Text, Kind::Text, T::KIND, T::KIND, T::KIND, Kind::Text];
    let names = ["run", "component", "weight", "slope", "mean_loss", "status"];
    let columns = names.iter().zip(kinds).map(|(&name, kind)| (name.to_owned(), kind)).collect();
    let mut table = Table::new(out, format, columns)?;
    // The rows of a ragged row-major shape follow one another.
    let mut row = 0;
    for run in 0..runs.len() {
        let status = weights.status[run].to_string();
        for component in runs.components(run) {
            let [weight, slope, mean] = [&weights.weights, &weights.slopes, &weights.means].map(|x| x[row].cell());
            let cells = [Cell::Text(runs.name(run)), Cell::Text(component), weight, slope, mean, Cell::Text(&status)];
            table.row(&cells)?;
            row += 1;
        }
    }
    table.finish()
}

/// Bytes written at once.
const BUFFER: usize = 1 << 16;

/// Where an output goes.
#[derive(Debug)]
pub(crate) enum Output {
    Stdout,
    /// A regular file: written under another name beside it, then renamed.
    File {
        path: PathBuf,
        folder: PathBuf,
    },
    /// Something that cannot be replaced by a file, such as a pipe or a terminal.
    Device(PathBuf),
}

impl Output {
    /// Checks what can be checked before any work is done.
    ///
    /// # Errors
    /// A path that is a directory or lies in none.
    pub(crate) fn new(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else { return Ok(Self::Stdout) };
        let fail = |error| Error::Output { path: Some(path.to_path_buf()), error };
        // A link stays a link: what it points to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        match fs::metadata(&path) {
            Ok(data) if data.is_dir() => return Err(fail(io::ErrorKind::IsADirectory.into())),
            Ok(data) if !data.is_file() => return Ok(Self::Device(path)),
            _ => {}
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        if !fs::metadata(&folder).map_err(fail)?.is_dir() {
            return Err(fail(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self::File { path, folder })
    }

    /// Lets `write` write everything, then gives it its final name.
    ///
    /// # Errors
    /// Any error of writing; a file of the final name is as it was before.
    pub(crate) fn write(&self, write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>) -> Result<(), Error> {
        self.write_all(|out| Ok(write(out)?))
    }

    /// As [`Self::write`], for what is written while it is made. What cannot be renamed, as standard output, waits in a
    /// nameless temporary file until it is whole: whoever reads it gets everything or nothing.
    ///
    /// # Errors
    /// Any error of writing or making; a file of the final name is as it was before.
    pub(crate) fn write_from(
        &self,
        write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), Failure>,
    ) -> Result<(), Error> {
        if let Self::File { .. } = self {
            return self.write_all(write);
        }
        let fail = |error| Error::Temporary { error };
        let mut file = tempfile::tempfile().map_err(fail)?;
        let mut out = BufWriter::with_capacity(BUFFER, &mut file);
        write(&mut out).and_then(|()| Ok(out.flush()?)).map_err(|failure| match failure {
            Failure::Write(error) => fail(error),
            Failure::Other(error) => *error,
        })?;
        drop(out);
        file.rewind().map_err(fail)?;
        self.write(|out| io::copy(&mut file, out).map(drop))
    }

    fn write_all(&self, write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), Failure>) -> Result<(), Error> {
        let (path, result) = match self {
            Self::Stdout => {
                // Not locked: Parquet's writer wants to be sent between threads.
                let mut out = BufWriter::with_capacity(BUFFER, io::stdout());
                (None, write(&mut out).and_then(|()| Ok(out.flush()?)))
            }
            Self::Device(path) => {
                let file = fs::OpenOptions::new().write(true).open(path);
                let result = file.map_err(Failure::from).and_then(|file| {
                    let mut out = BufWriter::with_capacity(BUFFER, file);
                    write(&mut out)?;
                    Ok(out.flush()?)
                });
                (Some(path), result)
            }
            Self::File { path, folder } => (Some(path), replace(path, folder, write)),
        };
        result.map_err(|failure| match failure {
            Failure::Write(error) => Error::Output { path: path.cloned(), error },
            Failure::Other(error) => *error,
        })
    }
}

fn replace(
    path: &Path,
    folder: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".softadapt-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is private, a result as public as any other new file.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    // Removed when it goes out of scope, unless it was renamed.
    let mut file = builder.tempfile_in(folder)?;
    if let Ok(data) = fs::metadata(path) {
        file.as_file().set_permissions(data.permissions())?;
    }
    let guard = interrupt::remove_on_interrupt(file.path());
    let mut out = BufWriter::with_capacity(BUFFER, &mut file);
    write(&mut out)?;
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    let result = guard.keep(|| file.persist(path).map(drop).map_err(|error| error.error));
    sync_folder(folder);
    Ok(result?)
}

/// A new name is on the disk only after its folder is; where that cannot be had, the file is there all the same.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn numbers_are_short_and_read_back_as_themselves() {
        for (number, text) in [
            (0.0f32, "0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.33333334"),
            (1e-10, "1e-10"),
            (3.0e38, "3e38"),
            (16_777_216.0, "16777216"),
            (-0.001, "-1e-3"),
            (0.25, "0.25"),
            (f32::NAN, "nan"),
            (-f32::NAN, "nan"),
            (f32::INFINITY, "inf"),
            (f32::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(Shortest(number).to_string(), text);
        }
        assert_eq!(Shortest(0.1f64 + 0.2).to_string(), "0.30000000000000004");
        for number in [f64::MIN_POSITIVE, 5e-324, f64::MAX, -1.0 / 3.0, 123_456.789] {
            assert_eq!(Shortest(number).to_string().parse::<f64>().unwrap(), number);
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.csv");
        fs::write(&path, "old").unwrap();
        let output = Output::new(Some(&path)).unwrap();
        let failed = output.write(|out| {
            out.write_all(b"half")?;
            Err(io::Error::other("disk on fire"))
        });
        assert!(failed.unwrap_err().to_string().ends_with("weights.csv: cannot be written: disk on fire"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        output.write(|out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_permissions_and_devices_stay_what_they_are() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        Output::new(Some(&link)).unwrap().write(|out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        Output::new(Some(Path::new("/dev/null"))).unwrap().write(|out| out.write_all(b"new")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
