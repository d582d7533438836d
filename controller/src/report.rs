//! The street in a terminal: one line per settled slot, and one when it is settled again.

use std::io::Write;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use units::{Price, Slot};

use crate::http::events::Event;
use crate::rules::MemberPrices;
use crate::store::read::Reader;

/// Prints a line for every settlement and every anchored epoch until the street closes.
pub async fn print(mut events: broadcast::Receiver<Event>, reader: Reader, json: bool) {
    loop {
        let text = match events.recv().await {
            Ok(Event::Settled(slot) | Event::Corrected(slot)) => {
                match line(&reader, slot, json).await {
                    Ok(line) => line,
                    Err(fault) => {
                        tracing::warn!(%slot, %fault, "no summary");
                        continue;
                    }
                }
            }
            Ok(Event::Anchored(seq)) if json => serde_json::json!({ "anchored": seq }).to_string(),
            Ok(Event::Anchored(seq)) => {
                format!("                  epoch {seq} is anchored on the chain")
            }
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "summaries were skipped");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        // The street goes on when nobody looks at the terminal.
        if let Err(error) = writeln!(std::io::stdout(), "{text}") {
            tracing::warn!(%error, "summaries cannot be printed any more");
            return;
        }
    }
}

/// An error and its causes as one sentence; a cause that its error already quotes is not repeated.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

async fn line(
    reader: &Reader,
    slot: Slot,
    json: bool,
) -> Result<String, crate::store::read::ReadFault> {
    let row = reader.slot(slot).await?;
    let Some((method, header)) = row.and_then(|row| row.header.map(|header| (row.method, header)))
    else {
        return Ok(String::new());
    };
    if json {
        return Ok(serde_json::to_string(&header).expect("plain data"));
    }
    let totals = &header.totals;
    let trade = match (header.price.first(), MemberPrices::of(&method, &header)) {
        (Some(&nano), _) => {
            let price = Price::from_nano_per_wh(nano);
            format!("traded {:>6} Wh at {price}", header.scheduled_wh)
        }
        (None, Some(MemberPrices { buy, sell })) => {
            format!("members pay {buy} and get {sell}")
        }
        (None, None) => format!("traded {:>6} Wh no local trade", header.scheduled_wh),
    };
    let again = match header.version {
        1 => String::new(),
        version => format!(" (settled again, version {version})"),
    };
    let missing = match header.missing {
        0 => String::new(),
        count => format!(", {count} meters missing"),
    };
    Ok(format!(
        "{slot}  {trade}; used locally {:>6} Wh, from the grid {:>6} Wh, to the grid {:>6} Wh\
         {missing}{again}",
        totals.local_wh, totals.grid_import_wh, totals.grid_export_wh
    ))
}
