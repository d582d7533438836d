//! What a search is doing just now, told to whoever shows it.

use std::fmt;
use std::sync::Arc;

/// Takes a sentence each time something has begun or come out; clones tell the same listener.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Told to `listener`.
    #[must_use]
    pub fn to(listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Told to nobody.
    #[must_use]
    pub fn silent() -> Self {
        Self::to(|_| ())
    }

    /// Tells.
    pub fn tell(&self, sentence: &str) {
        (self.0)(sentence);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
