//! Record batches of Arrow, as Parquet and Arrow IPC give them, in long and in wide form.

use super::Target;
use super::error::{Fault, Problem, StepFault};
use super::header::{Form, Header};
use super::memo::Memo;
use super::values::step_of_number;
use crate::runs::{ComponentId, Place, RunId, Unit};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Schema};
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Turns batches of one source into values of a log.
pub(super) struct Table {
    header: Header,
    /// Columns of the wide form that count.
    wide: Vec<(usize, ComponentId)>,
    runs: Memo<RunId>,
    /// `None` of one that does not count.
    components: Memo<Option<ComponentId>>,
    /// Rows so far.
    rows: u64,
}

impl Table {
    /// Finds the columns.
    ///
    /// # Errors
    /// A column that is missing or holds something else than it has to.
    pub(super) fn new(schema: &Schema, target: &mut Target<'_>) -> Result<Self, Fault> {
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        let header = Header::new(names, &target.options.columns)?;
        let wide: Vec<(usize, ComponentId)> = match &header.form {
            Form::Long { .. } => Vec::new(),
            Form::Wide { components } => {
                components.iter().filter_map(|&i| Some((i, target.component(&header.names[i])?))).collect()
            }
        };
        let table = Self { header, wide, runs: Memo::new(), components: Memo::new(), rows: 0 };
        for column in table.columns() {
            let kind = schema.field(column).data_type();
            let wanted = if table.is_name(column) {
                (!is_name(kind)).then_some("text")
            } else if column == table.header.step {
                (!is_number(kind)).then_some("integers")
            } else {
                (!is_number(kind)).then_some("numbers")
            };
            if let Some(wanted) = wanted {
                let problem = Problem::ColumnType { wanted, found: kind.to_string() };
                return Err(Fault { column: Some(table.header.names[column].clone()), ..problem.into() });
            }
        }
        Ok(table)
    }

    /// Positions of the columns that are needed, in their order.
    pub(super) fn columns(&self) -> Vec<usize> {
        let mut columns = vec![self.header.run, self.header.step];
        match self.header.form {
            Form::Long { component, value } => columns.extend([component, value]),
            Form::Wide { .. } => columns.extend(self.wide.iter().map(|&(column, _)| column)),
        }
        columns.sort_unstable();
        // One column may be named for two things, and is read once.
        columns.dedup();
        columns
    }

    /// Whether a column holds names.
    pub(super) fn is_name(&self, column: usize) -> bool {
        column == self.header.run || matches!(self.header.form, Form::Long { component, .. } if component == column)
    }

    /// Adds a batch that holds [`Self::columns`].
    ///
    /// # Errors
    /// A field that is missing or makes no sense, with its row.
    pub(super) fn add(&mut self, batch: &RecordBatch, target: &mut Target<'_>) -> Result<(), Fault> {
        let columns = self.columns();
        let array = |column: usize| batch.column(columns.partition_point(|&other| other < column)).as_ref();
        let header = &self.header;
        let before = self.rows;
        let fault = |column: usize, row: usize, problem: Problem| Fault {
            column: Some(header.names[column].clone()),
            ..Fault::new(Unit::Row, before + row as u64 + 1, problem)
        };
        let of_sink = |row: usize, problem| Fault::new(Unit::Row, before + row as u64 + 1, problem);
        let place = |row: usize| Place::new(target.number, Unit::Row, before + row as u64 + 1);
        let places: Vec<Place> = (0..batch.num_rows()).map(place).collect();

        let steps = Steps::new(array(header.step));
        let runs = ids(array(header.run), |name| {
            Ok(self.runs.get(name.as_bytes()).unwrap_or_else(|| {
                let run = target.sink.run(name);
                self.runs.insert(name.as_bytes(), run);
                run
            }))
        })
        .map_err(|(row, problem)| fault(header.run, row, problem))?;
        let step = |row: usize| {
            steps.get(row).map_err(|(text, reason)| fault(header.step, row, Problem::Step { text, fault: reason }))
        };
        match header.form {
            Form::Long { component, value } => {
                let components = ids(array(component), |name| {
                    Ok(self.components.get(name.as_bytes()).unwrap_or_else(|| {
                        let id = target.component(name);
                        self.components.insert(name.as_bytes(), id);
                        id
                    }))
                })
                .map_err(|(row, problem)| fault(component, row, problem))?;
                let values = numbers(array(value));
                for (row, &place) in places.iter().enumerate() {
                    let step = step(row)?;
                    if let Some(id) = components[row] {
                        let pushed = target.sink.push(runs[row], id, step, values[row], place, true);
                        pushed.map_err(|problem| of_sink(row, problem))?;
                    }
                    target.sink.count_row();
                }
            }
            Form::Wide { .. } => {
                let values: Vec<_> = self.wide.iter().map(|&(i, id)| (id, array(i), numbers(array(i)))).collect();
                for (row, &place) in places.iter().enumerate() {
                    let step = step(row)?;
                    for (id, array, values) in &values {
                        let filled = array.is_valid(row);
                        let pushed = target.sink.push(runs[row], *id, step, values[row], place, filled);
                        pushed.map_err(|problem| of_sink(row, problem))?;
                    }
                    target.sink.count_row();
                }
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }
}

/// Runs a decoder. Bytes that no writer wrote make some decoders panic; that is an error of the file like any other.
pub(super) fn guarded<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    let quiet = crate::panics::silence();
    let result = catch_unwind(AssertUnwindSafe(decode));
    drop(quiet);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("the decoder gave up").to_owned()
    })
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_floating() || *kind == DataType::Null
}

