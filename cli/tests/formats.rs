//! The same runs in every format that can be read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{
    ArrayRef, DictionaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, LargeStringArray,
    RecordBatch, StringArray, StringViewArray, UInt64Array,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use common::{EVENTS, LONG, PARQUET, Row, WIDE, data, gzip, rows, run, run_with, settings, stderr, stdout};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{BrotliLevel, Compression};
use parquet::file::properties::WriterProperties;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

fn weigh(arguments: &[&str]) -> Vec<Row> {
    rows(&stdout(&run(&[&["weigh", "--quiet", "--backend", "cpu"], arguments].concat())))
}

fn weigh_bytes(bytes: &[u8], arguments: &[&str]) -> Vec<Row> {
    rows(&stdout(&run_with(&[&["weigh", "--quiet", "--backend", "cpu", "-"], arguments].concat(), bytes)))
}

/// The example log as JSON Lines; a value that is missing in the table is missing here in another way.
fn json_lines() -> String {
    let log = fs::read_to_string(data(LONG)).unwrap();
    log.lines().skip(1).fold(String::new(), |mut text, line| {
        let [run, step, component, value] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let value = match value {
            "" => "null",
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            number => number,
        };
        writeln!(text, r#"{{"run": "{run}", "step": {step}, "component": "{component}", "value": {value}}}"#).unwrap();
        text
    })
}

/// The example log, as the Parquet file has it.
fn batches() -> Vec<RecordBatch> {
    let file = File::open(data(PARQUET)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(5000).build().unwrap();
    reader.map(Result::unwrap).collect()
}

fn arrow_file(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn arrow_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn parquet_file(batches: &[RecordBatch], properties: WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

/// Bit for bit: a 32-bit float, its shortest decimal and a double of the same value are one number to the CPU path.
#[test]
fn all_formats_give_the_same_numbers_for_every_setting() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let files = [
        data(PARQUET),
        write("log.jsonl", json_lines().as_bytes()),
        write("log.arrow", &arrow_file(&batches(), None)),
        write("stream.arrow", &arrow_stream(&batches())),
    ];
    let settings = settings();
    assert_eq!(settings.len(), 15);
    for setting in &settings {
        let options: Vec<&str> = setting.iter().map(String::as_str).collect();
        let expected = weigh(&[&[&*data(LONG)], &*options].concat());
        assert_eq!(expected.len(), 152);
        for file in &files {
            assert_eq!(weigh(&[&[&**file], &*options].concat()), expected, "{file}: {options:?}");
        }
        let runs = weigh(&[&[&*data(EVENTS), "--strip-prefix", "loss/"], &*options].concat());
        let names = ["digits-multitask-00", "digits-vae-04", "pinn-burgers-13"];
        let of_runs: Vec<Row> = expected.into_iter().filter(|row| names.contains(&&*row.run)).collect();
        assert_eq!((runs.len(), &runs), (9, &of_runs), "{options:?}");
    }
}

#[test]
fn packed_and_piped_formats_are_known_by_their_bytes() {
    let expected = weigh(&[&data(LONG)]);
    let many_groups = WriterProperties::builder().set_max_row_group_row_count(Some(701)).build();
    for bytes in [
        fs::read(data(PARQUET)).unwrap(),
        gzip(&fs::read(data(PARQUET)).unwrap()),
        parquet_file(&batches(), many_groups),
        json_lines().into_bytes(),
        zstd::encode_all(json_lines().as_bytes(), 1).unwrap(),
        arrow_file(&batches(), None),
        arrow_file(&batches(), Some(CompressionType::ZSTD)),
        arrow_file(&batches(), Some(CompressionType::LZ4_FRAME)),
        arrow_stream(&batches()),
        gzip(&arrow_stream(&batches())),
    ] {
        assert_eq!(weigh_bytes(&bytes, &[]), expected);
    }
    let packed = [Compression::SNAPPY, Compression::LZ4_RAW, Compression::BROTLI(BrotliLevel::default())];
    for compression in [Compression::UNCOMPRESSED].into_iter().chain(packed) {
        let properties = WriterProperties::builder().set_compression(compression).set_dictionary_enabled(false);
        assert_eq!(weigh_bytes(&parquet_file(&batches(), properties.build()), &[]), expected, "{compression:?}");
    }
}

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

#[test]
fn columns_of_all_usual_types_are_read() {
    let expected = weigh_bytes(b"run,step,component,value\n7,0,a,1\n7,0,b,2\n7,1,a,3\n7,1,b,\n", &["--window", "2"]);
    let runs: [ArrayRef; 5] = [
        Arc::new(StringArray::from(vec!["7"; 4])),
        Arc::new(LargeStringArray::from(vec!["7"; 4])),
        Arc::new(StringViewArray::from(vec!["7"; 4])),
        Arc::new(Int16Array::from(vec![7; 4])),
        Arc::new(DictionaryArray::<Int32Type>::from_iter(["7"; 4])),
    ];
    let steps: [ArrayRef; 5] = [
        Arc::new(Int64Array::from(vec![0, 0, 1, 1])),
        Arc::new(Int32Array::from(vec![0, 0, 1, 1])),
        Arc::new(UInt64Array::from(vec![0, 0, 1, 1])),
        Arc::new(Float32Array::from(vec![0.0, 0.0, 1.0, 1.0])),
        Arc::new(Float64Array::from(vec![0.0, 0.0, 1.0, 1.0])),
    ];
    let values: [ArrayRef; 5] = [
        Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), Some(3.0), None])),
        Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, f32::NAN])),
        Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(3), None])),
        Arc::new(UInt64Array::from(vec![Some(1), Some(2), Some(3), None])),
        Arc::new(Int16Array::from(vec![Some(1), Some(2), Some(3), None])),
    ];
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a", "b"]));
    for i in 0..5 {
        let batch = table(vec![
            ("value", Arc::clone(&values[i])),
            ("note", Arc::clone(&names)),
            ("component", Arc::clone(&names)),
            ("run", Arc::clone(&runs[i])),
            ("step", Arc::clone(&steps[i])),
        ]);
        let batches = [batch.slice(0, 3), batch.slice(3, 1)];
        for bytes in [arrow_file(&batches, None), parquet_file(&batches, WriterProperties::default())] {
            assert_eq!(weigh_bytes(&bytes, &["--window", "2"]), expected, "types of kind {i}");
        }
    }
    // Other names of columns, and the wide form.
    let renamed = table(vec![
        ("Name", Arc::clone(&runs[0])),
        ("Epoch", Arc::clone(&steps[0])),
        ("what", names),
        ("loss", Arc::clone(&values[0])),
    ]);
    let options = "--run-column Name --step-column Epoch --component-column what --value-column loss --window 2";
    let options: Vec<&str> = options.split(' ').collect();
    assert_eq!(weigh_bytes(&arrow_stream(&[renamed]), &options), expected);
    let wide = table(vec![
        ("step", Arc::new(Int64Array::from(vec![0, 1]))),
        ("run", Arc::new(StringArray::from(vec!["7", "7"]))),
        ("a", Arc::new(Float64Array::from(vec![1.0, 3.0]))),
        ("b", Arc::new(Int64Array::from(vec![Some(2), None]))),
        ("of other runs", Arc::new(Float64Array::from(vec![None, None]))),
    ]);
    assert_eq!(weigh_bytes(&parquet_file(&[wide], WriterProperties::default()), &["--window", "2"]), expected);
}

