//! CSV in long form, `run,step,component,value`, and in wide form, `run,step,<component>...`, told apart by the header.
//!
//! Accepted beyond that: a UTF-8 byte order mark, CRLF line ends, blank lines, quoted fields, blanks around fields, other
//! columns in long form. All columns of a wide form besides run and step are components.

use super::Target;
use super::error::{Fault, Problem};
use super::header::{Form, Header};
use super::memo::Memo;
use super::values::{number, shown, step};
use crate::runs::{ComponentId, Place, RunId, Unit};
use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use std::io::Read;

/// Bytes read at once.
const BUFFER: usize = 1 << 18;

/// Reads one source.
///
/// # Errors
/// The first thing that is wrong, with its line and column.
pub(super) fn read(mut input: impl Read, target: &mut Target<'_>) -> Result<(), Fault> {
    let start = start(&mut input)?;
    let mut lines = Lines::new(start.as_slice().chain(input));
    let Some(line) = lines.next()? else { return Err(Problem::Empty.into()) };
    let names: Result<Vec<String>, Problem> =
        (0..lines.record.len()).map(|i| name(field(&lines.record, i)).map(str::to_owned)).collect();
    let header = names.and_then(|names| {
        // Everything would be one line, and the answer an empty one.
        let lone = |name: &String| name.replace("\r\n", "").contains('\r');
        if names.iter().any(lone) { Err(Problem::CarriageReturns) } else { Header::new(names, &target.options.columns) }
    });
    let header = header.map_err(|problem| Fault::new(Unit::Line, line, problem))?;
    let components: Vec<(usize, ComponentId)> = match &header.form {
        Form::Long { .. } => Vec::new(),
        Form::Wide { components } => {
            components.iter().filter_map(|&i| Some((i, target.component(&header.names[i])?))).collect()
        }
    };
    let mut rows = Rows { header, wide: components, runs: Memo::new(), components: Memo::new() };
    while let Some(line) = lines.next()? {
        rows.add(&lines.record, line, target)?;
        target.sink.count_row();
    }
    Ok(())
}

/// The first bytes, without a byte order mark.
fn start(input: &mut impl Read) -> Result<Vec<u8>, Problem> {
    let mut start = Vec::with_capacity(3);
    input.take(3).read_to_end(&mut start).map_err(Problem::Read)?;
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return Err(Problem::Utf16);
    }
    if start == [0xef, 0xbb, 0xbf] {
        start.clear();
    }
    Ok(start)
}

/// Records with their line numbers.
struct Lines<R> {
    reader: Reader<R>,
    record: ByteRecord,
}

impl<R: Read> Lines<R> {
    /// The newline makes every record a terminated one, see [`Lines::next`].
    fn new(input: R) -> Lines<std::io::Chain<R, &'static [u8]>> {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER)
            // The default ends records at `\r` and counts lines at `\n`; carriage returns are trimmed from fields here.
            .terminator(Terminator::Any(b'\n'))
            .from_reader(input.chain(&b"\n"[..]));
        Lines { reader, record: ByteRecord::new() }
    }

    /// Reads the next record that is not blank; its first line, from 1.
    fn next(&mut self) -> Result<Option<u64>, Fault> {
        loop {
            let before = self.reader.position().line();
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    let problem = match error.into_kind() {
                        csv::ErrorKind::Io(error) => Problem::Read(error),
                        other => Problem::Read(std::io::Error::other(format!("{other:?}"))),
                    };
                    return Err(Fault::new(Unit::Line, before, problem));
                }
            }
            // The reader has passed blank lines, then the record's own: count back from its end.
            let after = self.reader.position().line();
            let own =
                if after - before > 1 { self.record.as_slice().iter().filter(|&&b| b == b'\n').count() } else { 0 };
            if !(self.record.len() == 1 && field(&self.record, 0).is_empty()) {
                // A quote that is never closed has swallowed the newline that was added at the end: not before `before`.
                return Ok(Some(after.saturating_sub(own as u64 + 1).max(before)));
            }
        }
    }
}

/// A field without blanks around it; empty if there is none.
fn field(record: &ByteRecord, index: usize) -> &[u8] {
    record.get(index).unwrap_or_default().trim_ascii()
}

/// Turns records into values of a log.
struct Rows {
    header: Header,
    /// Columns of the wide form that count.
    wide: Vec<(usize, ComponentId)>,
    runs: Memo<RunId>,
    /// Components of the long form; `None` of one that does not count.
    components: Memo<Option<ComponentId>>,
}

