//! TensorBoard event files: scalars of one run, tags as components.
//!
//! A file is a sequence of records, each `length: u64`, checksum of the length, `length` bytes, checksum of those; all
//! little-endian, checksums CRC-32C in the format's masked form. The bytes are a protocol buffer `Event`, of which few
//! fields matter, so they are taken apart here, by the published definitions (tensorflow/core/util/event.proto,
//! framework/summary.proto, framework/tensor.proto):
//!
//! | message | fields |
//! |---|---|
//! | Event | 2 step, 5 summary |
//! | Summary | 1 value, repeated |
//! | Value | 1 tag, 2 simple value, 8 tensor |
//! | Tensor | 1 type, 2 shape, 4 content, 5 floats, 6 doubles, 7 ints, 10 long ints, 13 halves |
//!
//! A scalar is a simple value or a tensor of one number; histograms, pictures and text are passed over. A process that is
//! killed leaves its last record unfinished: everything before it counts.

use super::Target;
use super::error::{Fault, Problem};
use super::memo::Memo;
use crate::runs::{ComponentId, Place, Unit};
use std::io::{self, BufReader, Read};

/// Bytes read at once.
const BUFFER: usize = 1 << 16;
/// Length and its checksum.
const HEADER: usize = 12;
/// What a record may hold at most: a protocol buffer is limited to 2 GiB.
const LONGEST: u64 = 1 << 31;

/// Whether a source starts with a record.
pub(super) fn is_start(head: &[u8]) -> bool {
    head.first_chunk::<HEADER>().is_some_and(|header| length(header).is_some())
}

/// A record's length, if its checksum is right.
fn length(header: &[u8; HEADER]) -> Option<u64> {
    let (length, checksum) = header.split_at(8);
    let right = masked(length).to_le_bytes() == *checksum;
    right.then(|| length.try_into().map(u64::from_le_bytes).ok()).flatten()
}

/// The checksum of bytes that may hold checksums themselves: rotated, plus a constant.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Reads one source; `run` is its run. Returns whether the last record is unfinished.
///
/// # Errors
/// A checksum that is wrong, or a record that is none.
pub(super) fn read(input: impl Read, run: &str, target: &mut Target<'_>) -> Result<Option<u64>, Fault> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let run = target.sink.run(run);
    let mut components: Memo<Option<ComponentId>> = Memo::new();
    let (mut record, mut number) = (Vec::new(), 0);
    loop {
        number += 1;
        let at = |problem: Problem| Fault::new(Unit::Record, number, problem);
        let mut header = [0; HEADER];
        match fill(&mut input, &mut header).map_err(|error| at(Problem::Read(error)))? {
            0 => return Ok(None),
            HEADER => {}
            _ => return Ok(Some(number)),
        }
        let length = length(&header).ok_or_else(|| at(Problem::Checksum { of: "length" }))?;
        if length > LONGEST {
            return Err(at(Problem::LongRecord { length }));
        }
        // Not reserved at once: the file may be shorter than it says.
        record.clear();
        let read = input.by_ref().take(length + 4).read_to_end(&mut record);
        if (read.map_err(|error| at(Problem::Read(error)))? as u64) < length + 4 {
            return Ok(Some(number));
        }
        let checksum = record.split_off(length as usize);
        if masked(&record).to_le_bytes() != *checksum {
            return Err(at(Problem::Checksum { of: "content" }));
        }
        let scalars = Event(&record).scalars().ok_or_else(|| at(Problem::NotAnEvent))?;
        let place = Place::new(target.number, Unit::Record, number);
        for (tag, step, value) in scalars {
            let id = match components.get(tag) {
                Some(id) => id,
                None => {
                    let name = std::str::from_utf8(tag)
                        .map_err(|_| at(Problem::NotUtf8 { text: super::values::shown(tag) }))?;
                    let id = if name.is_empty() { return Err(at(Problem::EmptyKey)) } else { target.component(name) };
                    components.insert(tag, id);
                    id
                }
            };
            if let Some(component) = id {
                target.sink.count_row();
                target.sink.push(run, component, step, value, place, true).map_err(at)?;
            }
        }
    }
}

/// Reads until `buffer` is full or the input ends; how many bytes there were.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// An encoded event.
struct Event<'a>(&'a [u8]);

