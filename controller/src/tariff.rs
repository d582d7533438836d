//! The supplier's prices, slot by slot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use market::{Terms, TermsFault};
use units::{Price, Slot};

use crate::config::TariffConfig;

/// First slot of the year 2016, from which tariff files count.
const FILE_EPOCH: i64 = 1_612_896;

/// Retail and feed-in price of every slot.
#[derive(Debug, Clone)]
pub enum Tariff {
    /// The same at all times.
    Flat(Terms),
    /// By slot; a slot without a row has the terms of the row before it (of the first row, before
    /// that).
    Series(BTreeMap<Slot, Terms>),
}

/// Why a tariff cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TariffFault {
    /// The file cannot be read or is no CSV.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: csv::Error,
    },
    /// The file has no such tariff.
    #[error("{} has no column {column:?}; it has the tariffs: {known}", path.display())]
    NoSuchTariff {
        /// The file.
        path: PathBuf,
        /// The column looked for.
        column: String,
        /// What could be chosen.
        known: String,
    },
    /// A value is no price or no time.
    #[error("{}, line {line}: {why}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The flat prices are no terms.
    #[error("tariff: {0}")]
    Flat(#[from] TermsFault),
}

impl Tariff {
    /// The tariff that a configuration names.
    ///
    /// # Errors
    /// [`TariffFault`] with file, line and reason.
    pub fn load(config: &TariffConfig) -> Result<Self, TariffFault> {
        match &config.file {
            Some(path) => Self::read(path, config.name.as_deref().unwrap_or("flat")),
            None => {
                let price = |e5: Option<i64>| Price::from_e5_per_kwh(e5.unwrap_or_default());
                Ok(Self::Flat(Terms::new(price(config.retail_e5), price(config.feed_in_e5))?))
            }
        }
    }

    fn read(path: &Path, name: &str) -> Result<Self, TariffFault> {
        let fault = |source| TariffFault::File { path: path.to_owned(), source };
        let mut reader = csv::Reader::from_path(path).map_err(fault)?;
        let header = reader.headers().map_err(fault)?.clone();
        let column = |column: String| {
            header.iter().position(|title| title == column).ok_or_else(|| {
                let known: Vec<&str> =
                    header.iter().filter_map(|title| title.strip_suffix("_retail_e5")).collect();
                let known = known.join(", ");
                TariffFault::NoSuchTariff { path: path.to_owned(), column, known }
            })
        };
        let columns = [
            column("t".to_owned())?,
            column(format!("{name}_retail_e5"))?,
            column(format!("{name}_feedin_e5"))?,
        ];
        let mut series = BTreeMap::new();
        for row in reader.records() {
            let row = row.map_err(fault)?;
            let line = row.position().map_or(0, csv::Position::line);
            let wrong = |why: String| TariffFault::Value { path: path.to_owned(), line, why };
            let mut values = [0_i64; 3];
            for (value, &column) in values.iter_mut().zip(&columns) {
                let text = row.get(column).unwrap_or_default();
                *value = text
                    .trim()
                    .parse()
                    .ok()
                    .filter(|value: &i64| value.abs() < 1_000_000_000)
                    .ok_or_else(|| wrong(format!("{text:?} in {:?}", &header[column])))?;
            }
            let [t, retail, feed_in] = values;
            let terms = Terms::new(Price::from_e5_per_kwh(retail), Price::from_e5_per_kwh(feed_in))
                .map_err(|error| wrong(error.to_string()))?;
            if series.insert(Slot::new(FILE_EPOCH + t), terms).is_some() {
                return Err(wrong(format!("t = {t} stands twice")));
            }
        }
        if series.is_empty() {
            let why = "the file has no rows".to_owned();
            return Err(TariffFault::Value { path: path.to_owned(), line: 1, why });
        }
        Ok(Self::Series(series))
    }

    /// The supplier's terms in a slot.
    #[must_use]
    pub fn terms(&self, slot: Slot) -> Terms {
        match self {
            Self::Flat(terms) => *terms,
            Self::Series(series) => {
                let before = series.range(..=slot).next_back();
                *before.or_else(|| series.iter().next()).expect("a series has rows").1
            }
        }
    }
}
