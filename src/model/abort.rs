//! Stopping a request from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Stops requests that have it in their options, each before its next token; they end with [`Error::Aborted`]. Clones are
/// one handle, and it stays pulled: take a new one for the next request.
///
/// A request whose [`Answering`](crate::Answering) is dropped stops as well.
#[derive(Debug, Clone, Default)]
pub struct AbortHandle(Arc<AtomicBool>);

impl AbortHandle {
    /// A handle that nobody has pulled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the requests, from any thread.
    pub fn abort(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was pulled.
    pub fn is_aborted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Error::Aborted`] when it was pulled.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_aborted() { Err(Error::Aborted) } else { Ok(()) }
    }
}
