//! Any bytes through the command's readers.

use softadapt_cli::fuzzing::{InputFormat, read};

/// Comma-separated values, as they are or, after a mark, as the command would guess.
pub fn csv(bytes: &[u8]) {
    let _ = read(bytes, Some(InputFormat::Csv));
    // Compressed bytes and those of other formats, by their first bytes.
    let _ = read(bytes, None);
}

/// JSON Lines.
pub fn jsonl(bytes: &[u8]) {
    let _ = read(bytes, Some(InputFormat::Jsonl));
}

/// Parquet.
pub fn parquet(bytes: &[u8]) {
    let _ = read(bytes, Some(InputFormat::Parquet));
}

/// Arrow, as a file and as a stream.
pub fn arrow(bytes: &[u8]) {
    let _ = read(bytes, Some(InputFormat::Arrow));
}

/// TensorBoard event files: bytes as they are; and, since two checksums stop nearly everything, bytes cut into records with
/// right ones: a length of two bytes, then so many bytes of an event.
pub fn events(bytes: &[u8]) {
    let _ = read(bytes, Some(InputFormat::Events));
    let _ = read(&framed(bytes), Some(InputFormat::Events));
}

/// Records around the pieces of `bytes`.
pub fn framed(mut bytes: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let mut records = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<2>() {
        let (event, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*head))));
        let length = (event.len() as u64).to_le_bytes();
        records.extend_from_slice(&length);
        records.extend_from_slice(&masked(&length));
        records.extend_from_slice(event);
        records.extend_from_slice(&masked(event));
        bytes = rest;
    }
    records
}
