//! The readers of all formats on any bytes, for the fuzz targets in `fuzz/`. No interface of this crate: it may change at any
//! time.

pub use crate::input::InputFormat;
use crate::input::{Options, read_bytes};
use crate::runs::{Log, OnDuplicate};

/// Reads bytes as the command reads a file of them. `format`: as by `--input-format`; `None`: by the first bytes. What should
/// be known of them, or the message for what is wrong.
///
/// # Errors
/// Bytes that are no log.
///
/// # Panics
/// If what was read makes no sense, or is something else the second time: that is what the targets look for.
pub fn read(bytes: &[u8], format: Option<InputFormat>) -> Result<Vec<String>, String> {
    let options = Options { format, ..Options::default() };
    let fill = |keep: usize, policy: OnDuplicate| {
        let mut log = Log::new(keep, policy);
        let result = read_bytes(bytes, &options, &mut log).map_err(|error| error.to_string());
        (log, result)
    };
    // Few steps, of which older ones are let go; and all of them.
    let (few, read) = fill(3, OnDuplicate::Last);
    let (all, again) = fill(usize::MAX, OnDuplicate::Error);
    assert_eq!(read, again, "the same bytes, the same answer");
    if let Ok(runs) = few.into_runs() {
        if let Ok(shape) = runs.shape() {
            assert_eq!(shape.losses_len(), runs.losses().len(), "a place for every loss: {shape:?}");
            assert_eq!(shape.groups(), runs.points().len(), "{shape:?}");
        }
    } else {
        panic!("the last of two values counts, so that none is an error");
    }
    drop(all);
    read
}
