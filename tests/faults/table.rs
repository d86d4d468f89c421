//! What the engine must be told: one line for each fault, one column for each request.
//!
//! `again`: it failed, the same may work later; `failed`: it failed; `unknown`: it may have happened; `-`: makes no sense there.

use super::fault::Fault::{self, *};
use super::fault::Wait;

/// The columns of [`Subject::OVER_HTTP`](super::subject::Subject::OVER_HTTP).
#[rustfmt::skip]
pub(super) const OVER_HTTP: &[(Fault, &str)] = &[
    //                            GET      PUT      POST     expect   slack    pagerduty  sms      webhook  look     start    proof    k8s look  k8s scale  prometheus  embeddings  do app  do commit
    (NoName,                     "again    again    again    not-yet  again    again      again    again    again    again    -        again     again      again       again  again      again"),
    (Refused,                    "again    again    again    not-yet  again    again      again    again    again    again    not-yet  again     again      again       again  again      again"),
    (Silence,                    "unknown  unknown  unknown  not-yet  unknown  unknown    unknown  unknown  again    unknown  not-yet  again     unknown    again       again  again      unknown"),
    (Reset,                      "unknown  unknown  unknown  not-yet  unknown  unknown    unknown  unknown  again    unknown  not-yet  again     unknown    again       again  again      unknown"),
    (ResetInHead,                "unknown  unknown  unknown  not-yet  unknown  unknown    unknown  unknown  again    unknown  not-yet  again     unknown    again       again  again      unknown"),
    // Where the status says all, a body that breaks off changes nothing.
    (ResetInBody,                "unknown  unknown  unknown  not-yet  done     done       done     done     again    done     not-yet  again     unknown    again       again  again      unknown"),
    (SlowLoris,                  "unknown  unknown  unknown  not-yet  unknown  unknown    unknown  unknown  again    unknown  not-yet  again     unknown    again       again  again      unknown"),
    (HalfClose,                  "unknown  unknown  unknown  not-yet  unknown  unknown    unknown  unknown  again    unknown  not-yet  again     unknown    again       again  again      unknown"),
    (Garbage,                    "unknown  unknown  unknown  not-yet  unknown  unknown    unknown  unknown  again    unknown  not-yet  again     unknown    again       again  again      unknown"),
    (Flood,                      "done     done     done     done     done     done       done     done     failed   done     not-yet  failed    unknown    failed      failed  failed     done"),
    (RedirectLoop,               "failed   failed   failed   not-yet  failed   failed     failed   failed   failed   failed   not-yet  failed    failed     failed      failed  failed     failed"),
    (RedirectToFile,             "failed   failed   failed   not-yet  failed   failed     failed   failed   failed   failed   not-yet  failed    failed     failed      failed  failed     failed"),
    (RedirectElsewhere,          "failed   failed   failed   not-yet  failed   failed     failed   failed   failed   failed   not-yet  failed    failed     failed      failed  failed     failed"),
    // What may be repeated waits as long as it is told, and is sent once more; what may not is for the engine. DigitalOcean promises that
    // nothing was done, so all of it waits; what the look is answered then is no app.
    (TooMany(Wait::Second),      "done     done     again    not-yet  again    again      again    again    again    again    not-yet  again     again      again       again  failed     done"),
    // Never within the deadline: not again. The Docker Engine has no `Retry-After`.
    (TooMany(Wait::Ages),        "failed   failed   failed   not-yet  failed   failed     failed   failed   again    again    not-yet  again     again      again       again  failed     failed"),
    (TooMany(Wait::UntilLate),   "failed   failed   failed   not-yet  failed   failed     failed   failed   again    again    not-yet  again     again      again       again  failed     failed"),
    (TooMany(Wait::Nonsense),    "again    again    again    not-yet  again    again      again    again    again    again    not-yet  again     again      again       again  again      again"),
    (Status(409),                "failed   failed   failed   not-yet  failed   failed     failed   failed   failed   failed   not-yet  again     again      failed      again  again      again"),
    // A server error of a request that must not be repeated may come after its effect. A container is looked at again; a
    // proxy that gives up says nothing of the engine behind it.
    (Status(500),                "again    again    unknown  not-yet  unknown  again      unknown  unknown  again    again    not-yet  again     unknown    again       again  again      unknown"),
    (Status(502),                "again    again    unknown  not-yet  unknown  again      unknown  unknown  again    unknown  not-yet  again     unknown    again       again  again      unknown"),
    (Status(503),                "again    again    unknown  not-yet  unknown  again      unknown  unknown  again    again    not-yet  again     again      again       again  again      unknown"),
    (Status(504),                "again    again    unknown  not-yet  unknown  again      unknown  unknown  again    unknown  not-yet  again     unknown    again       again  again      unknown"),
];

/// The columns of [`Subject::OTHERS`](super::subject::Subject::OTHERS). PostgreSQL's later messages are cut one by one in
/// `tests/adapters/postgres/wire.rs`; unlinked keys are gone however often they are unlinked, so the engine may do it again.
#[rustfmt::skip]
pub(super) const OTHERS: &[(Fault, &str)] = &[
    //            redis connects redis unlinks  postgres connects  smtp greets   smtp hands a mail over  dns looks      dns updates
    (NoName,      "again          -              again              again         -                       again          -"),
    (Refused,     "again          -              again              again         again                   again          again"),
    (Silence,     "again          unknown        again              again         unknown                 again          unknown"),
    (Reset,       "again          unknown        again              again         unknown                 again          unknown"),
    (ResetInHead, "again          unknown        again              again         unknown                 again          unknown"),
    (ResetInBody, "again          unknown        again              again         unknown                 again          unknown"),
    (SlowLoris,   "again          unknown        again              again         unknown                 again          unknown"),
    (HalfClose,   "again          unknown        again              again         unknown                 again          unknown"),
    (Garbage,     "again          unknown        again              again         unknown                 again          unknown"),
];