#[test]
fn forms_of_json_do_not_matter() {
    let expected = weigh_bytes(b"run,step,a,b\nr,0,1,2\nr,1,3,\n", &["--window", "2"]);
    for text in [
        "{\"run\":\"r\",\"step\":0,\"a\":1,\"b\":2}\n{\"run\":\"r\",\"step\":1,\"a\":3,\"b\":null}\n",
        "\u{feff}\n {\"b\": \"2\", \"a\": 1.0, \"run\": \"r\", \"step\": 0.0}\r\n\n{\"run\":\"r\",\"step\":\"1\",\"a\":3e0,\"b\":NaN}",
        "{\"run\":\"\\u0072\",\"step\":0,\"\\u0061\":1,\"b\":2}\n{\"run\":\"r\",\"step\":1,\"a\":3}\n",
        "{\"run\":\"r\",\"step\":0,\"component\":\"a\",\"value\":1}\n{\"run\":\"r\",\"step\":0,\"b\":2,\"a\":1}\n{\"run\":\"r\",\"step\":1,\"a\":3}",
    ] {
        let found = weigh_bytes(text.as_bytes(), &["--window", "2", "--on-duplicate", "last"]);
        let mut sorted = found.clone();
        sorted.sort_by(|a, b| a.component.cmp(&b.component));
        assert_eq!(sorted, expected, "{text}");
    }
    // Text beside losses has to be left out; a run may be a number.
    let text = b"{\"run\":7,\"step\":0,\"time\":\"noon\",\"loss/a\":1}\n{\"run\":7,\"step\":1,\"time\":\"two\",\"loss/a\":4}\n";
    let found = weigh_bytes(text, &["--window", "2", "--strip-prefix", "loss/"]);
    assert_eq!((&*found[0].run, &*found[0].component, &*found[0].slope), ("7", "a", "3"));
}

/// The only event file below a run of the examples.
fn event_file(run: &str) -> Vec<u8> {
    let folder = Path::new(&data(EVENTS)).join(run);
    let path = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    fs::read(path).unwrap()
}

