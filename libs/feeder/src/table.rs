//! CSV tables with a header, read row by row, whose every complaint names file and line.

use std::io::Read;

use crate::error::Place;

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file could not be opened.
    #[error("{file} cannot be opened: {source}; a scenario needs this file")]
    Open {
        /// The file.
        file: String,
        /// What the caller's opener said.
        source: std::io::Error,
    },
    /// The text is no CSV: wrong number of fields, broken quotes, no UTF-8, or a read error.
    #[error("{place}: {reason}")]
    Malformed {
        /// Where.
        place: Place,
        /// What the CSV reader said.
        reason: String,
    },
    /// The header lacks a column.
    #[error("{file}, line 1: the column {column} is missing; the header has: {header}")]
    MissingColumn {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// What is there.
        header: String,
    },
    /// The header names a column twice.
    #[error("{file}, line 1: the column {column} appears twice")]
    DuplicateColumn {
        /// The file.
        file: String,
        /// The column.
        column: String,
    },
    /// A field does not hold what its column promises.
    #[error("{place}: column {column} holds {text:?}, but must be {expected}")]
    BadField {
        /// Where.
        place: Place,
        /// The column.
        column: String,
        /// What stands there.
        text: String,
        /// What should.
        expected: &'static str,
    },
}

/// A CSV file with a header line, comma and point, read one row at a time.
pub struct TableReader<R> {
    file: String,
    header: Vec<String>,
    reader: csv::Reader<R>,
    record: csv::StringRecord,
}

impl<R: Read> TableReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`TableError::Malformed`] if there is none, [`TableError::DuplicateColumn`] if it names a
    /// column twice.
    pub fn new(file: impl Into<String>, source: R) -> Result<Self, TableError> {
        let file = file.into();
        let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(source);
        let header: Vec<String> = match reader.headers() {
            Ok(header) => header.iter().map(|name| name.trim().to_owned()).collect(),
            Err(error) => return Err(malformed(&file, 1, &error)),
        };
        if header.is_empty() || header.iter().all(String::is_empty) {
            let reason = "the file is empty; it must start with a header line".to_owned();
            return Err(TableError::Malformed { place: Place::new(file, 1), reason });
        }
        for (i, column) in header.iter().enumerate() {
            if header[..i].contains(column) {
                return Err(TableError::DuplicateColumn { file, column: column.clone() });
            }
        }
        Ok(Self { file, header, reader, record: csv::StringRecord::new() })
    }

    /// The name under which the file was opened.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The column names in order.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The position of a column that must be there.
    ///
    /// # Errors
    /// [`TableError::MissingColumn`].
    pub fn column(&self, name: &str) -> Result<usize, TableError> {
        self.optional_column(name).ok_or_else(|| TableError::MissingColumn {
            file: self.file.clone(),
            column: name.to_owned(),
            header: abridged(&self.header),
        })
    }

    /// The position of a column that may be absent.
    #[must_use]
    pub fn optional_column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// [`TableError::Malformed`] if the line has another number of fields than the header, or is
    /// no UTF-8.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TableError> {
        let line = self.reader.position().line();
        match self.reader.read_record(&mut self.record) {
            Ok(false) => Ok(None),
            Ok(true) => {
                let line = self.record.position().map_or(line, csv::Position::line);
                Ok(Some(Row { file: &self.file, header: &self.header, record: &self.record, line }))
            }
            Err(error) => Err(malformed(&self.file, line, &error)),
        }
    }
}

/// One line of a table.
#[derive(Clone, Copy)]
pub struct Row<'t> {
    file: &'t str,
    header: &'t [String],
    record: &'t csv::StringRecord,
    line: u64,
}

impl Row<'_> {
    /// Where the row stands.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(self.file, self.line)
    }

    /// The text of a field, without surrounding blanks.
    ///
    /// # Panics
    /// If the column is none of this table's.
    #[must_use]
    pub fn text(&self, column: usize) -> &str {
        self.record.get(column).expect("every row has as many fields as the header").trim()
    }

    /// A finite number.
    ///
    /// # Errors
    /// [`TableError::BadField`] for anything else, NaN and infinity included.
    pub fn number(&self, column: usize) -> Result<f64, TableError> {
        match self.text(column).parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(self.bad_field(column, "a finite number")),
        }
    }

    /// A finite number, or `None` for an empty field.
    ///
    /// # Errors
    /// [`TableError::BadField`] for anything else.
    pub fn optional_number(&self, column: usize) -> Result<Option<f64>, TableError> {
        if self.text(column).is_empty() { Ok(None) } else { self.number(column).map(Some) }
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`TableError::BadField`] for anything else.
    pub fn integer(&self, column: usize) -> Result<i64, TableError> {
        self.text(column).parse().map_err(|_| self.bad_field(column, "a whole number"))
    }

    /// The complaint about one field of this row.
    #[must_use]
    pub fn bad_field(&self, column: usize, expected: &'static str) -> TableError {
        TableError::BadField {
            place: self.place(),
            column: self.header.get(column).cloned().unwrap_or_default(),
            text: self.text(column).chars().take(40).collect(),
            expected,
        }
    }
}

/// The names of a header, cut where a message would become unreadable.
fn abridged(header: &[String]) -> String {
    const MOST: usize = 20;
    let mut text = header.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    if header.len() > MOST {
        text.push_str(", …");
    }
    text
}

fn malformed(file: &str, line: u64, error: &csv::Error) -> TableError {
    let (line, reason) = match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => (
            pos.as_ref().map_or(line, csv::Position::line),
            format!("the line has {len} fields, but the header has {expected_len}"),
        ),
        csv::ErrorKind::Utf8 { pos, .. } => {
            (pos.as_ref().map_or(line, csv::Position::line), "the line is no UTF-8".to_owned())
        }
        _ => (line, error.to_string()),
    };
    TableError::Malformed { place: Place::new(file, line), reason }
}
