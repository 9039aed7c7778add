//! CSV in long form, `run,step,component,value`, and in wide form, `run,step,<component>...`, told apart by the header.
//!
//! Accepted beyond that: a UTF-8 byte order mark, CRLF line ends, blank lines, quoted fields, blanks around fields, other
//! columns in long form. All columns of a wide form besides run and step are components.
//!
//! Logs hardly ever quote. Up to the first quotation mark a record is a line and a field ends at a comma, which `memchr` finds
//! faster than any parser can; from there on it is the csv crate that reads.

use super::error::{Fault, Problem};
use super::header::{Form, Header};
use super::memo::Memo;
use super::values::{number, shown, step};
use super::{LONGEST_LINE, Target};
use crate::runs::{ComponentId, Place, RunId, Unit};
use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use memchr::{memchr, memchr_iter};
use std::io::{self, Cursor, Read};
use std::ops::Range;

/// Bytes read at once.
const BUFFER: usize = 1 << 18;

/// Reads one source.
///
/// # Errors
/// The first thing that is wrong, with its line and column.
pub(super) fn read(mut input: impl Read, target: &mut Target<'_>) -> Result<(), Fault> {
    let start = start(&mut input)?;
    let mut lines = Lines::new(Cursor::new(start).chain(input));
    let Some((line, record)) = lines.next()? else { return Err(Problem::Empty.into()) };
    let names: Result<Vec<String>, Problem> =
        (0..record.len()).map(|i| name(record.field(i)).map(str::to_owned)).collect();
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
    while let Some((line, record)) = lines.next()? {
        rows.add(record, line, target)?;
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

/// The fields of a record.
#[derive(Clone, Copy)]
struct Record<'a> {
    text: &'a [u8],
    fields: &'a [Range<usize>],
}

impl<'a> Record<'a> {
    fn len(self) -> usize {
        self.fields.len()
    }

    /// A field without blanks around it; empty if there is none.
    fn field(self, index: usize) -> &'a [u8] {
        self.fields.get(index).map_or(&[][..], |range| self.text[range.clone()].trim_ascii())
    }

    /// Whether the last field goes over a line's end, as after a quotation mark that is never closed.
    fn is_torn(self) -> bool {
        self.fields.last().is_some_and(|range| self.text[range.clone()].contains(&b'\n'))
    }
}

/// Records with their line numbers.
struct Lines<R: Read> {
    /// Lines without quotation marks; then lines with any.
    plain: Plain<R>,
    quoted: Option<Quoted<R>>,
    /// Of the newest record.
    fields: Vec<Range<usize>>,
}

impl<R: Read> Lines<R> {
    fn new(input: R) -> Self {
        let plain =
            Plain { input: Some(input), bytes: Vec::new(), next: 0, searched: 0, plain: 0, filled: 0, lines: 0 };
        Self { plain, quoted: None, fields: Vec::new() }
    }

    /// Reads the next record that is not blank; its first line, from 1.
    fn next(&mut self) -> Result<Option<(u64, Record<'_>)>, Fault> {
        if self.quoted.is_none() {
            match self.plain.next()? {
                Line::Plain(range) => {
                    let text = &self.plain.bytes[range];
                    self.fields.clear();
                    let mut start = 0;
                    for end in memchr_iter(b',', text) {
                        self.fields.push(start..end);
                        start = end + 1;
                    }
                    self.fields.push(start..text.len());
                    return Ok(Some((self.plain.lines, Record { text, fields: &self.fields })));
                }
                Line::End => return Ok(None),
                Line::Quoted(input) => self.quoted = Some(Quoted::new(input, self.plain.lines)),
            }
        }
        let Some(quoted) = &mut self.quoted else { return Ok(None) };
        let Some(line) = quoted.next()? else { return Ok(None) };
        let record = &quoted.record;
        self.fields.clear();
        self.fields.extend((0..record.len()).filter_map(|i| record.range(i)));
        Ok(Some((line, Record { text: record.as_slice(), fields: &self.fields })))
    }
}

/// What comes next.
enum Line<R> {
    /// Where it stands in the buffer, without its newline.
    Plain(Range<usize>),
    End,
    /// It may have a quotation mark: from here on the input is another reader's.
    Quoted(Rest<R>),
}