impl<'a> Event<'a> {
    /// Tag, step and value of every scalar; `None` if it is no protocol buffer.
    fn scalars(&self) -> Option<Vec<(&'a [u8], i64, f64)>> {
        let (mut step, mut summaries) = (0, Vec::new());
        for field in Fields(self.0) {
            match field? {
                (2, Wire::Varint(value)) => step = value as i64,
                (5, Wire::Bytes(summary)) => summaries.push(summary),
                _ => {}
            }
        }
        let mut scalars = Vec::new();
        for summary in summaries {
            for field in Fields(summary) {
                if let (1, Wire::Bytes(value)) = field?
                    && let (tag, Some(value)) = scalar(value)?
                {
                    scalars.push((tag, step, value));
                }
            }
        }
        Some(scalars)
    }
}

/// Tag and number of a summary's value, which may be something else than a number.
fn scalar(value: &[u8]) -> Option<(&[u8], Option<f64>)> {
    let (mut tag, mut number) = (&b""[..], None);
    for field in Fields(value) {
        match field? {
            (1, Wire::Bytes(bytes)) => tag = bytes,
            (2, Wire::Fixed32(bits)) => number = Some(f64::from(f32::from_bits(bits))),
            (8, Wire::Bytes(tensor)) => number = tensor_of_one(tensor)?,
            _ => {}
        }
    }
    Some((tag, number))
}

/// The number in a tensor that holds one.
fn tensor_of_one(tensor: &[u8]) -> Option<Option<f64>> {
    let (mut kind, mut numbers, mut count) = (0, None, 0usize);
    for field in Fields(tensor) {
        let (bytes, kind_of_field) = match field? {
            (1, Wire::Varint(value)) => {
                kind = value;
                continue;
            }
            // Raw numbers of the tensor's own type, which may be said later.
            (4, Wire::Bytes(bytes)) => (bytes, 0),
            (5, Wire::Bytes(bytes)) => (bytes, FLOAT),
            (6, Wire::Bytes(bytes)) => (bytes, DOUBLE),
            // One number that is not packed.
            (5, Wire::Fixed32(bits)) => {
                (numbers, count) = (Some(Number::Value(f64::from(f32::from_bits(bits)))), count + 1);
                continue;
            }
            (6, Wire::Fixed64(bits)) => {
                (numbers, count) = (Some(Number::Value(f64::from_bits(bits))), count + 1);
                continue;
            }
            (7 | 10, Wire::Varint(value)) => {
                (numbers, count) = (Some(Number::Value(value as i64 as f64)), count + 1);
                continue;
            }
            (7 | 10, Wire::Bytes(bytes)) => {
                let mut rest = bytes;
                let value = varint(&mut rest)?;
                count += if rest.is_empty() { 1 } else { 2 };
                numbers = Some(Number::Value(value as i64 as f64));
                continue;
            }
            (13, Wire::Bytes(bytes)) => {
                let mut rest = bytes;
                let bits = varint(&mut rest)?;
                count += if rest.is_empty() { 1 } else { 2 };
                numbers = Some(Number::Half(bits as u16));
                continue;
            }
            (13, Wire::Varint(bits)) => {
                (numbers, count) = (Some(Number::Half(bits as u16)), count + 1);
                continue;
            }
            _ => continue,
        };
        (numbers, count) = (Some(Number::Raw(bytes, kind_of_field)), count + 1);
    }
    if count != 1 {
        return Some(None);
    }
    Some(match numbers {
        Some(Number::Value(value)) => Some(value),
        Some(Number::Half(bits)) if kind == HALF => Some(half(bits)),
        Some(Number::Half(bits)) if kind == BFLOAT16 => Some(bfloat16(bits)),
        Some(Number::Raw(bytes, 0)) => raw(bytes, kind),
        Some(Number::Raw(bytes, kind)) => raw(bytes, kind),
        _ => None,
    })
}

/// A tensor's number before its type is known.
enum Number<'a> {
    Value(f64),
    Half(u16),
    /// Little-endian bytes, and their type where the field says it.
    Raw(&'a [u8], u64),
}

/// Numbers of types, from tensorflow/core/framework/types.proto.
const FLOAT: u64 = 1;
const DOUBLE: u64 = 2;
const INT32: u64 = 3;
const INT64: u64 = 9;
const BFLOAT16: u64 = 14;
const HALF: u64 = 19;

/// A number from as many bytes as its type has; `None` if there are more or fewer, or it is no number.
fn raw(bytes: &[u8], kind: u64) -> Option<f64> {
    Some(match kind {
        FLOAT => f64::from(f32::from_le_bytes(bytes.try_into().ok()?)),
        DOUBLE => f64::from_le_bytes(bytes.try_into().ok()?),
        INT32 => f64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
        INT64 => i64::from_le_bytes(bytes.try_into().ok()?) as f64,
        HALF => half(u16::from_le_bytes(bytes.try_into().ok()?)),
        BFLOAT16 => bfloat16(u16::from_le_bytes(bytes.try_into().ok()?)),
        _ => return None,
    })
}

