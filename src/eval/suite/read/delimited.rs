//! CSV and TSV: every field a text, columns named by the header or by their numbers from 0.

use std::fs::File;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::{DataRow, Fault, Layout, Place, Rows};

pub(super) fn rows(file: File, delimiter: u8, layout: Layout) -> Result<Rows, Fault> {
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(layout.quoted)
        .has_headers(false)
        .flexible(true)
        .from_reader(file);
    let mut names: Option<Vec<String>> = None;
    if layout.header {
        let mut header = StringRecord::new();
        if !reader.read_record(&mut header).map_err(|error| fault(&error))? {
            return Err(Fault::of_file("header", &"is missing: the file is empty"));
        }
        let columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let twice = columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name));
        if let Some((_, name)) = twice {
            return Err(Fault::of_row(Place::Line(1), "header", &format!("names the column {name:?} twice")));
        }
        names = Some(columns);
    }
    Ok(Box::new(reader.into_records().map(move |record| {
        let record = record.map_err(|error| fault(&error))?;
        let at = Place::Line(record.position().map_or(0, |position| position.line() as usize));
        let wanted =
            names.get_or_insert_with(|| (0..record.len()).map(|column| column.to_string()).collect());
        if record.len() != wanted.len() {
            let message = format!("has {} columns, and {} are wanted", record.len(), wanted.len());
            return Err(Fault::of_row(at, "row", &message));
        }
        let fields = wanted.iter().zip(record.iter());
        let columns: Map<String, Value> = fields.map(|(name, field)| (name.clone(), field.into())).collect();
        Ok(DataRow { at, value: Value::Object(columns) })
    })))
}

fn fault(error: &csv::Error) -> Fault {
    let line = error.position().map(|position| Place::Line(position.line() as usize));
    let message = match error.kind() {
        ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    Fault { at: line, field: "row".to_owned(), message }
}