/// Trackers count runs, so integers are names too.
fn is_name(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_name(values),
        other => other.is_integer(),
    }
}

/// What a column's names stand for, row by row; the first row whose name is missing.
fn ids<T: Copy>(array: &dyn Array, mut id: impl FnMut(&str) -> Result<T, Problem>) -> Result<Vec<T>, (usize, Problem)> {
    let mut ids = Vec::with_capacity(array.len());
    let mut id = |name: Option<&str>| match name {
        None | Some("") => Err(Problem::EmptyName),
        Some(name) => id(name),
    };
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let names = dictionary.values().as_ref();
        // Only names that are used: a dictionary may be much longer than a batch.
        let mut known: Vec<Option<T>> = vec![None; names.len()];
        let keys = if names.is_empty() { vec![0; array.len()] } else { dictionary.normalized_keys() };
        for (row, key) in keys.into_iter().enumerate() {
            if array.is_null(row) {
                return Err((row, Problem::EmptyName));
            }
            let found = match known.get(key) {
                Some(Some(id)) => *id,
                Some(None) => {
                    let found = id(text(names, key).as_deref()).map_err(|problem| (row, problem))?;
                    known[key] = Some(found);
                    found
                }
                None => return Err((row, Problem::EmptyName)),
            };
            ids.push(found);
        }
        return Ok(ids);
    }
    for row in 0..array.len() {
        ids.push(id(text(array, row).as_deref()).map_err(|problem| (row, problem))?);
    }
    Ok(ids)
}

/// A name, or an integer as one.
fn text(array: &dyn Array, row: usize) -> Option<Cow<'_, str>> {
    if array.is_null(row) {
        return None;
    }
    let name = array
        .as_string_opt::<i32>()
        .map(|names| names.value(row))
        .or_else(|| array.as_string_opt::<i64>().map(|names| names.value(row)))
        .or_else(|| array.as_string_view_opt().map(|names| names.value(row)));
    match name {
        Some(name) => Some(Cow::Borrowed(name)),
        None => match integer(array, row)? {
            Ok(integer) => Some(Cow::Owned(integer.to_string())),
            Err(beyond) => Some(Cow::Owned(beyond.to_string())),
        },
    }
}

/// An integer, the rare one beyond 64 bits with a sign apart; `None` for other types.
fn integer(array: &dyn Array, row: usize) -> Option<Result<i64, u64>> {
    macro_rules! narrow {
        ($($data:ident => $kind:ty),*) => {
            match array.data_type() {
                $(DataType::$data => array.as_primitive_opt::<$kind>().map(|array| Ok(i64::from(array.value(row)))),)*
                DataType::UInt64 => array.as_primitive_opt::<UInt64Type>().map(|array| {
                    let value = array.value(row);
                    i64::try_from(value).map_err(|_| value)
                }),
                _ => None,
            }
        };
    }
    narrow!(Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type, UInt8 => UInt8Type,
        UInt16 => UInt16Type, UInt32 => UInt32Type)
}

/// A column of steps.
enum Steps<'a> {
    Integers(&'a dyn Array),
    /// The usual one, without a check of its type for every row.
    Long(&'a arrow_array::Int64Array),
    Numbers(&'a dyn Array, Vec<f64>),
}

impl<'a> Steps<'a> {
    fn new(array: &'a dyn Array) -> Self {
        match array.as_primitive_opt::<Int64Type>() {
            Some(long) => Self::Long(long),
            None if array.data_type().is_integer() => Self::Integers(array),
            None => Self::Numbers(array, numbers(array)),
        }
    }

    fn get(&self, row: usize) -> Result<i64, (String, StepFault)> {
        let missing = (String::new(), StepFault::Empty);
        match self {
            Self::Long(steps) if steps.is_valid(row) => Ok(steps.value(row)),
            Self::Integers(array) if array.is_valid(row) => match integer(*array, row) {
                Some(Ok(step)) => Ok(step),
                Some(Err(beyond)) => Err((beyond.to_string(), StepFault::OutOfRange)),
                None => Err(missing),
            },
            Self::Numbers(array, numbers) if array.is_valid(row) => {
                step_of_number(numbers[row]).map_err(|fault| (numbers[row].to_string(), fault))
            }
            _ => Err(missing),
        }
    }
}

/// A column of losses; a missing one is NaN.
fn numbers(array: &dyn Array) -> Vec<f64> {
    macro_rules! convert {
        ($($data:ident => $kind:ty, $convert:expr);*) => {
            match array.data_type() {
                $(DataType::$data => array
                    .as_primitive_opt::<$kind>()
                    .map(|array| array.values().iter().copied().map($convert).collect()),)*
                _ => None,
            }
        };
    }
    let numbers: Option<Vec<f64>> = convert!(
        Float64 => Float64Type, |x| x; Float32 => Float32Type, f64::from; Float16 => Float16Type, |x| x.to_f64();
        Int64 => Int64Type, |x| x as f64; Int32 => Int32Type, f64::from; Int16 => Int16Type, f64::from;
        Int8 => Int8Type, f64::from; UInt64 => UInt64Type, |x| x as f64; UInt32 => UInt32Type, f64::from;
        UInt16 => UInt16Type, f64::from; UInt8 => UInt8Type, f64::from
    );
    let mut numbers = numbers.unwrap_or_else(|| vec![f64::NAN; array.len()]);
    if array.null_count() > 0 {
        for (row, number) in numbers.iter_mut().enumerate() {
            if array.is_null(row) {
                *number = f64::NAN;
            }
        }
    }
    numbers
}