/// What has been read ahead, and what follows.
type Rest<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// Lines up to the first quotation mark.
struct Plain<R> {
    /// `None` once it has been passed on.
    input: Option<R>,
    bytes: Vec<u8>,
    /// Where the next line starts, and where its end has yet to be looked for.
    next: usize,
    searched: usize,
    /// Up to here there is no quotation mark; up to there, bytes have been read.
    plain: usize,
    filled: usize,
    /// Lines so far.
    lines: u64,
}

impl<R: Read> Plain<R> {
    /// The next line that is not blank.
    fn next(&mut self) -> Result<Line<R>, Fault> {
        loop {
            let Some(length) = memchr(b'\n', &self.bytes[self.searched..self.plain]) else {
                self.searched = self.plain;
                if self.plain < self.filled {
                    return Ok(self.pass_on());
                }
                if self.fill()? {
                    continue;
                }
                // The last line needs no newline.
                let line = self.next..self.filled;
                self.next = self.filled;
                if self.bytes[line.clone()].trim_ascii().is_empty() {
                    return Ok(Line::End);
                }
                self.lines += 1;
                return Ok(Line::Plain(line));
            };
            let line = self.next..self.searched + length;
            self.next = line.end + 1;
            self.searched = self.next;
            self.lines += 1;
            if !self.bytes[line.clone()].trim_ascii().is_empty() {
                return Ok(Line::Plain(line));
            }
        }
    }

    /// Reads on; whether there was more.
    fn fill(&mut self) -> Result<bool, Fault> {
        let Some(input) = &mut self.input else { return Ok(false) };
        // The line that is not whole moves to the front; a long one gets twice the room.
        if self.next > 0 {
            self.bytes.copy_within(self.next..self.filled, 0);
            self.filled -= self.next;
            self.searched -= self.next;
            self.next = 0;
        }
        if self.filled > LONGEST_LINE {
            return Err(Fault::new(Unit::Line, self.lines + 1, Problem::LongLine { bytes: LONGEST_LINE }));
        }
        if self.bytes.len() - self.filled < BUFFER {
            self.bytes.resize((2 * self.filled).max(2 * BUFFER), 0);
        }
        let read = loop {
            match input.read(&mut self.bytes[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::new(Unit::Line, self.lines + 1, Problem::Read(error))),
                Ok(read) => break read,
            }
        };
        let new = self.filled..self.filled + read;
        self.plain = memchr(b'"', &self.bytes[new.clone()]).map_or(new.end, |mark| new.start + mark);
        self.filled = new.end;
        Ok(read > 0)
    }

    fn pass_on(&mut self) -> Line<R> {
        match self.input.take() {
            None => Line::End,
            Some(input) => {
                self.bytes.truncate(self.filled);
                self.bytes.drain(..self.next);
                Line::Quoted(Cursor::new(std::mem::take(&mut self.bytes)).chain(input))
            }
        }
    }
}

/// Records of the csv crate.
struct Quoted<R> {
    /// The newline makes every record a terminated one, see [`Quoted::next`].
    reader: Reader<io::Chain<Rest<R>, &'static [u8]>>,
    record: ByteRecord,
    /// Lines before.
    lines: u64,
}

