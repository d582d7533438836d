//! The owner's wishes about the key, taken from a file in the agent's folder while it runs.

use std::sync::Arc;

use protocol::B256;
use tracing::{error, info, warn};
use units::PointId;

use super::{Agent, AgentError};
use crate::core::{Input, Keys, Recovered};
use crate::key_file::{KeyError, KeyFiles};
use crate::key_request::KeyRequest;
use crate::running::Running;

/// The keys that go with what is on the disk; a household that has signed nothing yet gets its first.
pub(super) fn open(
    files: &KeyFiles,
    recovered: &Recovered,
    point: &PointId,
) -> Result<Keys, KeyError> {
    let history = recovered.state.as_ref().map(|state| state.content().keys.clone());
    let is_new = recovered.state.is_none() && recovered.entries.is_empty();
    let (keys, made) = files.open(&history.unwrap_or_default(), is_new)?;
    if made {
        warn!(%point, key = keys.current.public_hex(), file = %files.main().display(),
            "a key was made: have its public half enrolled by the operator, and keep a copy of the \
             file (`meter-agent key export`)");
    }
    Ok(keys)
}

impl Agent {
    /// Does what the owner has asked for, if anything; and lets go of a key that is of no more use.
    ///
    /// The request names the key that it is about, so one that was cut short by a power failure goes
    /// on where it was, and none is done twice.
    pub(super) async fn take_key_request(
        &mut self,
        running: &mut Running,
    ) -> Result<(), AgentError> {
        if self.core.is_former_key_spent(self.clock.now_ms()) && self.key_files.forget_former()? {
            info!(point = %self.point, "the former key is of no more use: its file is removed");
        }
        let Some(request) = KeyRequest::waiting(&self.data_dir) else { return Ok(()) };
        let request = match request {
            Ok(request) => request,
            Err(reason) => {
                error!(point = %self.point, reason, "no request about the key: it is left aside");
                KeyRequest::set_aside(&self.data_dir);
                return Ok(());
            }
        };
        if let Some(overlap_s) = request.rotate
            && request.key == self.present_key()
        {
            // One change after the other: it waits until the operator has the last one on record.
            if !self.core.key_history().is_told() {
                return Ok(());
            }
            match self.key_files.prepare() {
                Ok(key) => self.rotate(key, i64::from(overlap_s) * 1_000, running).await?,
                Err(error) => error!(point = %self.point, %error, "the key is not changed"),
            }
        }
        if let Some(reason) = request.revoke
            && request.key != self.present_key()
        {
            self.step(Input::RevokeKey { key: request.key, reason }, running).await?;
        }
        KeyRequest::done(&self.data_dir);
        Ok(())
    }

    /// Hands over to a key that is in its file already.
    async fn rotate(
        &mut self,
        key: protocol::HouseholdKey,
        overlap_ms: i64,
        running: &mut Running,
    ) -> Result<(), AgentError> {
        let new = B256::from(key.public().to_bytes());
        self.step(Input::Rotate { key: Arc::new(key), overlap_ms }, running).await?;
        // The state that names the new key is on the disk by now, or the change was refused.
        if self.core.key_history().current() == Some(new) {
            self.key_files.promote()?;
        }
        Ok(())
    }

    fn present_key(&self) -> B256 {
        self.core.present_key()
    }
}
