//! A resolver: asks the authority once, and then tells what it remembers, with the time that is left.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::Instant;

/// The most aliases that an answer follows.
const MOST_ALIASES: usize = 16;

/// What is remembered of one name and type.
#[derive(Debug, Clone)]
struct Heard {
    code: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    until: Instant,
}

/// The memory of a resolver.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<(Name, RecordType), Heard>>);

impl Cache {
    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Fills in an answer from memory, and from `authority` what is not there.
    pub(super) fn answer(
        &self,
        name: &Name,
        kind: RecordType,
        answer: &mut Message,
        authority: impl Fn(&Name, RecordType) -> Message,
    ) {
        answer.metadata.recursion_available = true;
        let mut at = name.clone();
        for _ in 0..MOST_ALIASES {
            let heard = self.heard(&at, kind, &authority);
            answer.metadata.response_code = heard.code;
            answer.add_answers(heard.answers.iter().cloned());
            let alias = heard.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if kind != RecordType::CNAME => Some(target.0.clone()),
                _ => None,
            });
            let Some(target) = alias else {
                answer.add_authorities(heard.authorities);
                return;
            };
            at = target;
        }
    }

    /// What is known of one name, with the time that is left.
    fn heard(
        &self,
        name: &Name,
        kind: RecordType,
        authority: impl Fn(&Name, RecordType) -> Message,
    ) -> Heard {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        memory.retain(|_, heard| heard.until > now);
        // An alias answers for every type.
        let exact = memory.get(&(name.clone(), kind));
        let alias = memory.get(&(name.clone(), RecordType::CNAME));
        let known = exact.or(alias.filter(|heard| !heard.answers.is_empty()));
        if let Some(heard) = known {
            let mut heard = heard.clone();
            let left = (heard.until - now).as_secs_f64().ceil();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a TTL in seconds"
            )]
            let left = left as u32;
            for record in heard.answers.iter_mut().chain(&mut heard.authorities) {
                record.ttl = left;
            }
            return heard;
        }
        let told = authority(name, kind);
        let answers: Vec<Record> =
            told.answers.into_iter().filter(|record| record.name == *name).collect();
        let code =
            if answers.is_empty() { told.metadata.response_code } else { ResponseCode::NoError };
        let authorities = if answers.is_empty() { told.authorities } else { Vec::new() };
        let ttl = answers.iter().chain(&authorities).map(|record| record.ttl).min().unwrap_or(0);
        let kept = answers.first().map_or(kind, Record::record_type);
        let until = now + Duration::from_secs(ttl.into());
        let heard = Heard { code, answers, authorities, until };
        memory.insert((name.clone(), kept), heard.clone());
        heard
    }
}
