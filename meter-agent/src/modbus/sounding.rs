//! Asking a place of which nothing is known yet, slowly: one question at a time, never more than the
//! pace allows, nothing twice but what the device asks to have again.
//!
//! A [`super::Line`] serves devices that are known, and is quick to come back; this is for the first
//! look, where a device may be on a slow gateway, busy with another program, or no device at all.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::read::{Read, ReadError};
use super::steps::Steps;
use super::wire::{Place, Wire};

/// How often "busy" is waited out, and how long each time.
const BUSY_TRIES: u32 = 3;
const BUSY_WAIT: Duration = Duration::from_millis(500);

/// One connection with one user, who takes their time.
pub struct Sounding {
    place: Place,
    wire: Option<Wire>,
    steps: Steps,
    pace: Duration,
    next: Instant,
    /// How long a fresh connection is left alone.
    connect_delay: Duration,
    asked: u32,
}

impl Sounding {
    /// Nothing is connected yet. Between the beginnings of two questions lies `pace` at least.
    #[must_use]
    pub fn new(place: Place, pace: Duration) -> Self {
        Self {
            place,
            wire: None,
            steps: Steps::default(),
            pace,
            next: Instant::now(),
            connect_delay: Duration::ZERO,
            asked: 0,
        }
    }

    /// Where it leads.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Questions asked so far.
    #[must_use]
    pub const fn asked(&self) -> u32 {
        self.asked
    }

    /// Leaves every connection from now on alone for so long at first; the present one is given up.
    pub fn be_patient(&mut self, connect_delay: Duration) {
        self.connect_delay = connect_delay;
        self.wire = None;
    }

    /// Opens the connection, if there is none.
    ///
    /// # Errors
    /// [`ReadError::Unreachable`].
    pub async fn connect(&mut self) -> Result<(), ReadError> {
        self.wire().await.map(|_| ())
    }

    /// Asks once; "busy" is waited out, a connection that has ended is made again first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&mut self, read: Read, timeout: Duration) -> Result<Vec<u16>, ReadError> {
        let mut tries = 0;
        loop {
            sleep_until(self.next).await;
            let outcome = self.exchange(read, timeout).await;
            tries += 1;
            match outcome {
                Err(ReadError::Exception { code, .. }) if code.is_busy() && tries < BUSY_TRIES => {
                    sleep(BUSY_WAIT).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn exchange(&mut self, read: Read, timeout: Duration) -> Result<Vec<u16>, ReadError> {
        self.wire().await?;
        let wire = self.wire.as_mut().expect("just connected");
        let is_numbered = matches!(self.place, Place::Tcp(_));
        if !is_numbered && self.steps.is_ambiguous(read, Instant::now()) {
            // An answer may still come that could be taken for the one to this.
            wire.wait_out(timeout).await;
            self.steps.clear(read.unit());
        }
        self.next = Instant::now() + self.pace;
        self.asked = self.asked.saturating_add(1);
        let outcome = wire.exchange(read, timeout, &mut self.steps).await;
        if wire.is_spent() {
            self.wire = None;
        }
        outcome
    }

    async fn wire(&mut self) -> Result<&mut Wire, ReadError> {
        if let Some(wire) = &mut self.wire {
            wire.look().await;
            if wire.is_spent() {
                self.wire = None;
            }
        }
        if self.wire.is_none() {
            self.wire = Some(Wire::open(&self.place, None).await?);
            sleep(self.connect_delay).await;
        }
        Ok(self.wire.as_mut().expect("just connected"))
    }
}
