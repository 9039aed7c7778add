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
