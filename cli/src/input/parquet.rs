//! Parquet, one row group at a time and of that only the columns that are needed.

use super::Target;
use super::error::{Fault, Problem};
use super::table::{Table, guarded};
use crate::progress::Progress;
use crate::runs::Unit;
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::reader::ChunkReader;
use std::sync::Arc;

/// Rows that are decoded at once.
const BATCH: usize = 1 << 15;

/// Reads one source, of which `open` gives a handle for every row group.
///
/// # Errors
/// The first thing that is wrong, with its row group or row and column.
pub(super) fn read<C: ChunkReader + 'static>(
    open: impl Fn() -> Result<C, Problem>,
    progress: Option<&Progress>,
    target: &mut Target<'_>,
) -> Result<(), Fault> {
    let damaged = |reason: String| Problem::Damaged { what: "Parquet", reason };
    let file = open()?;
    let load = |options: ArrowReaderOptions| match guarded(|| ArrowReaderMetadata::load(&file, options)) {
        Ok(Ok(metadata)) => Ok(metadata),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(panic) => Err(damaged(panic)),
    };
    let mut metadata = load(ArrowReaderOptions::new())?;
    let mut table = Table::new(metadata.schema(), target)?;
    // Names as dictionaries, as which they are stored: then they are compared once and not in every row.
    let hint = dictionaries(metadata.schema(), &table);
    if let Ok(better) = load(ArrowReaderOptions::new().with_schema(Arc::new(hint))) {
        metadata = better;
    }
    for group in 0..metadata.metadata().num_row_groups() {
        let fault = |reason| Fault::new(Unit::RowGroup, group as u64 + 1, damaged(reason));
        let columns = ProjectionMask::roots(metadata.parquet_schema(), table.columns());
        let build = || -> parquet::errors::Result<ParquetRecordBatchReader> {
            let file = open().map_err(|problem| parquet::errors::ParquetError::General(problem.to_string()))?;
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
                .with_row_groups(vec![group])
                .with_projection(columns)
                .with_batch_size(BATCH)
                .build()
        };
        let mut batches = guarded(build).map_err(fault)?.map_err(|error| fault(error.to_string()))?;
        while let Some(batch) = guarded(|| batches.next()).map_err(fault)? {
            table.add(&batch.map_err(|error| fault(error.to_string()))?, target)?;
        }
        if let Some(progress) = progress {
            let bytes = metadata.metadata().row_group(group).compressed_size();
            progress.advance(usize::try_from(bytes).unwrap_or_default());
        }
    }
    Ok(())
}

/// The schema with dictionaries instead of plain text for names.
fn dictionaries(schema: &Schema, table: &Table) -> Schema {
    let fields = schema.fields().iter().enumerate().map(|(column, field)| match field.data_type() {
        text @ (DataType::Utf8 | DataType::LargeUtf8) if table.is_name(column) => {
            let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(text.clone()));
            Arc::new(Field::new(field.name(), kind, field.is_nullable()))
        }
        _ => Arc::clone(field),
    });
    Schema::new(fields.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::input::{LeftOut, Options};
    use crate::runs::{Log, OnDuplicate};
    use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use std::cell::Cell;

    /// A file that somebody cuts off after its end, which says where everything is, has been read.
    #[test]
    fn files_that_shrink_while_they_are_read_are_errors() {
        let rows = 1000;
        let columns: [(&str, ArrayRef); 3] = [
            ("run", Arc::new(StringArray::from(vec!["r"; rows]))),
            ("step", Arc::new(Int64Array::from_iter_values(0..rows as i64))),
            ("a", Arc::new(Float64Array::from_iter_values((0..rows).map(|i| i as f64)))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let whole = Bytes::from(writer.into_inner().unwrap());
        for left in [0, 4, 100, whole.len() / 2, whole.len()] {
            let opened = Cell::new(0);
            let open = || {
                opened.set(opened.get() + 1);
                Ok(if opened.get() == 1 { whole.clone() } else { whole.slice(..left) })
            };
            let mut log = Log::new(2, OnDuplicate::Error);
            let options = Options::default();
            let mut target = Target { number: 0, options: &options, sink: &mut log, left_out: &mut LeftOut::default() };
            let result = read(open, None, &mut target);
            if left == whole.len() {
                assert!(result.is_ok());
                continue;
            }
            let fault = result.unwrap_err();
            assert_eq!(fault.place, Some((Unit::RowGroup, 1)));
            assert!(matches!(*fault.problem, Problem::Damaged { what: "Parquet", .. }), "{fault:?}");
        }
    }
}
