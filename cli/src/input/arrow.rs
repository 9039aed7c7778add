//! Arrow IPC, as a file (also called Feather V2) and as a stream, one record batch at a time.

use super::Target;
use super::error::{Fault, Problem};
use super::table::{Table, guarded};
use crate::runs::Unit;
use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, Schema};
use std::io::{BufReader, Read, Seek};

/// Bytes read at once.
const BUFFER: usize = 1 << 18;

fn damaged(reason: String) -> Problem {
    Problem::Damaged { what: "Arrow", reason }
}

/// Opens a source: a decoder may fail or give up.
fn opened<T>(open: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, Problem> {
    guarded(open).map_err(damaged)?.map_err(|error| damaged(error.to_string()))
}

/// Reads a file.
///
/// # Errors
/// The first thing that is wrong, with its record batch or row and column.
pub(super) fn read_file<R: Read + Seek>(
    open: impl Fn() -> Result<R, Problem>,
    target: &mut Target<'_>,
) -> Result<(), Fault> {
    // The first time only for its schema, from which the columns follow.
    let schema = opened(|| FileReader::try_new(BufReader::new(open().map_err(arrow_error)?), None))?.schema();
    let table = Table::new(&schema, target)?;
    let columns = Some(table.columns());
    let reader =
        opened(|| FileReader::try_new(BufReader::with_capacity(BUFFER, open().map_err(arrow_error)?), columns))?;
    read_batches(reader, table, target)
}

fn arrow_error(problem: Problem) -> ArrowError {
    ArrowError::ExternalError(problem.to_string().into())
}

/// Reads a stream.
///
/// # Errors
/// The first thing that is wrong, with its record batch or row and column.
pub(super) fn read_stream(input: impl Read, target: &mut Target<'_>) -> Result<(), Fault> {
    let reader = opened(|| StreamReader::try_new(BufReader::with_capacity(BUFFER, input), None))?;
    let schema: Schema = reader.schema().as_ref().clone();
    let table = Table::new(&schema, target)?;
    let columns = table.columns();
    let batches = reader.map(|batch| batch.and_then(|batch| batch.project(&columns)));
    read_batches(batches, table, target)
}

fn read_batches(
    mut batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    mut table: Table,
    target: &mut Target<'_>,
) -> Result<(), Fault> {
    let mut number = 0;
    loop {
        number += 1;
        let fault = |reason| Fault::new(Unit::Batch, number, damaged(reason));
        match guarded(|| batches.next()).map_err(fault)? {
            None => return Ok(()),
            Some(batch) => table.add(&batch.map_err(|error| fault(error.to_string()))?, target)?,
        }
    }
}
