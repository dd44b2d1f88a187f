//! Dials that fail: one pause serves the whole pool, one probe follows it, and the step doubles.
//!
//! A peer may also accept every connection and close it at once. Then a dial that succeeds proves nothing, so the
//! outage goes on, on probation: it is over when a connection comes home from a user, or outlives another pause.
//!
//! An error is the user's, so whatever forgets one hands it out, to be dropped outside the lock.

use std::time::Duration;

use super::time::Time;
use crate::config::Config;

/// The failing of dials, from the first failure to the recovery.
#[derive(Debug)]
pub(super) struct Outages<E> {
    backoff_first: Duration,
    backoff_most: Duration,
    current: Option<Outage<E>>,
    /// Pauses so far, to tell the one that counts from those that do not any more.
    pauses: u64,
}

#[derive(Debug)]
struct Outage<E> {
    error: E,
    at: Time,
    permanent: bool,
    failures: u32,
    phase: Phase,
    /// Nobody dials before.
    retry_at: Time,
    /// The one dial that the end of the pause allows was started.
    probed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Dials fail.
    Failing,
    /// Dials succeed, and the connections are dropped before they are of use.
    Dropping,
    /// As before, but the last one has not been dropped yet.
    Probation,
}

/// A pause that somebody must wait out and then report.
#[derive(Debug)]
pub(crate) struct Pause {
    pub(crate) wait: Duration,
    number: u64,
}

impl<E: Clone> Outages<E> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            backoff_first: config.backoff_first,
            backoff_most: config.backoff_most,
            current: None,
            pauses: 0,
        }
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.current.is_none()
    }

    /// Whether somebody waits out a pause.
    pub(super) fn is_pausing(&self) -> bool {
        let retry_at = self.current.as_ref().map(|outage| outage.retry_at);
        retry_at.is_some_and(|retry_at| retry_at > Time::START)
    }

    /// The last failure and its time.
    pub(super) fn last_error(&self) -> Option<(E, Time)> {
        self.current
            .as_ref()
            .map(|outage| (outage.error.clone(), outage.at))
    }

    /// What a newcomer is told, if waiting is no use: while the pause lasts, nobody dials for him.
    pub(super) fn refusal(&self, now: Time, fail_at_once: bool) -> Option<(E, Time)> {
        let outage = self.current.as_ref()?;
        let told = outage.permanent || fail_at_once;
        (told && now < outage.retry_at && outage.phase != Phase::Probation)
            .then(|| (outage.error.clone(), outage.at))
    }

    /// How many dials may be started, beside `connecting` under way, of as many as the configuration allows.
    pub(super) fn most_dials(&self, now: Time, connecting: usize, max_connecting: usize) -> usize {
        let most = max_connecting.saturating_sub(connecting);
        match &self.current {
            None => most,
            // One probe, not a herd; a dial that hangs since before is none.
            Some(outage) => most.min(usize::from(now >= outage.retry_at && !outage.probed)),
        }
    }

    /// A dial was started.
    pub(super) fn dialled(&mut self) {
        if let Some(outage) = &mut self.current {
            outage.probed = true;
        }
    }

    /// A dial failed, or what it made was dropped unused. The first to say so has to wait out the pause.
    pub(super) fn failed(
        &mut self,
        error: E,
        permanent: bool,
        unused: bool,
        now: Time,
        random: u64,
    ) -> (Option<Pause>, Option<E>) {
        let phase = if unused {
            Phase::Dropping
        } else {
            Phase::Failing
        };
        if let Some(outage) = &mut self.current
            && outage.permanent
            && !permanent
            && now < outage.retry_at
        {
            // The permanent one is what newcomers must hear. If this was the probe, by a clock that went back, another
            // may follow.
            outage.probed = false;
            return (None, Some(error));
        }
        let former = self.current.take();
        // Dials that began together fail together; that is one failure.
        let (failures, retry_at) = match &former {
            Some(outage) if now < outage.retry_at && outage.phase != Phase::Probation => {
                (outage.failures, Some(outage.retry_at))
            }
            Some(outage) => (outage.failures.saturating_add(1), None),
            None => (1, None),
        };
        let pause = retry_at.is_none().then(|| self.pause(failures, random));
        let retry_at = retry_at
            .or(pause.as_ref().map(|pause| now.after(pause.wait)))
            .unwrap_or(now);
        self.current = Some(Outage {
            error,
            at: now,
            permanent,
            failures,
            phase,
            retry_at,
            probed: false,
        });
        (pause, former.map(|outage| outage.error))
    }

    /// A dial succeeded.
    pub(super) fn connected(&mut self, now: Time, random: u64) -> (Option<Pause>, Option<E>) {
        let failures = match &self.current {
            Some(outage) if outage.phase == Phase::Probation => return (None, None),
            Some(outage) if outage.phase == Phase::Dropping => outage.failures,
            _ => return (None, self.end()),
        };
        let pause = self.pause(failures, random);
        if let Some(outage) = &mut self.current {
            outage.phase = Phase::Probation;
            outage.retry_at = now.after(pause.wait);
        }
        (Some(pause), None)
    }

    /// A user gave a connection back. One that is older than the trouble proves nothing.
    pub(super) fn proven(&mut self, born: Time) -> Option<E> {
        match &self.current {
            Some(outage) if outage.phase != Phase::Failing && born >= outage.at => self.end(),
            _ => None,
        }
    }

    pub(super) fn pause_over(&mut self, pause: &Pause) -> Option<E> {
        let outage = self
            .current
            .as_mut()
            .filter(|_| pause.number == self.pauses)?;
        match outage.phase {
            Phase::Probation => self.end(),
            Phase::Failing | Phase::Dropping => {
                // Not `now`: a later reading of the coarse clock could be earlier, and nobody would ever dial.
                outage.retry_at = Time::START;
                None
            }
        }
    }

    fn end(&mut self) -> Option<E> {
        self.current.take().map(|outage| outage.error)
    }

    /// Whether this is the pause that somebody still waits for.
    #[cfg(test)]
    pub(super) fn waits_for(&self, pause: &Pause) -> bool {
        pause.number == self.pauses
    }

    /// Between half of the step and the whole of it, the step doubling from the first to the longest.
    fn pause(&mut self, failures: u32, random: u64) -> Pause {
        let doublings = failures.saturating_sub(1).min(31);
        let step = self
            .backoff_first
            .saturating_mul(1 << doublings)
            .min(self.backoff_most);
        self.pauses += 1;
        Pause {
            wait: super::time::shortened(step, 0.5, random),
            number: self.pauses,
        }
    }
}
