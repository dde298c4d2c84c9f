//! Parquet and Arrow IPC (file and stream), a batch of rows in memory at a time, only the columns that are asked for.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::{DataRow, Fault, Place, Rows, columns, path};

const BATCH_ROWS: usize = 256;
/// What an Arrow file begins with, and a stream does not.
const ARROW_MAGIC: &[u8] = b"ARROW1";

pub(super) fn parquet(file: File, paths: &[&str]) -> Result<Rows, Fault> {
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| Fault::of_file("Parquet", &error))?;
    let wanted = wanted(builder.schema(), paths);
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
    Ok(rows(reader.map_err(|error| Fault::of_file("Parquet", &error))?))
}

pub(super) fn arrow(mut file: File, paths: &[&str]) -> Result<Rows, Fault> {
    let fault = |error: ArrowError| Fault::of_file("Arrow", &error);
    let mut magic = Vec::new();
    let begun = file.by_ref().take(ARROW_MAGIC.len() as u64).read_to_end(&mut magic);
    begun.and_then(|_| file.seek(SeekFrom::Start(0))).map_err(|error| Fault::of_file("Arrow", &error))?;
    let again = file.try_clone().map_err(|error| Fault::of_file("Arrow", &error))?;
    // The schema tells the columns' numbers, and the numbers are given when a reader is opened: opened twice.
    if magic == ARROW_MAGIC {
        let schema = FileReader::try_new(BufReader::new(again), None).map_err(fault)?.schema();
        let wanted = wanted(&schema, paths);
        Ok(rows(FileReader::try_new(BufReader::new(file), Some(wanted)).map_err(fault)?))
    } else {
        let schema = StreamReader::try_new(BufReader::new(again), None).map_err(fault)?.schema();
        let wanted = wanted(&schema, paths);
        file.seek(SeekFrom::Start(0)).map_err(|error| Fault::of_file("Arrow", &error))?;
        Ok(rows(StreamReader::try_new(BufReader::new(file), Some(wanted)).map_err(fault)?))
    }
}

/// The numbers of the columns that paths begin in.
fn wanted(schema: &Schema, paths: &[&str]) -> Vec<usize> {
    let asked = |name: &str| paths.iter().any(|asked| *asked == name || path::root(asked) == name);
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| asked(field.name())).map(|(index, _)| index).collect()
}

fn rows(batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + 'static) -> Rows {
    let mut before = 0;
    Box::new(batches.flat_map(move |batch| -> Rows {
        match batch {
            Err(error) => {
                let message = format!("after {before} rows: {error}");
                Box::new(std::iter::once(Err(Fault::of_file("content", &message))))
            }
            Ok(batch) => {
                let first = before + 1;
                before += batch.num_rows();
                Box::new(
                    (0..batch.num_rows()).map(move |row| self::row(&batch, row, Place::Row(first + row))),
                )
            }
        }
    }))
}

fn row(batch: &RecordBatch, row: usize, at: Place) -> Result<DataRow, Fault> {
    let schema = batch.schema_ref();
    let mut values = Map::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let value =
            columns::value(column, row).map_err(|message| Fault::of_row(at, field.name(), &message))?;
        values.insert(field.name().clone(), value);
    }
    Ok(DataRow { at, value: Value::Object(values) })
}
