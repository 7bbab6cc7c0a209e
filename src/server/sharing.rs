//! A protection against floods that belongs to no pool, taken in and let go of. What it says is the gate's business.

use std::sync::{Arc, Mutex};

use super::SocketPool;
use crate::admission::Protection;
use crate::clock::Nanos;
use crate::error::Error;
use crate::net::Net;

impl<U, N: Net> SocketPool<U, N> {
    /// From now on newcomers are judged by this protection, by whose clock it is `now`, in place of the pool's own flood scores;
    /// with `None` by those again. It hears of the first proof and the end of each connection that it has let in while the
    /// pool shares it, and of no other. Changes nothing on error.
    ///
    /// The protection may be dropped at any time, and then is as if it were `None`. Looks at every connection if there was
    /// one before.
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "only C programs have one"))]
    pub(crate) fn share_protection(
        &mut self,
        protection: Option<(&Arc<Mutex<Protection>>, Nanos)>,
    ) -> Result<(), Error> {
        if protection.is_some_and(|(protection, _)| self.core.gate.shares_this(protection)) {
            return Ok(());
        }
        let shared = protection.map(|(protection, now)| self.core.shared(protection, now)).transpose()?;
        self.leave_protection();
        self.core.gate.share(shared);
        Ok(())
    }

    /// The protection that the pool shares has nothing to do with its connections any more.
    pub(super) fn leave_protection(&mut self) {
        if !self.core.gate.shares() {
            return;
        }
        for slot in 0..self.table.slots_used() {
            let Some((id, _)) = self.table.at(slot) else { continue };
            if let Some(record) = self.table.get_mut(id) {
                self.core.gate.part(&mut record.permit, &record.peer, self.core.now);
            }
        }
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests;