impl Rows {
    fn add(&mut self, record: &ByteRecord, line: u64, target: &mut Target<'_>) -> Result<(), Fault> {
        let header = &self.header;
        let fault = |index: usize, problem: Problem| Fault {
            column: Some(header.names[index].clone()),
            ..Fault::new(Unit::Line, line, problem)
        };
        if record.len() != header.names.len() {
            let open_quote = record.iter().next_back().is_some_and(|field| field.contains(&b'\n'));
            let problem = Problem::Fields { fields: record.len(), columns: header.names.len(), open_quote };
            return Err(Fault::new(Unit::Line, line, problem));
        }
        let place = Place::new(target.number, Unit::Line, line);
        let text = field(record, header.step);
        let step =
            step(text).map_err(|reason| fault(header.step, Problem::Step { text: shown(text), fault: reason }))?;
        let named = |index: usize| match name(field(record, index)) {
            Ok("") => Err(fault(index, Problem::EmptyName)),
            Ok(name) => Ok(name),
            Err(problem) => Err(fault(index, problem)),
        };
        let value = |index: usize| {
            let text = field(record, index);
            number(text).ok_or_else(|| fault(index, Problem::NotANumber { text: shown(text) }))
        };
        let bytes = field(record, header.run);
        let run = match self.runs.get(bytes) {
            Some(run) => run,
            None => {
                let run = target.sink.run(named(header.run)?);
                self.runs.insert(bytes, run);
                run
            }
        };
        let of_sink = |problem| Fault::new(Unit::Line, line, problem);
        match header.form {
            Form::Long { component, value: column } => {
                let value = value(column)?;
                let bytes = field(record, component);
                let id = match self.components.get(bytes) {
                    Some(id) => id,
                    None => {
                        let id = target.component(named(component)?);
                        self.components.insert(bytes, id);
                        id
                    }
                };
                if let Some(id) = id {
                    target.sink.push(run, id, step, value, place, true).map_err(of_sink)?;
                }
            }
            Form::Wide { .. } => {
                for &(index, component) in &self.wide {
                    let filled = !field(record, index).is_empty();
                    target.sink.push(run, component, step, value(index)?, place, filled).map_err(of_sink)?;
                }
            }
        }
        Ok(())
    }
}

/// A name as text.
fn name(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|_| Problem::NotUtf8 { text: shown(bytes) })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::input::{LeftOut, Options};
    use crate::runs::{Log, OnDuplicate, Runs};

    fn log(text: &[u8]) -> Result<Log, Fault> {
        let mut log = Log::new(2, OnDuplicate::Error);
        let options = Options::default();
        let mut target = Target { number: 0, options: &options, sink: &mut log, left_out: &mut LeftOut::default() };
        read(text, &mut target).map(|()| log)
    }

    fn runs(text: &[u8]) -> Runs {
        log(text).unwrap().into_runs().unwrap()
    }

    #[test]
    fn forms_line_ends_marks_and_blanks_do_not_matter() {
        let long = runs(b"run,step,component,value\nr,0,a,1\nr,0,b,2\nr,1,a,3\nr,1,b,\n");
        let expected = [1.0, 3.0, 2.0, f64::NAN];
        let equal = |runs: &Runs| {
            runs.losses().iter().zip(&expected).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
                && runs.components(0).eq(["a", "b"])
        };
        assert!(equal(&long));
        for text in [
            &b"run,step,a,b\nr,0,1,2\nr,1,3,\n"[..],
            b"\xef\xbb\xbfrun,step,a,b\r\nr,0,1,2\r\nr,1,3,\r\n",
            b"\xef\xbb\xbf\"run\",\"step\",\"a\",\"b\"\r\n\"r\",\"0\",\"1\",\"2\"\r\n\"r\",\"1\",\"3\",\"\"",
            b"\n\n run , step,a , b\n\nr,0, 1,2\n\n\nr ,1,3,nan",
            b"b,step,a,run\n2,0,1,r\n,1,3,r\n",
        ] {
            // The last has its components the other way round.
            let runs = runs(text);
            let swapped = runs.components(0).eq(["b", "a"]) && runs.losses()[..1] == [2.0];
            assert!(equal(&runs) || swapped, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn lines_are_counted_over_blanks_quotes_and_both_line_ends() {
        let line = |text: &[u8]| log(text).map(|_| ()).unwrap_err().place.map(|(_, line)| line);
        assert_eq!(line(b"run,step,a\nr,0,x\n"), Some(2));
        assert_eq!(line(b"run,step,a\nr,0,x"), Some(2));
        assert_eq!(line(b"run,step,a\r\nr,0,1\r\nr,1,x\r\n"), Some(3));
        assert_eq!(line(b"\r\n\r\nrun,step,a\r\n\r\n\r\nr,0,1\r\n\r\nr,1,x"), Some(8));
        assert_eq!(line(b"\n\nrun,step,a\n\n\nr,0,1\n\nr,1,x"), Some(8));
        // A record is where it starts.
        assert_eq!(line(b"run,step,a\n\"r\n\ns\",0,1\n\nr,1,x\n"), Some(6));
        assert_eq!(line(b"run,step,a\n\n\"r\n\ns\",0,x\n"), Some(3));
        assert_eq!(line(b"run,step\n"), Some(1));
    }
}
