//! Rows as Parquet.

use super::{Cell, Kind};
use arrow_array::{ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::io::{self, Write};
use std::sync::Arc;

/// Rows that are encoded at once.
const BATCH: usize = 1 << 14;
/// Rows of a row group, which is held in memory, encoded, until it is written.
const GROUP: usize = 1 << 20;

/// Collects rows and writes them batch by batch.
pub(super) struct Rows<'w> {
    writer: ArrowWriter<&'w mut (dyn Write + Send)>,
    schema: Arc<Schema>,
    columns: Vec<Column>,
    rows: usize,
}

enum Column {
    Text(Vec<String>),
    Integer(Vec<i64>),
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl<'w> Rows<'w> {
    /// # Errors
    /// What the writer says.
    pub(super) fn new(out: &'w mut (dyn Write + Send), columns: &[(String, Kind)]) -> io::Result<Self> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, kind)| {
                let kind = match kind {
                    Kind::Text => DataType::Utf8,
                    Kind::Integer => DataType::Int64,
                    Kind::Single => DataType::Float32,
                    Kind::Double => DataType::Float64,
                };
                Field::new(name, kind, false)
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(GROUP))
            .build();
        let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties)).map_err(io_error)?;
        let columns = columns
            .iter()
            .map(|(_, kind)| match kind {
                Kind::Text => Column::Text(Vec::new()),
                Kind::Integer => Column::Integer(Vec::new()),
                Kind::Single => Column::Single(Vec::new()),
                Kind::Double => Column::Double(Vec::new()),
            })
            .collect();
        Ok(Self { writer, schema, columns, rows: 0 })
    }

    /// # Errors
    /// What the writer says.
    pub(super) fn add(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            match (column, cell) {
                (Column::Text(texts), Cell::Text(text)) => texts.push((*text).to_owned()),
                (Column::Integer(numbers), Cell::Integer(number)) => numbers.push(*number),
                (Column::Single(numbers), Cell::Single(number)) => numbers.push(*number),
                (Column::Double(numbers), Cell::Double(number)) => numbers.push(*number),
                _ => return Err(io::Error::other("a field of another kind than its column")),
            }
        }
        self.rows += 1;
        if self.rows == BATCH { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        let arrays = self.columns.iter_mut().map(|column| -> ArrayRef {
            match column {
                Column::Text(texts) => Arc::new(StringArray::from_iter_values(texts.drain(..))),
                Column::Integer(numbers) => Arc::new(Int64Array::from(std::mem::take(numbers))),
                Column::Single(numbers) => Arc::new(Float32Array::from(std::mem::take(numbers))),
                Column::Double(numbers) => Arc::new(Float64Array::from(std::mem::take(numbers))),
            }
        });
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays.collect()).map_err(io::Error::other)?;
        self.rows = 0;
        self.writer.write(&batch).map_err(io_error)
    }

    /// # Errors
    /// What the writer says.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.rows > 0 {
            self.write()?;
        }
        self.writer.close().map(drop).map_err(io_error)
    }
}

/// The error of the writer itself, which says whether a pipe was closed.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(inner) => io::Error::other(inner.to_string()),
        },
        other => io::Error::other(other.to_string()),
    }
}
