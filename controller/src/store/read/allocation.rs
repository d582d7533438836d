//! How members share, and the legal allocation that came of it.

use protocol::B256;
use sqlx::Row;
use units::{Energy, PointId, Slot};

use super::{ReadFault, Reader, damaged};
use crate::rules::StreetSharing;

/// What one metering point was allocated in one slot, by the newest version of its settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationRow {
    /// The slot.
    pub slot: Slot,
    /// Which settlement of the slot.
    pub version: u32,
    /// Metering point.
    pub point: PointId,
    /// Metered import.
    pub import: Energy,
    /// Metered export.
    pub export: Energy,
    /// Of the import, what neighbours gave.
    pub taken: Energy,
    /// Of the export, what neighbours took.
    pub given: Energy,
}

impl Reader {
    /// The legal allocation of the slots from `first` to `last`, by slot and metering point. Whoever
    /// had no reading in a slot is not there.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn allocation(
        &self,
        first: Slot,
        last: Slot,
    ) -> Result<Vec<AllocationRow>, ReadFault> {
        let rows = sqlx::query(
            "SELECT slot, version, point, import_wh, export_wh, taken_wh, given_wh \
             FROM allocation a WHERE slot BETWEEN ?1 AND ?2 \
             AND version = (SELECT MAX(version) FROM allocation n WHERE n.slot = a.slot) \
             ORDER BY slot, point",
        )
        .bind(first.number())
        .bind(last.number())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let slot: i64 = row.try_get("slot")?;
                let point: String = row.try_get("point")?;
                let point = PointId::new(point.as_str())
                    .map_err(|fault| damaged("allocation", slot, fault))?;
                let wh = |name: &str| Ok::<_, sqlx::Error>(Energy::from_wh(row.try_get(name)?));
                Ok(AllocationRow {
                    slot: Slot::new(slot),
                    version: row.try_get("version")?,
                    point,
                    import: wh("import_wh")?,
                    export: wh("export_wh")?,
                    taken: wh("taken_wh")?,
                    given: wh("given_wh")?,
                })
            })
            .collect()
    }

    /// The sharing rules and legal keys, other than the auction alone, that the clearings of some
    /// slots name.
    ///
    /// # Errors
    /// [`ReadFault`], also when one is not on record.
    pub async fn sharings_between(
        &self,
        first: Slot,
        last: Slot,
    ) -> Result<Vec<StreetSharing>, ReadFault> {
        let digests: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT message ->> '$.body.sharing' AS digest FROM clearing \
             WHERE slot BETWEEN ?1 AND ?2 ORDER BY digest",
        )
        .bind(first.number())
        .bind(last.number())
        .fetch_all(&self.pool)
        .await?;
        let mut sharings = Vec::new();
        for text in digests {
            let digest: B256 =
                text.parse().map_err(|fault| damaged("clearing", "sharing", fault))?;
            if !digest.is_zero() {
                sharings.push(self.sharing(digest).await?);
            }
        }
        Ok(sharings)
    }

    /// The sharing rule and legal key with a digest; the auction alone for zero.
    ///
    /// # Errors
    /// [`ReadFault`], also when it is not on record.
    pub async fn sharing(&self, digest: B256) -> Result<StreetSharing, ReadFault> {
        if digest.is_zero() {
            return Ok(StreetSharing::default());
        }
        let form: Option<String> = sqlx::query_scalar("SELECT form FROM sharing WHERE digest = ?1")
            .bind(digest.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let form = form.ok_or_else(|| damaged("sharing", digest, "it is missing"))?;
        let sharing =
            StreetSharing::parse(&form).map_err(|fault| damaged("sharing", digest, fault))?;
        if sharing.digest() == digest {
            return Ok(sharing);
        }
        Err(damaged("sharing", digest, "its form has another digest"))
    }
}