impl<R: Read> Quoted<R> {
    fn new(input: Rest<R>, lines: u64) -> Self {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER)
            // The default ends records at `\r` and counts lines at `\n`; carriage returns are trimmed from fields here.
            .terminator(Terminator::Any(b'\n'))
            .from_reader(input.chain(&b"\n"[..]));
        Self { reader, record: ByteRecord::new(), lines }
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
                        other => Problem::Read(io::Error::other(format!("{other:?}"))),
                    };
                    return Err(Fault::new(Unit::Line, self.lines + before, problem));
                }
            }
            // The reader has passed blank lines, then the record's own: count back from its end.
            let after = self.reader.position().line();
            let own =
                if after - before > 1 { self.record.as_slice().iter().filter(|&&b| b == b'\n').count() } else { 0 };
            if !(self.record.len() == 1 && self.record[0].trim_ascii().is_empty()) {
                // A quote that is never closed has swallowed the newline that was added at the end: not before `before`.
                return Ok(Some(self.lines + after.saturating_sub(own as u64 + 1).max(before)));
            }
        }
    }
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
    fn add(&mut self, record: Record<'_>, line: u64, target: &mut Target<'_>) -> Result<(), Fault> {
        let header = &self.header;
        let fault = |index: usize, problem: Problem| Fault {
            column: Some(header.names[index].clone()),
            ..Fault::new(Unit::Line, line, problem)
        };
        if record.len() != header.names.len() {
            let (fields, columns) = (record.len(), header.names.len());
            let problem = Problem::Fields { fields, columns, open_quote: record.is_torn() };
            return Err(Fault::new(Unit::Line, line, problem));
        }
        let place = Place::new(target.number, Unit::Line, line);
        let text = record.field(header.step);
        let step =
            step(text).map_err(|reason| fault(header.step, Problem::Step { text: shown(text), fault: reason }))?;
        let named = |index: usize| match name(record.field(index)) {
            Ok("") => Err(fault(index, Problem::EmptyName)),
            Ok(name) => Ok(name),
            Err(problem) => Err(fault(index, problem)),
        };
        let value = |index: usize| {
            let text = record.field(index);
            number(text).ok_or_else(|| fault(index, Problem::NotANumber { text: shown(text) }))
        };
        let bytes = record.field(header.run);
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
                let bytes = record.field(component);
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
                    let filled = !record.field(index).is_empty();
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

    /// Bytes that come in pieces of any size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.1.min(buffer.len());
            self.0.take(piece as u64).read(buffer).inspect(|&read| self.0 = &self.0[read..])
        }
    }

    /// Records with their lines, as they come out; from a quoted first field on by the csv crate.
    fn records(text: &[u8], piece: usize) -> Vec<(u64, Vec<Vec<u8>>)> {
        let mut lines = Lines::new(Pieces(text, piece));
        let mut records = Vec::new();
        while let Some((line, record)) = lines.next().unwrap() {
            records.push((line, (0..record.len()).map(|i| record.field(i).to_vec()).collect()));
        }
        records
    }

    #[test]
    fn records_are_those_of_the_csv_crate_wherever_the_first_quotation_mark_stands() {
        let lines: [&[u8]; 12] = [
            b"a,b,c\n",
            b"\n",
            b" 1 , 2,\t3 \r\n",
            b"\r\n",
            b",,\n",
            b"long,",
            b"\n",
            b"  \n",
            b"x\rfoo,\xff\xfe,\0\n",
            b"one\n",
            b"1,2,3,4,5\n",
            b"last,without,newline",
        ];
        let long = vec![b'7'; 3 * BUFFER];
        let plain: Vec<&[u8]> = lines.iter().copied().chain([&b"\n"[..], &long, b",1\n", b"end,2"]).collect();
        let whole = plain.concat();
        // A quoted line in front makes all that follows the csv crate's.
        let quoted = records(&[b"\"q\",1\n", &whole[..]].concat(), usize::MAX);
        let expected: Vec<_> = quoted.iter().skip(1).map(|(line, record)| (line - 1, record.clone())).collect();
        assert_eq!(expected.len(), 10);
        for piece in [1, 7, BUFFER, usize::MAX] {
            assert!(records(&whole, piece) == expected, "pieces of {piece}");
        }
        // And from any line on.
        for at in 0..lines.len() {
            let mark: &[u8] = b"\"two\nlines\",\"a\"\"b\"\n";
            let text = [&plain[..at], &[mark], &plain[at..]].concat().concat();
            let all = [b"\"q\",1\n", &text[..]].concat();
            let expected: Vec<_> =
                records(&all, usize::MAX).into_iter().skip(1).map(|(line, record)| (line - 1, record)).collect();
            for piece in [1, 1000, usize::MAX] {
                assert!(records(&text, piece) == expected, "mark before {at}, pieces of {piece}");
            }
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
        // A quotation mark that is never closed takes the rest of the file.
        let fault = log(b"run,step,a\nr,0,1\n\"r,1,2\nr,2,3\n").map(|_| ()).unwrap_err();
        assert!(matches!(*fault.problem, Problem::Fields { fields: 1, columns: 3, open_quote: true }));
        assert_eq!(fault.place.map(|(_, line)| line), Some(3));
        // One that does not end.
        let endless = [&b"run,step,a\nr,0,1\nr,1,"[..], &vec![b'1'; LONGEST_LINE]].concat();
        let fault = log(&endless).map(|_| ()).unwrap_err();
        assert!(matches!(*fault.problem, Problem::LongLine { .. }));
        assert_eq!(fault.place.map(|(_, line)| line), Some(3));
    }
}