fn bfloat16(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

/// A 16-bit float: 1 sign, 5 exponent, 10 fraction bits.
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    let magnitude = match (bits >> 10) & 0x1f {
        0 => fraction * 2f64.powi(-14),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        exponent => (1.0 + fraction) * 2f64.powi(i32::from(exponent) - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// The content of a field.
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Numbers and contents of a message's fields; `None` once if it is none.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let key = varint(bytes)?;
    let wire = match key & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => Wire::Fixed64(u64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?)),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Wire::Bytes(bytes.split_off(..length)?)
        }
        5 => Wire::Fixed32(u32::from_le_bytes(*bytes.split_off(..4)?.first_chunk()?)),
        _ => return None,
    };
    Some((key >> 3, wire))
}

/// Seven bits a byte, the lowest first, as long as the eighth is set.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    /// An event of step 300 with a value of tag `a`.
    fn event(value: &[u8]) -> Vec<u8> {
        let value = [bytes(1, b"a"), value.to_vec()].concat();
        [vec![0x10, 0xac, 0x02], bytes(5, &bytes(1, &value))].concat()
    }

    fn scalars(event: &[u8]) -> Option<Vec<(&[u8], i64, f64)>> {
        Event(event).scalars()
    }

    #[test]
    fn numbers_of_all_kinds_are_scalars() {
        let simple = event(&[&[0x15][..], &1.5f32.to_le_bytes()].concat());
        assert_eq!(scalars(&simple), Some(vec![(&b"a"[..], 300, 1.5)]));
        let content = |kind: u8, number: &[u8]| bytes(8, &[vec![8, kind], bytes(4, number)].concat());
        for (tensor, value) in [
            (content(1, &(-0.25f32).to_le_bytes()), -0.25),
            (content(2, &0.1f64.to_le_bytes()), 0.1),
            (content(3, &(-7i32).to_le_bytes()), -7.0),
            (content(9, &9i64.to_le_bytes()), 9.0),
            (content(14, &[0xc0, 0x3f]), 1.5),
            (content(19, &[0x00, 0xbe]), -1.5),
            (content(19, &[0x01, 0x00]), 2f64.powi(-24)),
            (bytes(8, &[vec![8, 1], bytes(5, &2.5f32.to_le_bytes())].concat()), 2.5),
            (bytes(8, &[vec![8, 2], bytes(6, &0.3f64.to_le_bytes())].concat()), 0.3),
            (bytes(8, &[vec![8, 1, 0x2d], 2.5f32.to_le_bytes().to_vec()].concat()), 2.5),
            (bytes(8, &[8, 3, 0x38, 5]), 5.0),
            (bytes(8, &[vec![8, 9], bytes(10, &[5])].concat()), 5.0),
            (bytes(8, &[vec![8, 19], bytes(13, &[0x80, 0x78])].concat()), 1.0),
        ] {
            assert_eq!(scalars(&event(&tensor)), Some(vec![(&b"a"[..], 300, value)]), "{tensor:?}");
        }
    }

    #[test]
    fn other_contents_are_passed_over() {
        let content = |kind: u8, number: &[u8]| bytes(8, &[vec![8, kind], bytes(4, number)].concat());
        for value in [
            vec![],
            content(1, &[0; 8]),
            content(7, b"text"),
            bytes(5, b"histogram"),
            bytes(8, &[vec![8, 9], bytes(10, &[5, 6])].concat()),
            bytes(8, &[8, 7]),
        ] {
            assert_eq!(scalars(&event(&value)), Some(vec![]), "{value:?}");
        }
        assert_eq!(scalars(&[]), Some(vec![]));
    }

    #[test]
    fn cut_messages_are_none_and_never_a_panic() {
        let whole = event(&bytes(8, &[vec![8, 2], bytes(6, &0.3f64.to_le_bytes())].concat()));
        for end in 0..whole.len() {
            // Between fields the rest is whole; anywhere else it is none.
            assert_eq!(scalars(&whole[..end]).is_some(), [0, 3].contains(&end), "{end}");
        }
        for position in 0..whole.len() {
            for byte in 0..=255 {
                let mut spoiled = whole.clone();
                spoiled[position] = byte;
                let _ = scalars(&spoiled);
            }
        }
        assert_eq!(varint(&mut &[0xff; 11][..]), None);
        assert_eq!(masked(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