#[test]
fn a_killed_process_leaves_all_but_its_last_record() {
    let whole = event_file("digits-vae-04");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some-run").join("events.out.tfevents.1.host");
    fs::create_dir(path.parent().unwrap()).unwrap();
    // The last record is that of the last step's second component.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let output = run(&["weigh", "--quiet", "--backend", "cpu", folder.path().to_str().unwrap(), "--window", "2"]);
    let found = rows(&stdout(&output));
    let warning = format!(
        "softadapt: warning: {}: the last record, 161, is unfinished; everything before it counts\n",
        path.display()
    );
    assert_eq!(stderr(&output), warning);
    let states: Vec<&str> = found.iter().map(|row| &*row.status).collect();
    assert_eq!((&*found[0].run, states), ("some-run", vec!["non-finite"; 2]));
    // A step earlier everything is there.
    fs::write(&path, &whole[..whole.len() - 60]).unwrap();
    let output = run(&["weigh", "--quiet", "--backend", "cpu", path.to_str().unwrap(), "--window", "2"]);
    assert!(rows(&stdout(&output)).iter().all(|row| row.status == "ok" || row.status == "non-finite"));
    // By standard input there is no folder to name the run.
    let output = run_with(&["weigh", "--quiet", "--backend", "cpu", "-"], &whole);
    assert_eq!(rows(&stdout(&output))[0].run, "stdin");
}

#[test]
fn steps_of_a_restarted_run_follow_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["events.out.tfevents.1.host", "events.out.tfevents.2.host"] {
        fs::write(folder.path().join(name), event_file("digits-vae-04")).unwrap();
    }
    let folder = folder.path().to_str().unwrap();
    let output = run(&["weigh", "--backend", "cpu", folder]);
    let message = stderr(&output);
    assert!(message.contains("events.out.tfevents.2.host, record 2: second value for run"), "{message}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(weigh(&[folder, "--on-duplicate", "last"]).len(), 2);
}

/// Whatever happens to a file, the command says something in one line, or understands it.
#[test]
fn damaged_binary_files_never_end_in_a_panic() {
    let batches = [batches()[0].slice(0, 40), batches()[0].slice(40, 30)];
    let options = WriterProperties::builder().set_max_row_group_row_count(Some(50)).build();
    for whole in [
        parquet_file(&batches, options),
        arrow_file(&batches, None),
        arrow_file(&batches, Some(CompressionType::LZ4_FRAME)),
        arrow_stream(&batches),
        gzip(&json_lines().into_bytes()[..2000]),
        event_file("digits-vae-04")[..600].to_vec(),
    ] {
        let check = |bytes: &[u8], what: &str| {
            let output = run_with(&["weigh", "--quiet", "--backend", "cpu", "-"], bytes);
            let message = stderr(&output);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{what}: {:?} {message}", output.status);
            assert!(message.lines().count() <= 1 && !message.contains("panicked"), "{what}: {message}");
            assert_eq!(output.status.code() == Some(1), output.stdout.is_empty(), "{what}: {message}");
        };
        for part in 0..12 {
            let end = whole.len() * part / 12;
            check(&whole[..end], &format!("cut at {end} of {}", whole.len()));
        }
        let mut state = 1u64;
        for _ in 0..40 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (position, bit) = ((state >> 33) as usize % whole.len(), (state >> 20) as u8 & 7);
            let mut spoiled = whole.clone();
            spoiled[position] ^= 1 << bit;
            check(&spoiled, &format!("bit {bit} of byte {position} of {}", whole.len()));
        }
    }
}

#[test]
fn wide_and_long_tables_agree_in_parquet() {
    let csv = fs::read_to_string(data(WIDE)).unwrap();
    let mut columns: [Vec<String>; 5] = Default::default();
    for line in csv.lines().skip(1) {
        for (column, field) in columns.iter_mut().zip(line.split(',')) {
            column.push(field.to_owned());
        }
    }
    let number = |column: &[String]| -> ArrayRef {
        Arc::new(column.iter().map(|field| field.parse::<f64>().ok()).collect::<Float64Array>())
    };
    let batch = table(vec![
        ("run", Arc::new(StringArray::from(columns[0].clone()))),
        ("step", number(&columns[1])),
        ("cross_entropy", number(&columns[2])),
        ("reconstruction", number(&columns[3])),
        ("sparsity", number(&columns[4])),
    ]);
    let losses = batch.column(3).as_primitive::<Float64Type>();
    assert!(losses.iter().any(|loss| !loss.is_some_and(f64::is_finite)), "two runs diverge");
    let bytes = parquet_file(&[batch], WriterProperties::default());
    assert_eq!(weigh_bytes(&bytes, &[]), weigh(&[&data(WIDE)]));
}

#[test]
fn a_format_can_be_forced() {
    // A header that starts like an object.
    let text = b"{run},step,a\nr,0,1\nr,1,2\n";
    let options = ["--run-column", "{run}", "--window", "2"];
    let output = run_with(&[&["weigh", "-", "--backend", "cpu"][..], &options].concat(), text);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(weigh_bytes(text, &[&options[..], &["--input-format", "csv"]].concat()).len(), 1);
}
