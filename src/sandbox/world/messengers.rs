//! The messengers of a world beside its chat: a pager, text messages, a mail server, a tracker.

use std::path::Path;

use super::addresses::Listeners;
use super::info::WorldInfo;
use crate::sandbox::SandboxError;
use crate::sandbox::faults::{Double, Faults};
use crate::sandbox::ledger::Ledger;
use crate::sandbox::mail::PostOffice;
use crate::sandbox::pager::Pager;
use crate::sandbox::texts::Texts;
use crate::sandbox::tracker::Tracker;
use crate::sandbox::wire::{Door, Front, open_tcp, plain_refusal, routed};

/// Those who carry messages.
#[derive(Debug)]
pub struct Messengers {
    /// The pager.
    pub pager: Pager,
    /// The text messages.
    pub texts: Texts,
    /// The mail server.
    pub mail: PostOffice,
    /// The tracker.
    pub tracker: Tracker,
}

impl Messengers {
    /// Opens them with what they were given before.
    pub(super) fn open(
        dir: &Path,
        info: &WorldInfo,
        ledger: &Ledger,
        faults: &Faults,
    ) -> Result<Self, SandboxError> {
        let mail = dir.join("mail.json");
        Ok(Self {
            pager: Pager::open(&dir.join("pager.json"), &info.key, ledger.clone())?,
            texts: Texts::open(&dir.join("texts.json"), &info.key, ledger.clone())?,
            mail: PostOffice::open(&mail, &info.key, ledger.clone(), Some(faults.clone()))?,
            tracker: Tracker::open(&dir.join("tracker.json"), ledger.clone())?,
        })
    }

    /// Serves them until the doors are dropped.
    pub(super) fn serve(&self, sockets: Listeners, info: &WorldInfo, faults: &Faults) -> [Door; 4] {
        let front = |double, router| Front {
            faults: Some((double, faults.clone())),
            handler: routed(router),
            refuse: plain_refusal,
        };
        let hook = format!("/hooks/{}", info.key);
        [
            open_tcp(sockets.pager, front(Double::Pager, self.pager.router())),
            open_tcp(sockets.sms, front(Double::Sms, self.texts.router())),
            self.mail.serve(sockets.mail),
            open_tcp(sockets.tracker, front(Double::Tracker, self.tracker.router(&hook))),
        ]
    }

    /// Forgets all messages.
    pub(super) fn clear(&self) -> Result<(), SandboxError> {
        self.pager.clear()?;
        self.texts.clear()?;
        self.mail.clear()?;
        self.tracker.clear()
    }
}
